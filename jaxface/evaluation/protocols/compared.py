"""Two files of embeddings on one protocol, or two scores of one on one pair list: the figures of both, and their differences with intervals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxface.evaluation.pairs.comparison import Difference, compare
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_score import PairScore
from jaxface.evaluation.protocols.base import ProtocolFigures
from jaxface.evaluation.protocols.paired import compare_protocols
from jaxface.evaluation.protocols.registry import evaluate
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings


@dataclass(frozen=True)
class Compared:
  """Result of `compare_embeddings`; `print` shows it.

  Attributes:
    first: figures of the first embeddings.
    second: of the second.
    differences: second minus first, by name.
  """

  first: Evaluation | ProtocolFigures
  second: Evaluation | ProtocolFigures
  differences: Mapping[str, Difference]

  @property
  def notes(self) -> tuple[str, ...]:
    """Caveats of both, a line each."""
    return tuple(dict.fromkeys((*self.first.notes, *self.second.notes)))

  @property
  def figures(self) -> Mapping[str, Any]:
    """Everything as plain JSON values."""
    return {
      "first": dict(self.first.figures), "second": dict(self.second.figures),
      "differences": {name: asdict(one) for name, one in self.differences.items()},
    }

  def __str__(self) -> str:
    lines = [*_lines("first:", self.first), *_lines("second:", self.second), "second − first, in percent points:"]
    width = max(16, *map(len, self.differences))
    return "\n".join([*lines, *(f"  {name:{width}} {one}" for name, one in self.differences.items())])


def _lines(which: str, found: Evaluation | ProtocolFigures) -> list[str]:
  if isinstance(found, Evaluation):
    assert found.verification
    return [f"{which:7} {found.verification.summary()}"]
  return [which, *(f"  {line}" for line in found.lines)]


def compare_embeddings(
  first: Embeddings | str | Path, second: Embeddings | str | Path, pairs: Any, *, score: PairScore | None = None, second_score: PairScore | None = None,
  out: str | Path | None = None, **rules: Any
) -> Compared:
  """Figures of two sets of embeddings on one list or protocol, and their differences with paired intervals.

  Args:
    first: an `Embeddings`, or a file of them.
    second: likewise, of another model, or the same for two scores of one.
    pairs: as `evaluate` takes them.
    score: what scores the first embeddings, such as a `jaxface.verifiers.Verifier`; None is the cosine.
    second_score: likewise, of the second ones.
    out: JSON file for every figure.
    **rules: options of `evaluate`: `protocol`, `threshold_from`, `skip_missing`.
  Raises:
    ValueError: as `evaluate`; a list with pairs of one kind; other pairs or probes left with `skip_missing`.
  """
  one, other = (evaluate(each, pairs, score=by, **rules) for each, by in ((first, score), (second, second_score)))
  if isinstance(one, ProtocolFigures) and isinstance(other, ProtocolFigures):
    found = Compared(one, other, compare_protocols(one, other))
  elif isinstance(one, Evaluation) and isinstance(other, Evaluation) and one.verification and other.verification:
    found = Compared(one, other, compare(one.verification, other.verification))
  else:
    raise ValueError("a comparison needs a list with mated and non-mated pairs")
  if out is not None:
    write_json(out, found.figures)
  return found


__all__ = ["Compared", "compare_embeddings"]
