"""MegaFace: probes of FaceScrub or FG-NET among 10 to 1,000,000 distractors.

The folder has the probes, `facescrub_features_list.json` or `fgnet_features_list.json`, and the distractors,
`megaface_features_list.json_1000000_1` (or that of fewer): JSON with `path`, and for probes `id`.

Identification: each image of a person is the mate in turn, every other image of that person a probe; the rank of the mate is one plus the number of
distractors that score at least as high. Verification: all pairs of images of one person against all pairs of a probe and a distractor.

Source: Kemelmacher-Shlizerman et al., "The MegaFace Benchmark: 1 Million Faces for Recognition at Scale", 2016.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.intervals.people_draws import ProtocolDraws, mean_draws, people_digest
from jaxface.evaluation.intervals.rates import size_notes
from jaxface.evaluation.measures.distractors import distractor_ranks
from jaxface.evaluation.measures.roc import allowed_errors
from jaxface.evaluation.protocols.base import (
  Protocol,
  ProtocolFigures,
  check_counts,
  find_file,
  percent,
  rate_name,
)
from jaxface.evaluation.protocols.distractors import Highest, distractor_scores, probes_and_distractors
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData

COUNTS = {
  "facescrub": {"probe images": 3_530, "people": 80},
  "fgnet": {"probe images": 975, "people": 82},
}
SIZES = tuple(10**power for power in range(1, 7))
FARS, RANKS = (1e-6, 1e-5, 1e-4, 1e-3), (1, 10)


@dataclass(frozen=True)
class MegaFace(Protocol):
  """Probes and distractors.

  Attributes:
    probes: names of the probe images.
    person: person of each.
    distractors: names, in the order of the list; the first 10, 100, … are the smaller sets.
  """

  probes: tuple[str, ...]
  person: np.ndarray
  distractors: tuple[str, ...]

  @property
  def images(self) -> tuple[str, ...]:
    return (*self.probes, *self.distractors)

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False) -> ProtocolFigures:
    unit_pd, there_p, row_m, notes = probes_and_distractors(embeddings, self.probes, self.distractors, skip_missing=skip_missing)
    person_p = self.person[there_p]
    probe_k, mate_k = np.nonzero((person_p[:, None] == person_p) & ~np.eye(len(person_p), dtype=bool))
    if not len(probe_k):
      raise ValueError("no person has two probe images with an embedding")
    own_k = (unit_pd[probe_k] * unit_pd[mate_k]).sum(1)
    sizes = sorted({size for size in SIZES if size < len(row_m)} | {len(row_m)})
    above_k = np.zeros(len(own_k), np.int64)
    nonmated = len(unit_pd) * len(row_m)
    highest = Highest(allowed_errors(max(FARS), nonmated) + 1)
    ranks: dict[str, dict[str, Any]] = {}
    for so_far, score_pm in distractor_scores(unit_pd, embeddings, row_m, sizes):
      highest.add(score_pm)
      above_k += distractor_ranks(own_k, probe_k, score_pm)[0] - 1
      if so_far in sizes:
        ranks[str(so_far)] = {f"rank-{rank}": float((above_k < rank).mean()) for rank in RANKS}
        ranks[str(so_far)] |= {f"rank-{rank}_95": list(mean_interval(above_k < rank, person_p[probe_k])) for rank in RANKS}
    people, number_k = np.unique(person_p[probe_k], return_inverse=True)
    drawn = {f"rank-{rank}": mean_draws(above_k < rank, number_k, len(people)) for rank in RANKS}
    tar, around = {}, {}
    for far in FARS:
      limit = highest.limit(allowed_errors(far, nonmated))
      name = rate_name(far)
      tar[name] = float((own_k > limit).mean())  # a mated pair occurs in both orders
      around[name] = list(mean_interval(own_k > limit, person_p[probe_k]))
      drawn[f"tar_at_far {name}"] = mean_draws(own_k > limit, number_k, len(people))
    value = {**{f"rank-{rank}": ranks[str(len(row_m))][f"rank-{rank}"] for rank in RANKS}, **{f"tar_at_far {name}": one for name, one in tar.items()}}
    draws = ProtocolDraws(value, drawn, people_digest(people[number_k], np.array([len(row_m)])))
    notes = [*self.notes, *notes, *size_notes(FARS, nonmated)]
    figures = {
      "protocol": self.name, "counts": dict(self.counts), "mated": len(own_k) // 2, "nonmated": nonmated, "distractors": ranks,
      "tar_at_far": tar, "tar_at_far_95": around, "notes": notes,
    }
    lines = [
      f"{int(size):>9,} distractors: " + ", ".join(f"rank {rank} {percent(one[f'rank-{rank}'], one[f'rank-{rank}_95'])}" for rank in RANKS)
      for size, one in ranks.items()
    ]
    lines += [f"TAR@FAR {name}  {percent(value, around[name])}" for name, value in tar.items()]
    return ProtocolFigures(figures, tuple(notes), tuple(lines), draws=draws)


def read_megaface(lists: str | Path, probes: str = "facescrub") -> MegaFace:
  """Reads the folder `templatelists`.

  Args:
    lists: the folder.
    probes: "facescrub" or "fgnet".
  Raises:
    DamagedData: not such a list, an image listed twice, or other counts than the official ones.
    FileNotFoundError: a list is missing.
  """
  folder = Path(lists)
  file = find_file(folder, (f"{probes}_features_list.json",), "list of probes")
  names, person = _list(file, ("path", "id"))
  sizes = [f"megaface_features_list.json_{size}_1" for size in SIZES[::-1]]
  more = find_file(folder, (*sizes, "megaface_features_list.json"), "list of distractors")
  (distractors,) = _list(more, ("path",))
  if both := set(names) & set(distractors):
    raise DamagedData(f"{min(both)!r} is a probe too", file=more)
  counts = {"probe images": len(names), "people": len(set(person)), "distractors": len(distractors)}
  notes = check_counts(file, counts, COUNTS[probes])
  if len(distractors) < SIZES[-1]:
    notes.append(f"{more}: {len(distractors):,} distractors: the usual figures are those of 1,000,000.")
  return MegaFace(f"megaface-{probes}", counts, tuple(notes), tuple(names), np.array(person), tuple(distractors))


def _list(path: Path, keys: tuple[str, ...]) -> list[list[str]]:
  """Columns of a JSON list."""
  try:
    table = json.loads(path.read_bytes())
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"not a complete JSON file: {error}", file=path) from error
  columns: list[Any] = [table.get(key) if isinstance(table, dict) else None for key in keys]
  if not all(isinstance(column, list) and column and all(isinstance(one, (str, int)) for one in column) for column in columns):
    raise DamagedData(f"expected an object with lists of names under {' and '.join(keys)}", file=path)
  if len({len(column) for column in columns}) > 1:
    raise DamagedData(f"{' and '.join(keys)} have {' and '.join(str(len(column)) for column in columns)} entries", file=path)
  text = [[str(one) for one in column] for column in columns]
  seen: set[str] = set()
  for name in text[0]:
    if name in seen:
      raise DamagedData(f"{name!r} is listed twice", file=path)
    seen.add(name)
  return text


__all__ = ["MegaFace", "read_megaface"]
