"""DeepID2's system: small networks of 55×47 pixels, one per patch, each trained by identification and verification together.

Paper: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014: 200 networks on 400 crops (each patch
and its mirror image), of which a greedy search on validation accuracy selects 25; 4,000 features, 180 principal components, Joint Bayesian;
six more selections from what is left, and a support vector machine over the scores of the seven groups. It reports no rate, batch size or
length: these are our choice, as are the positions of the patches. One network, and the paper's sweep of λ: `deepid2`.
Command: jaxface train deepid2_patches --data.records DIR
Here, the whole system: JAXFACE_DATA=FOLDER jaxface patches groups deepid2_patches --small --count 4 --groups 3 --workdir runs/deepid2_patches_small
Scaled down: 8 of 200 networks (16 of 400 crops; the left of the face also stands for the right in the mirror image), 3 of 7 groups, 4 of
25 crops in each, inputs of 39×31 instead of 55×47 pixels, 0.4 of the channels, 250 steps of 64 images of the identities with ten images or
more: with all 3,001 identities, the same 250 steps see each of them once, and the embeddings collapsed. Principal components and Joint
Bayesian are fitted on all 15,422 images instead of 202,599. As in `deepid2`, the verification signal uses embeddings of length one.
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification, PerMember
from jaxface.losses import Softmax, VerificationSignal
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

EXPERIMENT = Experiment(
  name="deepid2_patches",
  steps=40_000,
  batch_size=128,
  log_every=100,
  checkpoint_every=2000,
  data=DataConfig(records="records", holdout=0.01, order="balanced", identities_per_batch=32, images_per_identity=4),
  augment=AugmentConfig(mirror=0.5, shift=3, jitter=0.0),
  model=ModelConfig("deepid2_ensemble"),
  terms=(
    PerMember(Classification(Softmax()), members=200), PerMember(VerificationSignal(unit=True, weight=0.05), members=200),
  ),
  # The gradient of each network is clipped separately.
  optimizer=OptimizerConfig(learning_rate=0.02, momentum=0.9, weight_decay=5e-4, clip_norm=5.0),
  schedule=ScheduleConfig(name="cosine", warmup_steps=1000),
  evaluation=(VerificationConfig(name="unseen", every=4000, mirror="concat"),),
)

MARGINS, _ = load_experiment("margins")

PLACES = ("row2_column2_156", "row0_column2_125", "row4_column2_125", "row2_column1_125")

SMALL = replace(
  MARGINS,
  name="deepid2_patches_small",
  steps=250,
  batch_size=64,
  log_every=25,
  checkpoint_every=50,
  data=replace(MARGINS.data, min_images=10, order="balanced", identities_per_batch=16, images_per_identity=4),
  model=ModelConfig(
    "deepid2_ensemble",
    options={"patches": tuple(f"{place}_{colour}" for place in PLACES for colour in ("rgb", "grey")), "input_size": (39, 31), "width": 0.4},
  ),
  terms=(
    PerMember(Classification(Softmax()), members=8), PerMember(VerificationSignal(unit=True, weight=0.05), members=8),
  ),
  optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.01, clip_norm=5.0),
  schedule=ScheduleConfig(name="cosine", warmup_steps=25),
)
