"""Toy sets: small lists in each official format, with embeddings, to try a protocol before its data are there.

  evaluation.make_toy("cfp-fp", "toy")
  jaxface evaluate --protocol cfp-fp --pairs toy/lists --embeddings toy/embeddings.npz
"""

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jaxface.formats.atomic import atomic_directory
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.images import encode_jpeg
from jaxface.losses.ranges import check_name

FOLDS, PER_FOLD = 10, 6  # pairs of each kind
DIM = 16


def make_toy(protocol: str, out: str | Path, *, seed: int = 0) -> Path:
  """Writes a toy set: its lists to `lists`, and embeddings of all its images to `embeddings.npz`.

  Args:
    protocol: a name of `PROTOCOLS`.
    out: folder to make, whole or not at all.
    seed: equal seeds give equal sets.
  Returns:
    The path of the lists, as `evaluate` takes it.
  Raises:
    ValueError: an unknown name.
  """
  check_name("protocol", protocol, tuple(TOYS))
  rng = np.random.default_rng(seed)
  with atomic_directory(out) as folder:
    (folder / "lists").mkdir()
    person = TOYS[protocol](folder / "lists", rng)
    names = list(person)
    people = {who: rng.normal(size=DIM) for who in dict.fromkeys(person.values())}
    embedding_nd = np.stack([people[person[name]] for name in names]) + 0.8 * rng.normal(size=(len(names), DIM))
    write_embeddings(folder / "embeddings.npz", Embeddings(embedding_nd.astype(np.float32), names))
  return Path(out) / "lists"


