"""Closed-set classification: probes of known people, each assigned to the class whose mean gallery embedding is nearest.

The list has lines `name identity gallery` and `name identity probe`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.intervals.people_draws import ProtocolDraws, mean_draws, people_digest
from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.measures.confusion import class_accuracy
from jaxface.evaluation.measures.identification import concatenate_searches, search_gallery
from jaxface.evaluation.protocols.base import Protocol, ProtocolFigures, percent, rows_of, unit_embeddings
from jaxface.evaluation.protocols.labelled import Labelled, read_labelled
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData

BLOCK = 4096


@dataclass(frozen=True)
class ClosedSet(Protocol):
  """Images of a closed set of people.

  Attributes:
    listed: roles "gallery" and "probe".
  """

  listed: Labelled

  @property
  def images(self) -> tuple[str, ...]:
    return (*self.listed.names["gallery"], *self.listed.names["probe"])

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False) -> ProtocolFigures:
    notes = list(self.notes)
    unit, person = {}, {}
    for role in ("gallery", "probe"):
      row_i, more = rows_of(embeddings, self.listed.names[role], skip_missing=skip_missing)
      notes += [f"{role}: {note}" for note in more]
      kept = row_i[row_i >= 0]
      unit[role] = unit_embeddings(embeddings, kept)
      person[role] = self.listed.identity[role][row_i >= 0]
    people, class_m = np.unique(person["gallery"], return_inverse=True)
    center_cd = np.zeros((len(people), unit["gallery"].shape[1]))
    np.add.at(center_cd, class_m, unit["gallery"])
    center_cd = unit_rows(center_cd, names=[f"{who}, mean of the gallery" for who in people])
    known = np.isin(person["probe"], people)
    if not known.any():
      raise ValueError("no probe has a gallery image with an embedding")
    if not known.all():
      notes.append(f"{int((~known).sum()):,} probes are ignored: no gallery image of their person has an embedding.")
    label_n, probe_nd = np.searchsorted(people, person["probe"][known]), unit["probe"][known]
    guesses, found = [], []
    for at in range(0, len(probe_nd), BLOCK):
      score_nc = probe_nd[at : at + BLOCK] @ center_cd.T
      guesses.append(score_nc.argmax(1))
      found.append(search_gallery(score_nc, label_n[at : at + BLOCK], np.arange(len(people))))
    guess_n, searches = np.concatenate(guesses), {"means of the gallery": concatenate_searches(*found)}
    right_n = guess_n == label_n
    by_class = class_accuracy(label_n, guess_n)
    wrong, often = np.unique(np.stack([label_n[~right_n], guess_n[~right_n]], 1), axis=0, return_counts=True)
    confused = [
      {"person": str(people[wrong[at, 0]]), "taken_for": str(people[wrong[at, 1]]), "probes": int(often[at])}
      for at in np.argsort(-often, kind="stable")[:20]
    ]
    accuracy, mean_class = by_class.accuracy, by_class.mean_per_class
    interval, of_classes = mean_interval(right_n, label_n), mean_interval(by_class.per_class, by_class.label)
    figures = {
      "protocol": self.name, "counts": dict(self.counts), "probes": len(label_n), "classes": len(people), "accuracy": accuracy,
      "accuracy_95": list(interval), "mean_class_accuracy": mean_class, "mean_class_accuracy_95": list(of_classes),
      "class_accuracy": dict(zip(people[by_class.label].tolist(), by_class.per_class.tolist())),
      "confused": confused, "notes": notes,
    }
    lines = (
      f"accuracy {percent(accuracy, interval)}, mean over classes {percent(mean_class, of_classes)}, "
      f"{len(label_n):,} probes, {len(people):,} classes",
      *(f"{one['person']} taken for {one['taken_for']}: {one['probes']}" for one in confused[:5]),
    )
    draws = ProtocolDraws(
      {"accuracy": accuracy}, {"accuracy": mean_draws(right_n, label_n, len(people))}, people_digest(people, label_n, class_m),
    )
    return ProtocolFigures(figures, tuple(notes), lines, searches, {"means of the gallery": label_n}, draws=draws)


def read_closed_set(lists: str | Path) -> ClosedSet:
  """Reads `closed_set.txt`, or a folder with it.

  Raises:
    DamagedData: an invalid line, an image listed twice, or a probe of a person without gallery images.
    FileNotFoundError: no list.
  """
  listed = read_labelled(lists, "closed_set.txt", ("gallery", "probe"))
  known = set(listed.identity["gallery"].tolist())
  for name, who in zip(listed.names["probe"], listed.identity["probe"].tolist()):
    if who not in known:
      raise DamagedData(f"the probe {name!r} shows {who!r}, who has no gallery image: the set is not closed", file=lists)
  counts = {f"{role} images": len(names) for role, names in listed.names.items()} | {"people": len(known)}
  return ClosedSet("closed-set", counts, (), listed)


__all__ = ["ClosedSet", "read_closed_set"]
