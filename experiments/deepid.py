"""DeepID: sixty small networks, one per patch, each trained to classify identities; their features are concatenated.

Paper: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014: ten regions × three scales × {RGB,
grey}, softmax over 8,700 of CelebFaces+'s 10,177 identities, 160 features of each network for the patch and for its mirror
image, 19,200 in total; the paper verifies by PCA to 150 and Joint Bayesian (`jaxface patches system`), the run itself by the cosine. It trains by stochastic gradient
descent and reports no rate, batch size, length or decay: these are our choice, as are the boxes, the shifts and the
initialisation.
Command: jaxface train deepid --data.records DIR
Here: JAXFACE_DATA=FOLDER jaxface train deepid --small
Sixteen networks of four shapes (eight regions at scale 1.25, RGB and grey; the left eye and mouth corner also stand for the right
ones in the mirror image), on the CelebA subset of celeba_lfw; AdamW, since SGD converges slowly without batch norm.
The whole system: JAXFACE_DATA=FOLDER jaxface patches system deepid --small --workdir runs/deepid_small
Measured on LFW view 2 with all of them: cosine 81.0 % (AUC 0.894); 150 principal components and Joint Bayesian, both fitted on
CelebA alone, 87.4 % (AUC 0.951), Joint Bayesian also on LFW's other folds, 88.7 %. The paper's 97.45 % (100 patches, 13 times as many images) were not
reproduced here.
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification, PerMember
from jaxface.losses import Softmax
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

EXPERIMENT = Experiment(
  name="deepid",
  steps=40_000,
  batch_size=128,
  log_every=100,
  checkpoint_every=2000,
  data=DataConfig(records="records", holdout=0.01),
  augment=AugmentConfig(mirror=0.5, shift=3, jitter=0.0),
  model=ModelConfig("deepid_ensemble"),
  terms=(PerMember(Classification(Softmax()), members=60),),
  # The gradient of each network is clipped separately.
  optimizer=OptimizerConfig(learning_rate=0.02, momentum=0.9, weight_decay=5e-4, clip_norm=5.0),
  schedule=ScheduleConfig(name="cosine", warmup_steps=1000),
  evaluation=(VerificationConfig(name="unseen", every=4000, mirror="concat"),),
)

MARGINS, _ = load_experiment("margins")

SMALL = replace(
  MARGINS,
  name="deepid_small",
  steps=1800,
  checkpoint_every=200,
  model=ModelConfig(
    "deepid_ensemble",
    options={
      "regions": ("face", "upper", "bridge", "middle", "lower", "left_eye", "nose", "left_mouth"), "scales": (1.25,),
    },
  ),
  terms=(PerMember(Classification(Softmax()), members=16),),
  optimizer=OptimizerConfig(name="adamw", learning_rate=2e-3, weight_decay=0.01, clip_norm=5.0),
  evaluation=(replace(MARGINS.evaluation[0], mirror="concat"),),
)
