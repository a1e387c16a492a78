"""The figures of a protocol that a run logs, and the one that ranks its states.

  pair lists    accuracy, auc, eer, tar@FAR, threshold_cosine
  others        every fraction (float) among the figures at the top level and in "mean", TAR at FAR as tar@FAR, and of several
                numbers of distractors those of the largest

Counts, intervals and the figures of single people, folds, groups and galleries are not logged; `NAME.json` has them.
"""

import math
from types import MappingProxyType

from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.protocols.base import ProtocolFigures

PAIRED = ("accuracy", "auc", "eer", "threshold_cosine")
# The logged figure that ranks states, higher is better, by protocol; "accuracy" for those that are not here.
SCORES: MappingProxyType[str, str] = MappingProxyType({
  "lfw-unsupervised": "auc",
  "ijb-b": "tar@1e-4",
  "ijb-c": "tar@1e-4",
  "ijb-b-1n": "rank-1",
  "ijb-c-1n": "rank-1",
  "megaface-facescrub": "rank-1",
  "megaface-fgnet": "rank-1",
  "rfw": "accuracy_mean",
  "trillion-pairs": "identification_tpr_at_fpr_1e-3",
})


def logged_figures(found: Evaluation | ProtocolFigures) -> dict[str, float]:
  """The figures that a run logs.

  Args:
    found: result of a protocol.
  Returns:
    Floats by name; non-finite ones are left out.
  Raises:
    ValueError: a list of pairs of one kind, which has no figures.
  """
  figures = found.figures
  if isinstance(found, Evaluation):
    if found.verification is None:
      raise ValueError(f"{found.pairs.file or 'the list'} has pairs of one kind only: no figures, only scores")
    chosen = {name: figures[name] for name in PAIRED}
  else:
    distractors = figures.get("distractors", {})
    most = distractors[max(distractors, key=int)] if distractors else {}
    chosen = {**figures, **figures.get("mean", {}), **most}
  chosen |= {f"tar@{far}": tar for far, tar in figures.get("tar_at_far", {}).items()}
  return {name: float(value) for name, value in chosen.items() if isinstance(value, float) and math.isfinite(value)}


def score_name(protocol: str) -> str:
  """The name of the logged figure that ranks the states of a run.

  Args:
    protocol: one of `PROTOCOLS`.
  """
  return SCORES.get(protocol, "accuracy")


__all__ = ["PAIRED", "SCORES", "logged_figures", "score_name"]
