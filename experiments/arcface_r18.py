"""ArcFace with iresnet18: the published recipe, for packed records of any size.

Paper: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019 (SGD 0.1, momentum 0.9, weight
decay 5e-4, batch 512, scale 64, m = 0.5, rate divided by ten along the way; images scaled to -1..1, mirrored).
Command: jaxface train arcface_r18 --data.records DIR --model.dtype bfloat16
Expected: the paper's figures are for millions of images; none of them was reproduced here.
"""

from dataclasses import replace

from jaxface.models import ModelConfig
from jaxface.training import load_experiment

R50, _ = load_experiment("arcface_r50")

EXPERIMENT = replace(R50, name="arcface_r18", model=ModelConfig("iresnet18", size=112, dropout=0.4))
