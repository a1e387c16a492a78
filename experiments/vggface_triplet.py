"""VGG-Face, second stage: a projection learned by triplets on top of the frozen network of the first stage.

Paper: Parkhi et al., "Deep Face Recognition", 2015, §4.2: embeddings scaled to length one, times a matrix, without
normalisation after it; all else frozen; rate 0.25. The report compares the figures before and after: at step 0 the projection is
a random orthogonal matrix.
Here: after `vggface`, from 256 numbers to 128 (the paper: 4,096 to 1,024).
Command: JAXFACE_DATA=FOLDER jaxface train vggface_triplet
For another workdir of the first stage: --model.init_from WORKDIR.
Expected: 85.08 % ± 0.47 on LFW view 2 (AUC 0.931), compared with 84.50 of the first stage.
"""

from dataclasses import replace

from jaxface.models import ModelConfig
from jaxface.training import OptimizerConfig, ScheduleConfig, load_experiment

TRIPLET, _ = load_experiment("facenet_triplet")

EXPERIMENT = replace(
  TRIPLET,
  name="vggface_triplet",
  model=ModelConfig(
    "projected", size=96, embedding_size=128, init_from="runs/vggface",
    options={"backbone": "smallresnet", "backbone_options": {"dropout": 0.5}},
  ),
  optimizer=OptimizerConfig(learning_rate=0.25, momentum=0.9, weight_decay=0.0),
  schedule=ScheduleConfig(name="cosine", warmup_steps=0),
)
