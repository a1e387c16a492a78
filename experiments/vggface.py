"""VGG-Face, first stage: a network trained to classify identities by plain softmax.

Paper: Parkhi et al., "Deep Face Recognition", 2015: softmax over 2,622 identities, dropout 0.5. The second stage,
vggface_triplet, then learns a projection by triplets on top of the frozen network.
Here: the small network and the CelebA subset of celeba_lfw.
Command: JAXFACE_DATA=FOLDER jaxface train vggface
Expected: 84.50 % ± 0.50 on LFW view 2 (AUC 0.926) after some three minutes on two quiet cores.
"""

from dataclasses import replace

from jaxface.heads import Classification
from jaxface.losses import Softmax
from jaxface.training import load_experiment

MARGINS, _ = load_experiment("margins")

EXPERIMENT = replace(
  MARGINS, name="vggface", model=replace(MARGINS.model, dropout=0.5), terms=(Classification(Softmax()),)
)
