"""CosFace: the cosine of the own class is lowered by a constant, m = 0.35.

Paper: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018: the 64-layer network of SphereFace, scale 64.
Here: the small network and the CelebA subset of celeba_lfw; scale 30, which fits a few thousand identities, and a margin that grows
over two fifths of the run.
Command: JAXFACE_DATA=FOLDER jaxface train cosface
The paper's network: --model.name sphereface64
Expected: 85.93 % ± 0.66 on LFW view 2 (AUC 0.935) after some three minutes on two quiet cores.
"""

from dataclasses import replace

from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.training import load_experiment

MARGINS, _ = load_experiment("margins")

EXPERIMENT = replace(
  MARGINS, name="cosface", terms=(Classification(CosFace(m=0.35, scale=30.0, warmup_steps=400)),)
)
