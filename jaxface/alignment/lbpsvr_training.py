"""Trains DeepFace's detector of fiducial points: one support vector regression on random squares of annotated faces."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from jaxface.alignment.annotated_photos import AnnotatedPhotos, card_entries
from jaxface.alignment.landmark_data import LandmarkSource, draw_squares
from jaxface.alignment.landmark_net import SIDE, mean_points
from jaxface.alignment.landmark_training import TrainedLandmarks, train_whole
from jaxface.alignment.lbpsvr import LbpRegression, square_features
from jaxface.alignment.svr import fit_svr
from jaxface.formats.landmarks import AnnotatedFace
from jaxface.losses.ranges import check_range
from jaxface.models.saved import SavedModel

_BATCH = 128


@dataclass(frozen=True)
class LbpSvrTraining:
  """Settings of the training.

  Attributes:
    points: 5, 6, 21 or 68; DeepFace has 6.
    seed: of the random squares.
    squares: random squares of each face: moved, scaled, turned, and half of them mirrored, as detectors' boxes differ.
    cells: rows and columns of cells that have a histogram each.
    radius: of the patterns in pixels.
    penalty: of the weights, see `fit_svr`; targets are in pixels of the square.
    insensitive: error of a coordinate that costs nothing, in pixels of the square.
  """

  points: Literal[5, 6, 21, 68] = 6
  seed: int = 0
  squares: int = 4
  cells: int = 12
  radius: float = 3.0
  penalty: float = 0.03
  insensitive: float = 0.5

  def __post_init__(self) -> None:
    if self.points not in (5, 6, 21, 68):
      raise ValueError(f"LbpSvrTraining.points is {self.points}: needs 5, 6, 21 or 68")
    check_range(self, "squares", 1)
    check_range(self, "cells", 1, SIDE)
    check_range(self, "radius", 0, SIDE / 2, open_low=True)
    check_range(self, "penalty", 0, open_low=True)
    check_range(self, "insensitive", 0)


def train_lbpsvr(
  root: Path | str, faces: Sequence[AnnotatedFace], config: LbpSvrTraining | None = None, *, licence: str = "", origin: str = "",
  progress: bool = False,
) -> SavedModel:
  """Trains the detector on annotated faces; the same arguments give the same model.

  Args:
    root: folder of the photos.
    faces: their annotated faces, see `jaxface.formats.read_landmarks`.
    config: the settings.
    licence, origin: of the photos, for the card of the model.
    progress: show bars.
  Returns:
    The model, for `LandmarkFinder`.
  Raises:
    ValueError: no face, points from which those of `config` do not follow, or no convergence.
    DamagedData: a photo cannot be read.
    ModuleNotFoundError: scikit-learn is not installed.
  """
  config = config or LbpSvrTraining()
  source = LandmarkSource(root, faces, config.points, progress=progress)
  grey_nhw, true_nk2 = draw_squares(source, LbpRegression.convention, squares=config.squares, seed=config.seed)
  features = jax.jit(partial(square_features, cells=config.cells, radius=config.radius))
  parts = tqdm(range(0, len(grey_nhw), _BATCH), desc="histograms", disable=not progress)
  feature_nd = np.concatenate([np.asarray(features(grey_nhw[at : at + _BATCH])) for at in parts])
  target_nt = (true_nk2 - mean_points(config.points)).reshape(len(grey_nhw), -1)
  weight_dt, bias_t = fit_svr(feature_nd, target_nt, penalty=config.penalty, insensitive=config.insensitive)
  error_nk = np.linalg.norm((feature_nd @ weight_dt + bias_t - target_nt).reshape(true_nk2.shape), axis=-1)
  print(f"lbpsvr: mean error {error_nk.mean():.3f} pixels of {SIDE}, {len(grey_nhw):,} squares", file=sys.stderr)
  variables: dict[str, Any] = {"params": {"regression": {"kernel": weight_dt.astype(np.float32), "bias": bias_t.astype(np.float32)}}}
  options = {"points": config.points, "cells": config.cells, "radius": config.radius}
  meta = card_entries("lbpsvr", points=config.points, faces=source.num_records, licence=licence, origin=origin)
  return SavedModel("lbpsvr", options, LbpRegression.convention, variables, meta)


@dataclass(frozen=True)
class LbpSvrExperiment(LbpSvrTraining, AnnotatedPhotos):
  """The training as an experiment of `jaxface train`; one that was interrupted starts again."""

  name: str = "lbpsvr"

  def run(self, folder: Path) -> TrainedLandmarks:
    """Trains the detector and writes it to `folder/model`; see `train_lbpsvr`."""
    return train_whole(self, folder, train_lbpsvr, self.settings(LbpSvrTraining))


__all__ = ["LbpSvrExperiment", "LbpSvrTraining", "train_lbpsvr"]