def _write(path: Path, lines: Sequence[str]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lfw_image(who: str, number: int) -> str:
  return f"{who}/{who}_{number:04d}"


def lfw_lines(fold: int) -> tuple[list[str], list[str]]:
  """Lines of a fold of LFW's form, and the names of its people, who have two images each."""
  people = [f"P{fold}_{number}" for number in range(PER_FOLD)]
  mated = [f"{who}\t1\t2" for who in people]
  return mated + [f"{who}\t1\t{people[at - 1]}\t2" for at, who in enumerate(people)], people


def _lfw(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  lines, people_lines = [f"{FOLDS}\t{PER_FOLD}"], [str(FOLDS)]
  person: dict[str, str] = {}
  for fold in range(FOLDS):
    pairs, people = lfw_lines(fold)
    lines += pairs
    people_lines += [str(len(people)), *(f"{who}\t2" for who in people)]
    person |= {_lfw_image(who, number): who for who in people for number in (1, 2)}
  _write(lists / "pairs.txt", lines)
  _write(lists / "people.txt", people_lines)
  return person


def _view_1(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  person: dict[str, str] = {}
  for fold, name in enumerate(("pairsDevTrain.txt", "pairsDevTest.txt")):
    lines, people = lfw_lines(fold)
    _write(lists / name, [str(PER_FOLD), *lines])
    person |= {_lfw_image(who, number): who for who in people for number in (1, 2)}
  return person


def _pairs(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  lines = ["left\tright\tsame\tfold"]
  person: dict[str, str] = {}
  for fold in range(FOLDS):
    people = [f"P{fold}_{number}" for number in range(PER_FOLD)]
    for at, who in enumerate(people):
      lines += [f"{who}/1\t{who}/2\t1\t{fold}", f"{who}/1\t{people[at - 1]}/2\t0\t{fold}"]
      person |= {f"{who}/1": who, f"{who}/2": who}
  _write(lists / "pairs.tsv", lines)
  return person


def _ytf(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  lines: list[str] = []
  person: dict[str, str] = {}
  for fold in range(1, FOLDS + 1):
    people = [f"P{fold}_{number}" for number in range(PER_FOLD)]
    pairs = [(who, who) for who in people] + [(who, people[at - 1]) for at, who in enumerate(people)]
    lines += [f"{fold}, {at}, {a}/0, {b}/1, {int(a == b)}" for at, (a, b) in enumerate(pairs, 1)]
    person |= {f"{who}/{video}/{frame}": who for who in people for video in (0, 1) for frame in range(int(rng.integers(1, 5)))}
  _write(lists / "splits.txt", lines)
  return person


def _cfp(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  people = range(1, FOLDS * PER_FOLD + 1)
  frontal = [f"{who:03d}/frontal/{image:02d}.jpg" for who in people for image in (1, 2)]
  profile = [f"{who:03d}/profile/{image:02d}.jpg" for who in people for image in (1, 2)]
  for letter, names in (("F", frontal), ("P", profile)):
    _write(lists / f"Pair_list_{letter}.txt", [f"{at} ../Data/Images/{name}" for at, name in enumerate(names, 1)])
  for fold in range(FOLDS):
    first = [1 + 2 * (fold * PER_FOLD + at) for at in range(PER_FOLD)]  # number of the first image of each person
    for kind in ("FF", "FP"):
      split = lists / "Split" / kind / f"{fold + 1:02d}"
      _write(split / "same.txt", [f"{number},{number + 1}" for number in first])
      _write(split / "diff.txt", [f"{number},{first[at - 1] + 1}" for at, number in enumerate(first)])
  return {name: name.split("/")[0] for name in frontal + profile}


def _two_lines(name: str) -> Callable[[Path, np.random.Generator], dict[str, str]]:
  def make(lists: Path, rng: np.random.Generator) -> dict[str, str]:
    people = [f"P{fold}_{number}" for fold in range(FOLDS) for number in range(PER_FOLD)]
    mated = [line for at, who in enumerate(people) for line in (f"{who}_0001.jpg {at // PER_FOLD + 1}", f"{who}_0002.jpg {at // PER_FOLD + 1}")]
    nonmated = [line for at, who in enumerate(people) for line in (f"{who}_0001.jpg 0", f"{people[at - 1]}_0002.jpg 0")]
    _write(lists / name, mated + nonmated)
    return {f"{who}_{number:04d}.jpg": who for who in people for number in (1, 2)}

  return make


def _bin(name: str) -> Callable[[Path, np.random.Generator], dict[str, str]]:
  def make(lists: Path, rng: np.random.Generator) -> dict[str, str]:
    same = [pair % 2 == 0 for pair in range(2 * FOLDS * PER_FOLD)]
    images = [encode_jpeg(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)) for _ in range(2 * len(same))]
    (lists / name).write_bytes(pickle.dumps((images, same), protocol=4))
    return {f"{2 * pair + side:06d}": f"{pair}-{0 if mated else side}" for pair, mated in enumerate(same) for side in (0, 1)}

  return make


def _ijb(name: str) -> Callable[[Path, np.random.Generator], dict[str, str]]:
  def make(lists: Path, rng: np.random.Generator) -> dict[str, str]:
    """Forty subjects: a template in gallery 1 (even) or 2 (odd), and two probes each."""
    faces: list[str] = []
    subject: dict[int, int] = {}
    person: dict[str, str] = {}
    for template in range(120):
      subject[template] = template % 40
      for medium in range(int(rng.integers(1, 4))):
        for _ in range(int(rng.integers(1, 4))):
          image = f"{len(faces) + 1}.jpg"
          faces.append(f"{image} {template} {10 * template + medium}")
          person[image] = str(subject[template])
    _write(lists / f"{name}_face_tid_mid.txt", faces)
    pairs = [(a, b) for a in range(120) for b in range(max(a + 1, 40), 120)]
    _write(lists / f"{name}_template_pair_label.txt", [f"{a} {b} {int(subject[a] == subject[b])}" for a, b in pairs])
    parts = ("S1", "S2") if name == "ijbb" else ("G1", "G2")
    tables = {f"gallery_{part}": range(at, 40, 2) for at, part in enumerate(parts)} | {"probe_mixed": range(40, 120)}
    for table, templates in tables.items():
      rows = [f"{template},{subject[template]}" for template in templates]
      _write(lists / f"{name}_1N_{table}.csv", ["TEMPLATE_ID,SUBJECT_ID", *rows])
    return person

  return make


def _rfw(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  person: dict[str, str] = {}
  for group in ("African", "Asian", "Caucasian", "Indian"):
    lines: list[str] = []
    for fold in range(FOLDS):
      pairs, people = lfw_lines(fold)
      lines += pairs
      person |= {f"{group}/{_lfw_image(who, number)}": f"{group} {who}" for who in people for number in (1, 2)}
    _write(lists / group / f"{group}_pairs.txt", lines)
  return person


def _closed_set(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  person = {f"P{who}/{image}.jpg": f"P{who}" for who in range(20) for image in range(5)}
  _write(lists / "closed_set.txt", [f"{name} {who} {'gallery' if at % 5 < 2 else 'probe'}" for at, (name, who) in enumerate(person.items())])
  return person


def _megaface(probes: str) -> Callable[[Path, np.random.Generator], dict[str, str]]:
  def make(lists: Path, rng: np.random.Generator) -> dict[str, str]:
    person = {f"P{who}/{image}.jpg": f"P{who}" for who in range(10) for image in range(4)}
    distractors = [f"D{number}/0.jpg" for number in range(1000)]
    (lists / f"{probes}_features_list.json").write_text(json.dumps({"path": list(person), "id": list(person.values())}))
    (lists / "megaface_features_list.json_1000_1").write_text(json.dumps({"path": distractors}))
    return person | {name: name for name in distractors}

  return make


def _trillion(lists: Path, rng: np.random.Generator) -> dict[str, str]:
  person = {f"P{who}/{image}.jpg": f"P{who}" for who in range(10) for image in range(4)}
  distractors = [f"D/{number}.jpg" for number in range(500)]
  _write(lists / "trillion_pairs.txt", [*(f"{name} {who} probe" for name, who in person.items()), *(f"{name} - distractor" for name in distractors)])
  return person | {name: name for name in distractors}


TOYS: MappingProxyType[str, Callable[[Path, np.random.Generator], dict[str, str]]] = MappingProxyType({
  "pairs": _pairs, "lfw": _lfw, "lfw-unsupervised": _lfw, "lfw-restricted": _lfw, "lfw-unrestricted": _lfw, "lfw-view1": _view_1,
  "ytf": _ytf, "ytf-max": _ytf, "ytf-pooled": _ytf, "ytf-random": _ytf, "ytf-top": _ytf,
  "cfp-ff": _cfp, "cfp-fp": _cfp, "agedb-30": _bin("agedb_30.bin"),
  "calfw": _two_lines("pairs_CALFW.txt"), "cplfw": _two_lines("pairs_CPLFW.txt"), "bin": _bin("toy.bin"),
  "ijb-b": _ijb("ijbb"), "ijb-b-1n": _ijb("ijbb"), "ijb-c": _ijb("ijbc"), "ijb-c-1n": _ijb("ijbc"),
  "rfw": _rfw, "megaface-facescrub": _megaface("facescrub"),
  "megaface-fgnet": _megaface("fgnet"), "closed-set": _closed_set, "trillion-pairs": _trillion,
})


__all__ = ["TOYS", "make_toy"]
