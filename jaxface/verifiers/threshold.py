"""The threshold of a verifier's scores, measured at a false-accept rate and kept in the verifier's file."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxface.evaluation.threshold.report import ThresholdReport
from jaxface.inference.threshold import set_threshold
from jaxface.verifiers.base import Verifier
from jaxface.verifiers.file import read_verifier, write_verifier

_log = logging.getLogger(__name__)


def set_verifier_threshold(
  verifier: Verifier | str | Path, far: float, pairs: Any, *, write: str | Path | None = None, say: Callable[[str], object] = _log.info, **options: Any
) -> ThresholdReport:
  """The threshold of a verifier with the largest TAR at a FAR of at most `far`, on people that it was not fitted on.

  Args:
    verifier: a `Verifier`, or its file.
    far: target FAR in (0, 1).
    pairs: a `Pairs`, the file of a pair list, or what the option `protocol` reads; None for all pairs of the embeddings, by their labels.
    write: file to write the verifier with its threshold to, .npz; it may be the verifier's own.
    say: called with each line for the user.
    **options: those of `jaxface.inference.set_threshold`.
  Raises:
    ValueError: as `set_threshold`; embeddings of another making than those of the fit; `write` is no .npz file.
    DamagedData: a file that cannot be read.
  """
  scored = verifier if isinstance(verifier, Verifier) else read_verifier(verifier)
  if write is not None and Path(write).suffix.lower() != ".npz":
    raise ValueError(f"{write}: the threshold of a verifier is kept in its file, .npz; give the verifier's own file, or a new one")
  found = set_threshold(far, pairs, score=scored, say=say, **options)
  if write is not None:
    write_verifier(write, replace(scored, threshold=found.threshold))
    say(f"{write}: written")
  return found


__all__ = ["set_verifier_threshold"]
