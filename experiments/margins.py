"""Compares margins: one network, one number of steps, an override for each margin.

Here: the small network and the CelebA subset of celeba_lfw, 1,000 steps; other runs on this subset build on this one. Margins with
a scale take 30, which fits a few thousand identities; those with a warm-up reach their full size after two fifths of the steps.
Command: JAXFACE_DATA=FOLDER jaxface train margins --workdir runs/margins_arcface
softmax:   --workdir runs/margins_softmax  --terms.0.margin softmax
A-Softmax: --workdir runs/margins_asoftmax --terms.0.margin asoftmax
CosFace:   jaxface train cosface
AdaFace:   --workdir runs/margins_adaface  --terms.0.margin adaface --terms.0.margin.scale 30 --terms.0.margin.warmup_steps 400
Expected on LFW view 2, each after some three minutes on two quiet cores: softmax 86.35 %, A-Softmax 87.18, CosFace 85.93, ArcFace
86.52, AdaFace 86.22, all ± 0.4 to 0.6. In such a short run on few images the order is not significant: docs/losses.md, "Comparison".
"""

from dataclasses import replace

from jaxface.heads import Classification
from jaxface.losses import ArcFace
from jaxface.training import load_experiment

CELEBA, _ = load_experiment("celeba_lfw")

EXPERIMENT = replace(
  CELEBA,
  name="margins",
  steps=1000,
  checkpoint_every=500,
  terms=(Classification(ArcFace(m=0.5, scale=30.0, warmup_steps=400)),),
  export="",
)
