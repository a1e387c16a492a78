"""Two files of embeddings, or two scores of one, on one pair list: the figures of both, and their differences with intervals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxface.evaluation.pairs.comparison import Difference, compare
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_score import PairScore
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

  first: Evaluation
  second: Evaluation
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
    assert self.first.verification and self.second.verification
    lines = [f"first:  {self.first.verification.summary()}", f"second: {self.second.verification.summary()}", "second − first, in percent points:"]
    return "\n".join([*lines, *(f"  {name:16} {one}" for name, one in self.differences.items())])


def compare_embeddings(
  first: Embeddings | str | Path, second: Embeddings | str | Path, pairs: Any, *, score: PairScore | None = None, second_score: PairScore | None = None,
  out: str | Path | None = None, **rules: Any
) -> Compared:
  """Figures of two sets of embeddings on one pair list, and their differences with paired intervals (`compare`).

  Args:
    first: an `Embeddings`, or a file of them.
    second: likewise, of another model, or the same for two scores of one.
    pairs: as `evaluate` takes them.
    score: what scores the first embeddings, such as a `jaxface.verifiers.Verifier`; None is the cosine.
    second_score: likewise, of the second ones.
    out: JSON file for every figure.
    **rules: options of `evaluate`: `protocol`, `threshold_from`, `skip_missing`.
  Raises:
    ValueError: as `evaluate`; a protocol that is no pair list; a list with pairs of one kind; other pairs left with `skip_missing`.
  """
  one, other = (evaluate(each, pairs, score=by, **rules) for each, by in ((first, score), (second, second_score)))
  if not isinstance(one, Evaluation) or not isinstance(other, Evaluation) or one.verification is None or other.verification is None:
    raise ValueError("a comparison needs a list with mated and non-mated pairs")
  found = Compared(one, other, compare(one.verification, other.verification))
  if out is not None:
    write_json(out, found.figures)
  return found


__all__ = ["Compared", "compare_embeddings"]
