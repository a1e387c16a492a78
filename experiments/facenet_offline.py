"""FaceNet's objective with offline mining: one round on triplets mined over the whole set with the current network.

Paper: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, §3.2: triplets may be mined
offline with the last network over part of the data, or online in the batch. This is the former; facenet_triplet is the latter.
Command, after facenet_triplet:
  jaxface embed --model runs/facenet_triplet --records runs/facenet_triplet/records/train --out runs/round1.npz --mirror none
  JAXFACE_DATA=FOLDER jaxface train facenet_offline
For a further round embed with runs/facenet_offline, and change --data.embeddings, --model.init_from, --seed and --workdir.
Expected: 82.02 % ± 0.62 on LFW view 2 (AUC 0.906), less than the 85.37 of its initial network. A likely reason: in the whole set the
negative is the nearest of 13,000, some of them with a wrong label, and identities with many images form most of the pairs; in
a batch it is the nearest of a hundred. FaceNet also prefers mining in the batch.
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
