"""FaceNet's objective: triplets mined in balanced batches, each identity with several images.

Paper: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015: squared distances on the unit
sphere, α = 0.2, 128 numbers, all anchor–positive pairs, semi-hard negatives, batches of 1,800 with some 40 images per identity.
Here: the small network and the CelebA subset of celeba_lfw, batches of 128 images of 32 identities, SGD instead of AdaGrad.
Command: JAXFACE_DATA=FOLDER jaxface train facenet_triplet
Other miners: --terms.0.mining hard (or all, easy). FaceNet's own networks: for example --model.name facenet_nn4.
Expected: 85.37 % ± 0.48 on LFW view 2 (AUC 0.929) after some three minutes on two quiet cores.
"""

from dataclasses import replace

from jaxface.losses import TripletLoss
from jaxface.training import load_experiment

MARGINS, _ = load_experiment("margins")

EXPERIMENT = replace(
  MARGINS,
  name="facenet_triplet",
  data=replace(MARGINS.data, order="balanced", identities_per_batch=32, images_per_identity=4),
  model=replace(MARGINS.model, embedding_size=128),
  terms=(TripletLoss(mining="semi_hard", margin=0.2),),
  optimizer=replace(MARGINS.optimizer, learning_rate=0.05),
)
