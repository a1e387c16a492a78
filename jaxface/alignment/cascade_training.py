"""Trains the five-point cascade: all networks of all levels in one compiled step, on random squares of annotated faces."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax import Array
from tqdm import tqdm

from jaxface.alignment.annotated_photos import AnnotatedPhotos, card_entries
from jaxface.alignment.cascade import BOX, PATCH_SIDES, POINTS, PointCascade, cascade
from jaxface.alignment.landmark_data import LandmarkSource, draw_squares
from jaxface.alignment.landmark_net import SIDE
from jaxface.alignment.landmark_training import TrainedLandmarks, train_whole
from jaxface.formats.landmarks import AnnotatedFace
from jaxface.losses.ranges import check_range
from jaxface.models.saved import SavedModel

_BATCH = 128


@dataclass(frozen=True)
class CascadeTraining:
  """Settings of the training.

  Attributes:
    levels: 1 to 3.
    seed: of initial values, random squares, order and moved patches.
    squares: random squares of each face: moved, scaled, turned, and half of them mirrored, as detectors' boxes differ.
    steps: optimizer steps.
    batch_size: squares per step.
    learning_rate: peak of Adam's rate, with a cosine schedule.
    weight_decay: of AdamW.
    moved: largest move of the patches of levels 2 and 3 along each axis in training, in units of a detected box's side. The paper's are
      0.05 and 0.02.
  """

  levels: int = 3
  seed: int = 0
  squares: int = 4
  steps: int = 800
  batch_size: int = 32
  learning_rate: float = 2e-3
  weight_decay: float = 1e-3
  moved: tuple[float, ...] = (0.08, 0.04)

  def __post_init__(self) -> None:
    check_range(self, "levels", 1, 1 + len(PATCH_SIDES))
    for name in ("squares", "steps", "batch_size"):
      check_range(self, name, 1)
    check_range(self, "learning_rate", 0, open_low=True)
    check_range(self, "weight_decay", 0)
    if len(self.moved) != len(PATCH_SIDES) or not all(0 < most < 1 for most in self.moved):
      raise ValueError(f"CascadeTraining.moved is {self.moved}: needs {len(PATCH_SIDES)} numbers between 0 and 1, for levels 2 and 3")


def train_cascade(
  root: Path | str, faces: Sequence[AnnotatedFace], config: CascadeTraining | None = None, *, licence: str = "", origin: str = "",
  progress: bool = False,
) -> SavedModel:
  """Trains the cascade on annotated faces; the same arguments give the same model.

  Args:
    root: folder of the photos.
    faces: their annotated faces, see `jaxface.formats.read_landmarks`.
    config: the settings.
    licence, origin: of the photos, for the card of the model.
    progress: show bars.
  Returns:
    The model, for `LandmarkFinder`.
  Raises:
    ValueError: no face, or points from which five do not follow.
    DamagedData: a photo cannot be read.
  """
  config = config or CascadeTraining()
  source = LandmarkSource(root, faces, POINTS, progress=progress)
  grey_nhw, true_nk2 = draw_squares(source, PointCascade.convention, squares=config.squares, seed=config.seed)
  params = fit(grey_nhw, true_nk2, config, progress=progress)
  variables: dict[str, Any] = {"params": jax.tree.map(np.asarray, params)}
  for level, error in enumerate(level_errors(variables, grey_nhw, true_nk2, config.levels), start=1):
    print(f"cascade, level {level}: mean error {error:.3f} pixels of {SIDE}, {len(grey_nhw):,} squares", file=sys.stderr)
  meta = {**card_entries("cascade", points=POINTS, faces=source.num_records, licence=licence, origin=origin), "stages": config.levels}
  return SavedModel("cascade", {"levels": config.levels}, PointCascade.convention, variables, meta)


def fit(grey_nhw: np.ndarray, true_nk2: np.ndarray, config: CascadeTraining, *, progress: bool = False) -> Any:
  """Parameters after the training.

  Args:
    grey_nhw: [N, SIDE, SIDE] squares in the input convention.
    true_nk2: [N, 5, 2] their points in pixels.
    config: the settings.
    progress: show a bar.
  """
  module, key, draw = cascade(config.levels), jax.random.key(config.seed), np.random.default_rng(config.seed)
  most_l111 = BOX * np.array(config.moved[: config.levels - 1], np.float32)[:, None, None, None]
  warm = max(1, config.steps // 20)
  rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warm, max(config.steps, warm + 1))
  optimizer = optax.adamw(rate, weight_decay=config.weight_decay)

  def objective(params: Any, grey_bhw: Array, true_bk2: Array, key: Array) -> Array:
    shift_lbk2 = jax.random.uniform(key, (config.levels - 1, *true_bk2.shape), minval=-1) * most_l111
    return module.apply({"params": params}, grey_bhw, true_bk2, shift_lbk2, method="squares")[0]

  @jax.jit
  def step(params: Any, moments: Any, grey_bhw: Array, true_bk2: Array, key: Array) -> tuple[Any, Any, Array]:
    loss, slope = jax.value_and_grad(objective)(params, grey_bhw, true_bk2, key)
    updates, moments = optimizer.update(slope, moments, params)
    return optax.apply_updates(params, updates), moments, loss

  params = initial_params(config.levels, draw)
  moments = optimizer.init(params)
  bar = tqdm(range(config.steps), desc="steps", disable=not progress)
  for number in bar:
    row_b = draw.integers(0, len(grey_nhw), config.batch_size)
    params, moments, loss = step(params, moments, grey_nhw[row_b], true_nk2[row_b], jax.random.fold_in(key, number))
    if progress and number % 20 == 0:
      bar.set_postfix(loss=float(loss))
  return params


def initial_params(levels: int, draw: np.random.Generator) -> Any:
  """Random initial parameters: normal, of variance 1 / fan-in in the first layer and 4 / fan-in after it; last layers 0.01, biases 0.

  Outputs of |tanh| are positive and vary little about their mean. So the weights of each output sum to zero, which cancels the mean, and
  are larger after the first layer. Without that, 200 steps hardly moved the points of level 1 from those of the mean face.
  The numbers are drawn by NumPy: XLA takes most of a minute to compile the random numbers of so many shapes.

  Args:
    levels: number of levels.
    draw: source of the numbers.
  """
  image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), np.float32)
  shapes = jax.eval_shape(cascade(levels).init, jax.random.key(0), image)["params"]

  def numbers(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
    layer, kind = (part.key for part in path[-2:])
    if kind == "bias":
      return np.zeros(leaf.shape, np.float32)
    if layer == "regression":
      return draw.normal(0, 0.01, leaf.shape).astype(np.float32)
    # Regions and networks are leading axes; a window has three axes before that of the outputs.
    inputs = (-4, -3, -2) if layer.startswith("conv") else (-2,)
    deviation = (1 if layer == "conv1" else 2) / math.sqrt(math.prod(leaf.shape[axis] for axis in inputs))
    kernel = draw.normal(0, deviation, leaf.shape)
    return (kernel - kernel.mean(inputs, keepdims=True)).astype(np.float32)

  return jax.tree.map_with_path(numbers, shapes)


def level_errors(variables: Any, grey_nhw: np.ndarray, true_nk2: np.ndarray, levels: int) -> list[float]:
  """Mean distance of the points from the true ones after each level, in pixels.

  Args:
    variables: of a cascade.
    grey_nhw: [N, SIDE, SIDE] squares in the input convention.
    true_nk2: [N, 5, 2] their points in pixels.
    levels: number of levels.
  """
  apply = jax.jit(partial(cascade(levels).apply, method="by_level"))
  parts = range(0, len(grey_nhw), _BATCH)
  found_lnk2 = np.concatenate([np.asarray(apply(variables, grey_nhw[at : at + _BATCH, ..., None])) for at in parts], axis=1)
  return np.linalg.norm(found_lnk2 - true_nk2, axis=-1).mean((1, 2)).tolist()


@dataclass(frozen=True)
class CascadeExperiment(CascadeTraining, AnnotatedPhotos):
  """The training as an experiment of `jaxface train`; one that was interrupted starts again."""

  name: str = "cascade"

  def run(self, folder: Path) -> TrainedLandmarks:
    """Trains the cascade and writes it to `folder/model`; see `train_cascade`."""
    return train_whole(self, folder, train_cascade, self.settings(CascadeTraining))


__all__ = ["CascadeExperiment", "CascadeTraining", "fit", "initial_params", "level_errors", "train_cascade"]
