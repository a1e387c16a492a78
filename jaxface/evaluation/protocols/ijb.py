"""IJB-B and IJB-C, 1:1 and 1:N, from the lists that InsightFace distributes.

  ijbc_face_tid_mid.txt         lines `image template medium`
  ijbc_template_pair_label.txt  lines `template template label`, for 1:1
  ijbc_1N_gallery_G1.csv, ijbc_1N_gallery_G2.csv (IJB-B: S1, S2), ijbc_1N_probe_mixed.csv
                                columns TEMPLATE_ID and SUBJECT_ID among others, for 1:N

Source: Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", 2017; Maze et al., "IARPA Janus Benchmark – C", 2018.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.bootstrap import percentiles
from jaxface.evaluation.intervals.people_draws import ProtocolDraws, people_digest, template_draws
from jaxface.evaluation.intervals.rates import size_notes, wilson
from jaxface.evaluation.intervals.subjects import (
  fewest_pairs,
  subject_units,
  template_auc_interval,
  template_intervals,
)
from jaxface.evaluation.measures import roc as measures
from jaxface.evaluation.protocols.base import (
  Protocol,
  ProtocolFigures,
  check_counts,
  find_file,
  percent,
  rate_name,
  rows_of,
)
from jaxface.evaluation.protocols.one_to_many import FPIRS, identify, mean_of
from jaxface.evaluation.protocols.templates import pool_templates, template_scores
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs_base import whole, wrong
from jaxface.losses.ranges import check_name

FACES = {"ijb-b": {"faces": 227_630, "templates": 12_115}, "ijb-c": {"faces": 469_375, "templates": 23_124}}
PAIRS = {
  "ijb-b": {"pairs": 8_010_270, "mated": 10_270, "nonmated": 8_000_000},
  "ijb-c": {"pairs": 15_658_489, "mated": 19_557, "nonmated": 15_638_932},
}
GALLERIES = {"ijb-b": ("S1", "S2"), "ijb-c": ("G1", "G2")}
FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
TABLE = 1 << 22


@dataclass(frozen=True)
class Ijb(Protocol):
  """Templates of faces.

  Attributes:
    face_names: names of the F faces; an image may occur in several templates.
    template_f: [F] int64, template of each face.
    media_f: [F] int64, medium of each face.
  """

  face_names: tuple[str, ...]
  template_f: np.ndarray
  media_f: np.ndarray

  @property
  def images(self) -> tuple[str, ...]:
    return tuple(dict.fromkeys(self.face_names))

  def pooled(self, embeddings: Embeddings, skip_missing: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Templates, their embeddings, and notes; see `pool_templates`."""
    row_f, notes = rows_of(embeddings, self.face_names, skip_missing=skip_missing)
    return *pool_templates(embeddings.embedding_nd, row_f, self.template_f, self.media_f, embeddings.names), notes


@dataclass(frozen=True)
class IjbVerification(Ijb):
  """1:1.

  Attributes:
    left_p: [P] int64, templates.
    right_p: [P] int64, templates.
    same_p: [P] bool.
  """

  left_p: np.ndarray
  right_p: np.ndarray
  same_p: np.ndarray

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False) -> ProtocolFigures:
    template_t, unit_td, notes = self.pooled(embeddings, skip_missing)
    at_p, there_p = zip(*(_positions(template_t, side) for side in (self.left_p, self.right_p)))
    keep = there_p[0] & there_p[1]
    if not keep.all():
      notes.append(f"{int((~keep).sum()):,} of {len(keep):,} pairs are ignored: a template has no face with an embedding.")
    score_p, same_p = template_scores(unit_td, at_p[0][keep], at_p[1][keep]), self.same_p[keep]
    curve = measures.roc(score_p, same_p)
    units = subject_units(at_p[0][keep], at_p[1][keep], same_p, len(template_t))
    point = {rate_name(far): measures.tar_at_far(curve, far) for far in FARS}
    ends = template_intervals(score_p, same_p, units, FARS, [at.threshold for at in point.values()])
    around = {name: list(one) for name, one in zip(point, ends)}
    eer = measures.eer(curve).far
    drawn = template_draws(score_p, same_p, units, dict(zip(point, FARS)), eer)
    eer_ends = percentiles(drawn["eer"]) if "eer" in drawn else wilson(0, fewest_pairs(same_p, units))
    value = {name: eer if name == "eer" else point[name].tar for name in ("eer", *point) if name in drawn}
    key = {name: name if name == "eer" else f"tar_at_far {name}" for name in value}
    draws = ProtocolDraws(
      {key[name]: one for name, one in value.items()}, {key[name]: drawn[name] for name in value},
      people_digest(self.left_p[keep], self.right_p[keep], same_p),
    )
    notes = [*self.notes, *notes, *size_notes(FARS, curve.nonmated)]
    figures = {
      "protocol": self.name, "counts": dict(self.counts), "pairs": int(keep.sum()), "mated": curve.mated, "nonmated": curve.nonmated,
      "auc": measures.auc(curve), "auc_95": list(template_auc_interval(score_p, same_p, units)), "eer": eer,
      "eer_95": [min(eer_ends[0], eer), max(eer_ends[1], eer)], "tar_at_far": {name: at.tar for name, at in point.items()},
      "tar_at_far_95": around,
      "tar_at_far_threshold_cosine": {name: at.threshold for name, at in point.items()}, "notes": notes,
    }
    lines = [f"TAR@FAR {name}  {percent(at.tar, around[name])}  (cosine {at.threshold:.4f})" for name, at in point.items()]
    return ProtocolFigures(figures, tuple(notes), tuple(lines), draws=draws)


