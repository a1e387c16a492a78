"""Any number of evaluations, sweeps and slices as one set of figures: plain JSON values, from which page, card and file are made."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, TypeVar

import numpy as np

from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.measures.identification import Searches, open_set, tpir_at_fpir
from jaxface.evaluation.pairs.comparison import Difference, compare, holm
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.base import ProtocolFigures
from jaxface.evaluation.protocols.paired import compare_protocols
from jaxface.evaluation.protocols.saved import protocol_of, title_of

KIND, VERSION = "jaxface report", 1
ALL_PAIRS = 4  # up to so many models of a list are all compared with each other, more with the first only
RANKS = (1, 5, 10, 20)
FPIRS = (0.1, 0.01)
T = TypeVar("T")


@dataclass(frozen=True)
class ListOfPairs:
  """One pair list, and the models that were evaluated on it.

  Attributes:
    name: protocol of the list, with a number where several lists have one.
    models: (name, figures) of each; the names differ.
  """

  name: str
  models: tuple[tuple[str, Verification], ...]


@dataclass(frozen=True)
class Study:
  """What a report shows.

  Attributes:
    title: heading; "" for one made of the lists and models.
    evaluations: (name, evaluation) of each; the name is used where the evaluation has no title.
    sweeps: figures over levels of a degradation or setting, as `jaxface sweep` writes them.
    slices: figures by group, as `jaxface slices` writes them.
    image_of: returns the encoded JPEG or PNG of a name in the pairs, or None; None shows no pictures.
    command: command line that reproduces the report.
    environment: versions by name.
  """

  title: str
  evaluations: Sequence[tuple[str, Evaluation | ProtocolFigures]]
  sweeps: Sequence[Mapping[str, Any]] = ()
  slices: Sequence[Mapping[str, Any]] = ()
  image_of: Callable[[str], bytes | None] | None = None
  command: str = ""
  environment: Mapping[str, Any] = field(default_factory=dict)

  @cached_property
  def named(self) -> tuple[tuple[str, str, Evaluation | ProtocolFigures], ...]:
    """(name of the list, name of the model, evaluation) of each; no two have the same two names."""
    by_list: dict[tuple[str, str], str] = {}
    found, used = [], set()
    for otherwise, one in self.evaluations:
      protocol = protocol_of(one)
      if (protocol, _digest(one)) not in by_list:
        same = sum(key[0] == protocol for key in by_list)
        by_list[protocol, _digest(one)] = f"{protocol} ({same + 1})" if same else protocol
      where, base = by_list[protocol, _digest(one)], title_of(one, otherwise)
      name, number = base, 1
      while (where, name) in used:
        number += 1
        name = f"{base} ({number})"
      used.add((where, name))
      found.append((where, name, one))
    return tuple(found)

  @property
  def heading(self) -> str:
    """The title, or one made of the lists and models."""
    lists = "; ".join(dict.fromkeys(where for where, _, _ in self.named))
    models = "; ".join(dict.fromkeys(name for _, name, _ in self.named))
    return self.title or (f"{lists}: {models}" if models else "Sweeps and slices")

  @cached_property
  def lists(self) -> tuple[ListOfPairs, ...]:
    """The pair lists that have figures, in order of first use."""
    models: dict[str, list[tuple[str, Verification]]] = {}
    for where, name, one in self.named:
      if isinstance(one, Evaluation) and one.verification:
        models.setdefault(where, []).append((name, one.verification))
    return tuple(ListOfPairs(name, tuple(found)) for name, found in models.items())

  @cached_property
  def protocols(self) -> tuple[tuple[str, tuple[tuple[str, ProtocolFigures], ...]], ...]:
    """(list, (model, figures) of each) of the protocols that are no pair list, in order of first use."""
    models: dict[str, list[tuple[str, ProtocolFigures]]] = {}
    for where, name, one in self.named:
      if isinstance(one, ProtocolFigures):
        models.setdefault(where, []).append((name, one))
    return tuple((where, tuple(found)) for where, found in models.items())

  @cached_property
  def searches(self) -> tuple[tuple[str, str, str, Searches], ...]:
    """(list, model, gallery, searches) of each search (1:N)."""
    return tuple(
      (where, name, gallery, found) for where, name, one in self.named if isinstance(one, ProtocolFigures)
      for gallery, found in one.searches.items() if found.mated.any()
    )

  @cached_property
  def _probes(self) -> Mapping[tuple[str, str, str], np.ndarray]:
    """Person of each probe by list, model and gallery, where it is known."""
    return {
      (where, name, gallery): person_n for where, name, one in self.named if isinstance(one, ProtocolFigures)
      for gallery, person_n in one.probes.items()
    }

  @cached_property
  def figures(self) -> dict[str, Any]:
    """Everything as plain JSON values, which figures.schema.json describes."""
    return {
      "kind": KIND, "version": VERSION, "title": self.heading,
      "evaluations": [
        {"list": where, "model": name, "protocol": protocol_of(one), "figures": dict(one.figures), "made_with": dict(one.meta)}
        for where, name, one in self.named
      ],
      "identification": [
        {"list": where, "model": name, "gallery": gallery, **identification(found, self._probes.get((where, name, gallery)))}
        for where, name, gallery, found in self.searches
      ],
      "comparisons": [
        *(row for one in self.lists for row in comparisons(one.name, one.models, compare)),
        *(row for where, models in self.protocols for row in comparisons(where, models, compare_saved)),
      ],
      "sweeps": [dict(one) for one in self.sweeps], "slices": [dict(one) for one in self.slices],
    }


def comparisons(where: str, models: Sequence[tuple[str, T]], differ: Callable[[T, T], Mapping[str, Difference]]) -> list[dict[str, Any]]:
  """Differences of the models of a list, the second minus the first, with paired intervals and tests.

  Of more than two models, `p_holm` is Holm's correction for the compared models, for each figure by itself.

  Args:
    where: name of the list.
    models: (name, figures) of each.
    differ: gives the differences of two.
  """
  chosen = list(combinations(models, 2)) if len(models) <= ALL_PAIRS else [(models[0], other) for other in models[1:]]
  rows: list[dict[str, Any]] = [
    {
      "list": where, "first": first, "second": second, "figure": figure, "value": found.value,
      "interval": [found.low, found.high], "p": found.p,
    }
    for (first, ours), (second, theirs) in chosen for figure, found in differ(ours, theirs).items()
  ]
  if len(chosen) > 1:
    for figure in dict.fromkeys(row["figure"] for row in rows):
      of_figure = [row for row in rows if row["figure"] == figure]
      for row, corrected in zip(of_figure, holm([row["p"] for row in of_figure])):
        row["p_holm"] = float(corrected)
  return rows


def compare_saved(first: ProtocolFigures, second: ProtocolFigures) -> Mapping[str, Difference]:
  """`compare_protocols`, but nothing for figures of earlier releases, which were saved without draws."""
  known = all(one.draws is not None or one.parts for one in (first, second))
  return compare_protocols(first, second) if known else {}


def identification(searches: Searches, person_n: np.ndarray | None = None) -> dict[str, Any]:
  """Rates of a search with 95 % intervals, at the thresholds found.

  Args:
    searches: rank and score of each probe.
    person_n: [N] int, person of each; None, for files of earlier releases, takes probes as independent.
  """
  mated_n = searches.mated
  person_n = np.arange(len(mated_n)) if person_n is None else person_n
  mated, others = int(mated_n.sum()), int((~mated_n).sum())

  def rate(correct_n: np.ndarray) -> dict[str, Any]:
    return {"value": float(correct_n[mated_n].mean()), "interval": list(mean_interval(correct_n[mated_n], person_n[mated_n]))}

  ranks = {str(rank): rate(searches.rank <= rank) for rank in RANKS}
  found: dict[str, Any] = {"mated_probes": mated, "nonmated_probes": others, "rank": ranks, "tpir_at_fpir": {}}
  if others:
    curve = open_set(searches, rank=1)
    for target in FPIRS:
      point = tpir_at_fpir(curve, target)
      found["tpir_at_fpir"][f"{target:g}"] = {**rate((searches.rank == 1) & (searches.score >= point.threshold)), "threshold": point.threshold}
  return found


def _digest(one: Evaluation | ProtocolFigures) -> str:
  """A digest of the pairs or people, the same for models on one list in one order; "" where it is not known."""
  if not isinstance(one, Evaluation):
    return one.draws.people if one.draws else "".join(_digest(part) for part in one.parts.values())
  digest = hashlib.sha256(one.pairs.same.tobytes())
  for names in (one.pairs.left, one.pairs.right):
    digest.update("\n".join(names).encode())
  return digest.hexdigest()


__all__ = ["ListOfPairs", "Study", "comparisons", "identification"]
