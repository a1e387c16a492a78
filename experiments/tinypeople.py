"""Ten people in colour images of 32×32 pixels, as large as those of CIFAR-10, told apart by a small convolutional network.

Data: rendered faces (`jaxface synthesize` draws the same kind), 300 of each person, a fifth for the test. They are not CIFAR-10: with its images in a folder
for each class, `--data folder --folder DIR` trains on them.
Command: jaxface train tinypeople --workdir runs/tinypeople
Expected: 98.2 % of 600 test images correct, see docs/jobs/classify.md. `--small` is softmax regression on the pixels: 96.0 %.
"""

from jaxface.data import AugmentConfig
from jaxface.pipeline import ClassifierExperiment

EXPERIMENT = ClassifierExperiment(name="tinypeople", data="people", widths=(16, 32, 64), features=128, augment=AugmentConfig(mirror=0.5, shift=2))

SMALL = ClassifierExperiment(name="tinypeople_small", data="people", widths=(), features=0)