@dataclass(frozen=True)
class IjbIdentification(Ijb):
  """1:N with two galleries.

  Attributes:
    galleries: per gallery, subject by template.
    probes: subject by template.
  """

  galleries: Mapping[str, Mapping[int, int]]
  probes: Mapping[int, int]

  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False) -> ProtocolFigures:
    template_t, unit_td, notes = self.pooled(embeddings, skip_missing)
    row = {int(template): at for at, template in enumerate(template_t)}
    kept = {template: subject for template, subject in self.probes.items() if template in row}
    if len(kept) < len(self.probes):
      notes.append(f"{len(self.probes) - len(kept):,} of {len(self.probes):,} probes are ignored: no face has an embedding.")
    probe_nd = unit_td[[row[template] for template in kept]]
    probe_n = np.array(list(kept.values()))
    found, searches, drawn, galleries = {}, {}, {}, []
    for name, gallery in self.galleries.items():
      here = {template: subject for template, subject in gallery.items() if template in row}
      if len(here) < len(gallery):
        notes.append(f"{len(gallery) - len(here):,} of {len(gallery):,} templates of gallery {name} are ignored: no face has an embedding.")
      score_nm = probe_nd @ unit_td[[row[template] for template in here]].T
      galleries.append(np.array(list(here.values())))
      found[name], searches[f"gallery {name}"], drawn[name] = identify(score_nm, probe_n, galleries[-1])
    shares = [key for key in found[name] if key not in ("mated_probes", "nonmated_probes") and not key.endswith("_95")]
    mean: dict[str, Any] = {key: float(np.mean([one[key] for one in found.values()])) for key in shares}
    # The galleries share no subject, so their errors are independent.
    around = {key: mean_of(mean[key], [(one[key], one[f"{key}_95"]) for one in found.values()]) for key in shares}
    mean |= {f"{key}_95": interval for key, interval in around.items()}
    draws = ProtocolDraws(
      {key: mean[key] for key in shares}, {key: np.mean([one[key] for one in drawn.values()], axis=0) for key in shares},
      people_digest(probe_n, *galleries),
    )
    notes = [*self.notes, *notes]
    notes += size_notes(FPIRS, min(one["nonmated_probes"] for one in found.values()), rate="FPIR", of="non-mated probes")
    figures = {"protocol": self.name, "counts": dict(self.counts), "galleries": found, "mean": mean, "notes": notes}
    lines = [f"{key}  {percent(mean[key], around[key])}  (mean of {len(found)} galleries)" for key in shares]
    return ProtocolFigures(figures, tuple(notes), tuple(lines), searches, dict.fromkeys(searches, probe_n), draws=draws)


