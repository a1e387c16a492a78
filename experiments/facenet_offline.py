"""FaceNet's objective with offline mining: a round on triplets mined over the whole set with the network so far.

Paper: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, §3.2: triplets may be mined
offline with the last network over part of the data, or online in the batch. This is the former, beside facenet_triplet.
Command, after facenet_triplet:
  jaxface embed --model runs/facenet_triplet --records runs/facenet_triplet/records/train --out runs/round1.npz --mirror none
  JAXFACE_DATA=FOLDER jaxface train facenet_offline
A further round: embed with runs/facenet_offline, and give --data.embeddings, --model.init_from, --seed and --workdir anew.
Expected: 82.02 % ± 0.62 on LFW view 2 (AUC 0.906), less than the 85.37 that it begins with. A likely reason: in a whole set a pair finds the
nearest of 13,000 negatives, some of them with a wrong label, and identities with many images make most of the pairs; a
batch finds the nearest of a hundred. FaceNet prefers mining in the batch too.
"""

from dataclasses import replace

from jaxface.losses import TripletLoss
from jaxface.training import ScheduleConfig, load_experiment

TRIPLET, _ = load_experiment("facenet_triplet")

EXPERIMENT = replace(
  TRIPLET,
  name="facenet_offline",
  steps=750,
  batch_size=126,
  checkpoint_every=250,
  data=replace(TRIPLET.data, order="triplets", embeddings="runs/round1.npz", mining="semi_hard"),
  model=replace(TRIPLET.model, init_from="runs/facenet_triplet"),
  terms=(TripletLoss(mining="listed", margin=0.2),),
  optimizer=replace(TRIPLET.optimizer, learning_rate=0.02),
  schedule=ScheduleConfig(name="cosine", warmup_steps=50),
)
