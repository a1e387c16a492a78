"""Trillion-Pairs: probes against many distractors, identification at FPR 1e-3 and verification at FPR 1e-9.

The list `trillion_pairs.txt` has lines `name identity probe` and `name - distractor`. Identification: a gallery of the distractors and one image of
the person, for every ordered pair of images of a person. TPR is the share of such pairs where the mate scores higher than every distractor and above the
threshold; FPR is the share of probes for which a distractor scores above it. Verification: pairs of images of one person against all
pairs of a probe and a distractor.

Source: DeepGlint, "Trillion Pairs", challenge, 2018.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.intervals.people_draws import ProtocolDraws, mean_draws, people_digest
from jaxface.evaluation.intervals.rates import size_notes
from jaxface.evaluation.measures.roc import allowed_errors
from jaxface.evaluation.protocols.base import Protocol, ProtocolFigures, percent
from jaxface.evaluation.protocols.distractors import Highest, distractor_scores, probes_and_distractors
from jaxface.evaluation.protocols.labelled import Labelled, read_labelled
from jaxface.formats.embeddings import Embeddings

IDENTIFICATION, VERIFICATION = 1e-3, 1e-9


@dataclass(frozen=True)
class TrillionPairs(Protocol):
  """Probes and distractors.

  Attributes:
    listed: roles "probe" and "distractor".
  """

  listed: Labelled

  @property
  def images(self) -> tuple[str, ...]:
    return (*self.listed.names["probe"], *self.listed.names["distractor"])

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False) -> ProtocolFigures:
    names = self.listed.names
    unit_pd, there_p, row_m, notes = probes_and_distractors(embeddings, names["probe"], names["distractor"], skip_missing=skip_missing)
    person_p = self.listed.identity["probe"][there_p]
    nonmated = len(unit_pd) * len(row_m)
    allowed = allowed_errors(VERIFICATION, nonmated)
    highest, top_p = Highest(allowed + 1), np.full(len(unit_pd), -np.inf)
    for _, score_pm in distractor_scores(unit_pd, embeddings, row_m):
      highest.add(score_pm)
      top_p = np.maximum(top_p, score_pm.max(1))
    of_probe = Highest(len(top_p) + 1)
    of_probe.add(top_p)
    limit = of_probe.limit(allowed_errors(IDENTIFICATION, len(top_p)))
    people, found_k, accepted_k = [], [], []
    for who in np.unique(person_p):
      here = np.flatnonzero(person_p == who)
      own = (unit_pd[here] @ unit_pd[here].T)[~np.eye(len(here), dtype=bool)].reshape(len(here), -1)
      people.append(np.full(own.size, who))
      found_k.append(((own > top_p[here, None]) & (own > limit)).ravel())
      accepted_k.append((own > highest.limit(allowed)).ravel())
    person_k, correct = np.concatenate(people), {"identification": np.concatenate(found_k), "verification": np.concatenate(accepted_k)}
    mated = len(person_k)
    if not mated:
      raise ValueError("no person has two probe images with an embedding")
    share = {task: float(correct_k.mean()) for task, correct_k in correct.items()}
    around = {task: list(mean_interval(correct_k, person_k)) for task, correct_k in correct.items()}
    notes = [*self.notes, *notes]
    notes += size_notes([VERIFICATION], nonmated, rate="FPR") + size_notes([IDENTIFICATION], len(top_p), rate="FPR", of="probes")
    persons, number_k = np.unique(person_k, return_inverse=True)
    key = {"identification": "identification_tpr_at_fpr_1e-3", "verification": "verification_tpr_at_fpr_1e-9"}
    draws = ProtocolDraws(
      {key[task]: value for task, value in share.items()},
      {key[task]: mean_draws(correct_k, number_k, len(persons)) for task, correct_k in correct.items()}, people_digest(person_k, np.array([len(row_m)])),
    )
    figures = {
      "protocol": self.name, "counts": dict(self.counts), "mated": mated // 2, "nonmated": nonmated,
      "identification_tpr_at_fpr_1e-3": share["identification"], "identification_tpr_at_fpr_1e-3_95": around["identification"],
      "verification_tpr_at_fpr_1e-9": share["verification"], "verification_tpr_at_fpr_1e-9_95": around["verification"], "notes": notes,
    }
    lines = (
      f"identification: TPR@FPR 1e-3  {percent(share['identification'], around['identification'])}",
      f"verification: TPR@FPR 1e-9  {percent(share['verification'], around['verification'])}",
    )
    return ProtocolFigures(figures, tuple(notes), lines, draws=draws)


def read_trillion_pairs(lists: str | Path) -> TrillionPairs:
  """Reads `trillion_pairs.txt`, or a folder with it.

  Raises:
    DamagedData: an invalid line, an image listed twice, or a role without images.
    FileNotFoundError: no list.
  """
  listed = read_labelled(lists, "trillion_pairs.txt", ("probe", "distractor"))
  counts = {f"{role} images": len(names) for role, names in listed.names.items()}
  return TrillionPairs("trillion-pairs", counts | {"people": len(np.unique(listed.identity["probe"]))}, (), listed)


__all__ = ["TrillionPairs", "read_trillion_pairs"]
