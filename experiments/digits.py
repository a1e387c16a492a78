"""Ten digits of 8×8 grey pixels, told apart by a small convolutional network; the basics of classification.

Data: scikit-learn's `load_digits` (1,797 images of the UCI set of handwritten digits), a fifth of each digit for the test.
Command: jaxface train digits --workdir runs/digits
Expected: 99.7 % of 359 test images correct, see docs/jobs/classify.md. `--small` is softmax regression on the pixels: 96.9 %.
"""

from jaxface.pipeline import ClassifierExperiment

EXPERIMENT = ClassifierExperiment(name="digits")

SMALL = ClassifierExperiment(name="digits_small", widths=(), features=0, learning_rate=0.01)
