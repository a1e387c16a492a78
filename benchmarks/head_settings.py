"""Settings and inputs of the steps in `head_step`, which the PyTorch side shares; without JAX."""

import numpy as np

SIDE = 8  # of an image, in pixels
MARGIN, SCALE = 0.35, 64.0
# Small, so that the fixed batch is not fitted within the rounds.
LEARNING_RATE, MOMENTUM, DECAY = 1e-5, 0.9, 5e-4


def images_and_labels(classes: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
  """Images [B, 8, 8, 3] uint8 and labels [B] of a fixed batch."""
  random = np.random.default_rng(0)
  return random.integers(0, 256, (batch, SIDE, SIDE, 3), np.uint8), random.integers(0, classes, batch)
