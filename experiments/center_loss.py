"""Softmax with center loss: the softmax separates identities, center loss pulls the images of each to its centre.

Paper: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016: λ = 0.003, α = 0.5.
Here: the small network and the CelebA subset of celeba_lfw.
Command: JAXFACE_DATA=FOLDER jaxface train center_loss
The paper's sweep of λ: --terms.1.weight 0 (softmax alone), 0.0003, 0.003, 0.03.
Expected: 86.58 % ± 0.42 on LFW view 2 (AUC 0.941), the softmax of `margins` alone 86.35 ± 0.59.
"""

from dataclasses import replace

from jaxface.heads import Classification
from jaxface.losses import CenterLoss, Softmax
from jaxface.training import load_experiment

MARGINS, _ = load_experiment("margins")

EXPERIMENT = replace(
  MARGINS, name="center_loss", terms=(Classification(Softmax()), CenterLoss(alpha=0.5, weight=0.003))
)
