"""DeepFace: a network of locally connected layers, trained to classify identities by plain softmax.

Paper: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014: 4,030 identities
with 4.4 million images, batch 128, momentum 0.9, 15 epochs, learning rate 0.01 divided by ten twice, to 0.0001;
weights from N(0, 0.01), biases 0.5; dropout on F7. The dropout rate and the steps of the learning rate are our
choices, as is the alignment (arcface112 instead of 3-D frontalisation). It needs packed records of some 4 million images.
Command: jaxface train deepface --data.records DIR --model.dtype bfloat16
Expected: 97.00 % on LFW in the paper, 95.92 % by inner product of the normalised features; not reproduced here.

The normalised features, from the raw embeddings of the training set and of the faces to verify:
  jaxface embed --model runs/deepface --records DIR --raw --out train.npz
  jaxface embed --model runs/deepface --images $JAXFACE_DATA/lfw_aligned112 --raw --out lfw.npz
  jaxface evaluate --pairs $JAXFACE_DATA/protocols/pairs.txt --embeddings lfw.npz --normalise train.npz
With the χ² similarity, the Siamese distance and an ensemble: jaxface papers deepface --run (see its --help).

Small form: half the channels, 96×96 pixels, F7 of 512, He initialisation with the inputs of one position, on the
CelebA subset of celeba_lfw; AdamW, since SGD at 0.05 learned only the frequencies of the identities.
Command: JAXFACE_DATA=FOLDER jaxface train deepface --small
Expected of the small one: 76.42 % ± 0.54 on LFW view 2 (AUC 0.840, untrained 0.690), 26 minutes on two busy cores.
"""

from dataclasses import replace

from jaxface.data import AugmentConfig, DataConfig
from jaxface.evaluation import VerificationConfig
from jaxface.heads import Classification
from jaxface.losses import Softmax
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig, ScheduleConfig, load_experiment

IMAGES, EPOCHS, BATCH = 4_400_000, 15, 128

EXPERIMENT = Experiment(
  name="deepface",
  steps=EPOCHS * IMAGES // BATCH,
  batch_size=BATCH,
  log_every=100,
  checkpoint_every=5000,
  data=DataConfig(records="records", holdout=0.01),
  augment=AugmentConfig(mirror=0.5, shift=0, jitter=0.0),
  model=ModelConfig("deepface", dropout=0.5),
  terms=(Classification(Softmax()),),
  optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=0.0),
  schedule=ScheduleConfig(name="step", milestones=(2 / 3, 13 / 15), gamma=0.1),
  evaluation=(VerificationConfig(name="unseen", every=5000),),
)

MARGINS, _ = load_experiment("margins")

SMALL = replace(
  MARGINS,
  name="deepface_small",
  steps=2000,
  model=ModelConfig(
    "deepface", size=96, fit="crop", embedding_size=512, dropout=0.5, options={"width": 0.5, "init": "he"}
  ),
  terms=EXPERIMENT.terms,
  optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.05),
)