def read_ijb(lists: str | Path, name: str, task: str = "1:1") -> IjbVerification | IjbIdentification:
  """Reads the folder `meta`.

  Args:
    lists: the folder.
    name: "ijb-b" or "ijb-c".
    task: "1:1" or "1:N".
  Raises:
    DamagedData: an invalid line, other counts than the official ones, a pair or gallery with a template without faces, or a template or subject
      listed twice.
    FileNotFoundError: a list is missing.
  """
  check_name("name", name, tuple(FACES))
  check_name("task", task, ("1:1", "1:N"))
  short = name.replace("-", "")
  folder = Path(lists)
  file = find_file(folder, (f"{short}_face_tid_mid.txt",), "list of faces")
  names, template_f, media_f = _faces(file)
  template_t = np.unique(template_f)
  counts = {"faces": len(names), "templates": len(template_t)}
  notes = check_counts(file, counts, FACES[name])
  faces = (names, template_f, media_f)
  if task == "1:1":
    file = find_file(folder, (f"{short}_template_pair_label.txt",), "list of pairs")
    left_p, right_p, label_p = _integers(file).T
    for side in (left_p, right_p):
      unknown = np.flatnonzero(~_positions(template_t, side)[1])
      if unknown.size:
        raise DamagedData(f"line {unknown[0] + 1}: template {side[unknown[0]]} has no face", file=file)
    odd = np.flatnonzero((label_p != 0) & (label_p != 1))
    if odd.size:
      raise DamagedData(f"line {odd[0] + 1}: label {label_p[odd[0]]}, not 0 or 1", file=file)
    same_p = label_p == 1
    mated = int(same_p.sum())
    more = {"pairs": len(same_p), "mated": mated, "nonmated": len(same_p) - mated}
    notes += check_counts(file, more, PAIRS[name])
    key = np.sort(np.minimum(left_p, right_p) * (int(template_t[-1]) + 1) + np.maximum(left_p, right_p))
    if again := int((np.diff(key) == 0).sum()):
      notes.append(f"{file}: {again:,} pairs occur more than once: each counts again.")
    return IjbVerification(name, {**counts, **more}, tuple(notes), *faces, left_p, right_p, same_p)
  galleries = {
    part: _subjects(find_file(folder, (f"{short}_1N_gallery_{part}.csv",), "gallery"), template_t) for part in GALLERIES[name]
  }
  for part, gallery in galleries.items():
    if len(set(gallery.values())) < len(gallery):
      raise DamagedData(f"gallery {part} has a subject with two templates", file=folder)
  if shared := set.intersection(*(set(gallery.values()) for gallery in galleries.values())):
    raise DamagedData(f"subject {min(shared)} is in both galleries: they must share none", file=folder)
  probes = _subjects(find_file(folder, (f"{short}_1N_probe_mixed.csv",), "list of probes"), template_t)
  counts |= {f"templates of gallery {part}": len(gallery) for part, gallery in galleries.items()} | {"probes": len(probes)}
  return IjbIdentification(f"{name}-1n", counts, tuple(notes), *faces, galleries, probes)


def _faces(path: Path) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
  names, number = [], []
  with open(path, encoding="utf-8") as file:
    for at, line in enumerate(file, 1):
      row = line.split()
      if len(row) != 3:
        raise wrong(path, at, f"{len(row)} fields; expected `image template medium`")
      names.append(row[0])
      number.append((whole(path, at, row[1], least=0), whole(path, at, row[2], least=0)))
  if not names:
    raise wrong(path, 1, "no faces")
  template_f, media_f = np.array(number, np.int64).T
  return tuple(names), template_f, media_f


def _integers(path: Path) -> np.ndarray:
  """[P, 3] int64, of lines of three whole numbers each; fast, since there are millions."""
  with open(path, encoding="ascii", errors="replace") as file:
    text = file.read()
  lines = text.count("\n") + (not text.endswith("\n"))
  if set(text) <= set("0123456789 \t\r\n"):
    flat = np.fromstring(text, np.int64, sep=" ")
    if flat.size == 3 * lines and flat.size:
      return flat.reshape(-1, 3)
  for at, line in enumerate(text.split("\n"), 1):
    row = line.split()
    if len(row) != 3:
      raise wrong(path, at, f"{len(row)} fields; expected `template template label`")
    for part in row:
      whole(path, at, part, least=0)
  raise wrong(path, lines, "cannot be read")


def _subjects(path: Path, template_t: np.ndarray) -> dict[int, int]:
  """Subject of each template of a table, whose rows are faces."""
  subject: dict[int, int] = {}
  known = set(template_t.tolist())
  with open(path, newline="", encoding="utf-8") as file:
    table = csv.DictReader(file)
    if not {"TEMPLATE_ID", "SUBJECT_ID"} <= set(table.fieldnames or ()):
      raise wrong(path, 1, f"the columns are {table.fieldnames}; expected TEMPLATE_ID and SUBJECT_ID among them")
    for row in table:
      at = table.line_num
      template, who = (whole(path, at, row[column] or "", least=0) for column in ("TEMPLATE_ID", "SUBJECT_ID"))
      if template not in known:
        raise wrong(path, at, f"template {template} has no face in the list of faces")
      if subject.setdefault(template, who) != who:
        raise wrong(path, at, f"template {template} is of subject {who}, above of {subject[template]}")
  if not subject:
    raise wrong(path, 1, "no templates")
  return subject


def _positions(sorted_t: np.ndarray, wanted_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The place of each number in a sorted array, and whether it is there."""
  if sorted_t[0] >= 0 and sorted_t[-1] < TABLE and wanted_p.min(initial=0) >= 0:  # a table is faster for millions of numbers
    table = np.zeros(int(sorted_t[-1]) + 1, np.int64)
    table[sorted_t] = np.arange(len(sorted_t))
    at_p = table[np.minimum(wanted_p, sorted_t[-1])]
  else:
    at_p = np.minimum(np.searchsorted(sorted_t, wanted_p), len(sorted_t) - 1)
  return at_p, sorted_t[at_p] == wanted_p


__all__ = ["Ijb", "IjbIdentification", "IjbVerification", "identify", "read_ijb"]
