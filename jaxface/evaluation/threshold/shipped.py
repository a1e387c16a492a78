"""Figures of a pair list at the threshold in a model's folder, beside those of its folds."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.identity_units import Units, units_of
from jaxface.evaluation.intervals.rates import rate_interval
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.formats.threshold import THRESHOLD_FILE, Threshold, read_threshold_file

SHIPPED = "shipped_threshold"


def shipped_threshold(model: str | Path, meta: Mapping[str, Any]) -> Threshold:
  """The threshold in a model's folder, for embeddings that this model has made.

  Args:
    model: model directory, or workdir of a training run.
    meta: of the embeddings.
  Raises:
    FileNotFoundError: no threshold there.
    ValueError: the embeddings are of another or an unknown model or mirror setting, or means over crops.
  """
  files = [Path(model) / THRESHOLD_FILE, Path(model) / "model" / THRESHOLD_FILE]
  file = next((file for file in files if file.is_file()), None)
  if file is None:
    raise FileNotFoundError(f"{files[0]}: no such file: the model has no threshold; measure it with `jaxface threshold --write {model}`")
  found = read_threshold_file(file)
  made = str(meta.get("model_digest", "unknown")), str(meta.get("mirror", "unknown"))
  if made != (found.model_digest, found.mirror):
    raise ValueError(
      f"{file}: the threshold holds for embeddings of the model with digest {found.model_digest} and mirror {found.mirror!r}; these have"
      f" {made[0]} and {made[1]!r}"
    )
  if crops := meta.get("crops"):
    raise ValueError(f"{file}: the threshold holds for embeddings of the whole face; these are means over {crops} crops")
  return found


def with_shipped(found: Evaluation, threshold: Threshold) -> Evaluation:
  """The figures, with accuracy (mean over the folds), FAR and TAR at a threshold that was chosen elsewhere.

  Raises:
    ValueError: the list has no mated or no non-mated pairs.
  """
  if found.verification is None:
    raise ValueError("the list has pairs of one kind only: rates at a threshold need both")
  same_p, units, score_p = np.asarray(found.pairs.same), units_of(found.pairs), found.score_p
  correct_p = (score_p >= threshold.value) == same_p
  _, fold_p, count_f = np.unique(found.pairs.fold, return_inverse=True, return_counts=True)
  weight_p = 1.0 / count_f[fold_p]
  figures: dict[str, Any] = {
    "threshold_cosine": threshold.value, "target_far": threshold.target_far, "measured_on": dict(threshold.data),
    "accuracy": float(correct_p @ weight_p / weight_p.sum()), "accuracy_interval": list(rate_interval(correct_p, units, weight_p=weight_p)),
  }
  for name, kind_p in (("far", ~same_p), ("tar", same_p)):
    accepted_p = score_p[kind_p] >= threshold.value
    of_kind = Units(units.left_p[kind_p], units.right_p[kind_p], units.total)
    figures |= {name: float(accepted_p.mean()), f"{name}_interval": list(rate_interval(accepted_p, of_kind))}
  return replace(found, figures={**found.figures, SHIPPED: figures})


__all__ = ["SHIPPED", "shipped_threshold", "with_shipped"]
