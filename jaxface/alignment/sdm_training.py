"""Trains the supervised descent method: the regressor of each stage in closed form, on the points that the stages before it give."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from jaxface.alignment.annotated_photos import AnnotatedPhotos, card_entries
from jaxface.alignment.landmark_data import LandmarkSource, draw_squares
from jaxface.alignment.landmark_net import SIDE, mean_points
from jaxface.alignment.landmark_training import TrainedLandmarks, train_whole
from jaxface.alignment.ridge import fit_ridge
from jaxface.alignment.sdm import SupervisedDescent, stage_features
from jaxface.formats.landmarks import AnnotatedFace
from jaxface.losses.ranges import check_range
from jaxface.models.saved import SavedModel

_BATCH = 128
_features = jax.jit(stage_features, static_argnames="cell")


@dataclass(frozen=True)
class SdmTraining:
  """Settings of the training.

  Attributes:
    points: 5, 6, 21 or 68.
    seed: of the random squares.
    squares: random squares of each face: moved, scaled, turned, and half of them mirrored, as detectors' boxes differ.
    cells: side of a cell of the descriptors of each stage in pixels, see `sdm`.
    penalty: of the weights, see `fit_ridge`; targets are in pixels of the square.
  """

  points: Literal[5, 6, 21, 68] = 68
  seed: int = 0
  squares: int = 4
  cells: tuple[int, ...] = (8, 6, 5, 4, 3)
  penalty: float = 0.01

  def __post_init__(self) -> None:
    if self.points not in (5, 6, 21, 68):
      raise ValueError(f"SdmTraining.points is {self.points}: needs 5, 6, 21 or 68")
    check_range(self, "squares", 1)
    check_range(self, "penalty", 0, open_low=True)
    if not self.cells or min(self.cells) < 1:
      raise ValueError(f"SdmTraining.cells is {self.cells}: needs a side of at least one pixel for each stage")


def train_sdm(
  root: Path | str, faces: Sequence[AnnotatedFace], config: SdmTraining | None = None, *, licence: str = "", origin: str = "",
  progress: bool = False,
) -> SavedModel:
  """Trains the method on annotated faces; the same arguments give the same model.

  Args:
    root: folder of the photos.
    faces: their annotated faces, see `jaxface.formats.read_landmarks`.
    config: the settings.
    licence, origin: of the photos, for the card of the model.
    progress: show bars.
  Returns:
    The model, for `LandmarkFinder`.
  Raises:
    ValueError: no face, or points from which those of `config` do not follow.
    DamagedData: a photo cannot be read.
  """
  config = config or SdmTraining()
  source = LandmarkSource(root, faces, config.points, progress=progress)
  grey_nhw, true_nk2 = draw_squares(source, SupervisedDescent.convention, squares=config.squares, seed=config.seed)
  point_nk2 = np.tile(mean_points(config.points).astype(np.float32), (len(grey_nhw), 1, 1))
  params: dict[str, Any] = {}
  for stage, cell in enumerate(config.cells, start=1):
    parts = tqdm(range(0, len(grey_nhw), _BATCH), desc=f"stage {stage}", disable=not progress)
    feature_nd = np.concatenate([np.asarray(_features(grey_nhw[at : at + _BATCH], point_nk2[at : at + _BATCH], cell=cell)) for at in parts])
    weight_dt, bias_t = fit_ridge(feature_nd, (true_nk2 - point_nk2).reshape(len(grey_nhw), -1), penalty=config.penalty)
    params[f"stage{stage}"] = {"kernel": weight_dt.astype(np.float32), "bias": bias_t.astype(np.float32)}
    point_nk2 = point_nk2 + (feature_nd @ weight_dt.astype(np.float32) + bias_t).reshape(point_nk2.shape).astype(np.float32)
    error = float(np.linalg.norm(true_nk2 - point_nk2, axis=-1).mean())
    print(f"sdm, stage {stage}: mean error {error:.3f} pixels of {SIDE}, {len(grey_nhw):,} squares", file=sys.stderr)
  meta = {**card_entries("sdm", points=config.points, faces=source.num_records, licence=licence, origin=origin), "stages": len(config.cells)}
  return SavedModel("sdm", {"points": config.points, "cells": list(config.cells)}, SupervisedDescent.convention, {"params": params}, meta)


@dataclass(frozen=True)
class SdmExperiment(SdmTraining, AnnotatedPhotos):
  """The training as an experiment of `jaxface train`; one that was interrupted starts again."""

  name: str = "sdm"

  def run(self, folder: Path) -> TrainedLandmarks:
    """Trains the method and writes it to `folder/model`; see `train_sdm`."""
    return train_whole(self, folder, train_sdm, self.settings(SdmTraining))


__all__ = ["SdmExperiment", "SdmTraining", "train_sdm"]
