"""Compares photos, enrols people, and identifies the people of a photo."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxface.detection import Detector
from jaxface.evaluation import Traffic, cosine_of_pairs
from jaxface.formats.walk import walk
from jaxface.gallery import Found, Gallery, Maker, read_gallery, write_gallery
from jaxface.inference.chosen_model import model_path
from jaxface.inference.model import Model, load
from jaxface.models.threshold import read_threshold
from jaxface.pipeline.photos.faces import Face, PhotoFaces, find_faces

MIRROR = "sum"
BATCH = 128
# People of a gallery, to show what a false-accept rate means where there is none.
EXAMPLE = 10_000
_log = logging.getLogger(__name__)


class NoFace(ValueError):
  """A photo has no face that can be used."""


@dataclass(frozen=True)
class Decision:
  """The rule of a decision: the same person if the cosine is at least `threshold`.

  Attributes:
    threshold: cosine.
    far: false-accept rate at which the model's threshold was measured; None for a threshold that was given.
    people: number of people in the gallery that is searched; 0 for a comparison of two photos.
  """

  threshold: float
  far: float | None
  people: int = 0

  def false_accepts(self, people: int) -> float | None:
    """Expected number of people that a search of a stranger accepts in a gallery, people · FAR; None if the FAR is unknown.

    The data of the threshold and the gallery are assumed to be alike: in a gallery of relatives there are more.
    """
    return None if self.far is None else Traffic(people, 1).per_search(self.far)

  def __str__(self) -> str:
    measured = "given" if self.far is None else f"false-accept rate {self.far:.3g} in the data on which it was measured"
    line = f"threshold {self.threshold:.4f} ({measured})"
    people = self.people or EXAMPLE
    if (expected := self.false_accepts(people)) is None:
      return line
    return f"{line}; a search of a stranger in {'the' if self.people else 'a'} gallery of {people:,} accepts {expected:.2g} people on average"


@dataclass(frozen=True)
class Comparison:
  """Whether two photos show the same person.

  Attributes:
    score: cosine of the embeddings.
    decision: the rule.
    faces: the compared faces, of the first and of the second photo.
    notes: caveats, a line each.
  """

  score: float
  decision: Decision
  faces: tuple[Face, Face]
  notes: tuple[str, ...]

  @property
  def same(self) -> bool:
    """Whether the rule says that it is the same person."""
    return self.score >= self.decision.threshold


@dataclass(frozen=True)
class Enrolment:
  """Result of `enrol_people`.

  Attributes:
    gallery: with the new people.
    photos: number of photos that were added or replaced.
    refused: photos that were not used, each with the reason.
    notes: caveats, a line each.
  """

  gallery: Gallery
  photos: int
  refused: tuple[tuple[str, str], ...]
  notes: tuple[str, ...]


@dataclass(frozen=True)
class Identified:
  """A face of a photo and the people of a gallery that resemble it.

  Attributes:
    face: the face.
    found: candidates and decision.
  """

  face: Face
  found: Found


def compare_photos(
  first: str | Path, second: str | Path, *, model: Model | str | Path | None = None, detector: Detector | str | Path | None = None,
  threshold: float | None = None,
) -> Comparison:
  """Compares the largest faces of two photos.

  Args:
    first: photo of any size.
    second: likewise.
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    detector: a detector, or the folder or name of one.
    threshold: cosine; None for that of the model's folder (`jaxface threshold`).
  Raises:
    NoFace: a photo without a face, or that cannot be read; names it.
    FileNotFoundError: no such photo or model, or a model without a threshold.
    ValueError: a threshold outside [-1, 1].
  """
  net, decision = network_and_rule(model, threshold)
  for photo in (first, second):
    _check_file(photo)
  found = list(find_faces([first, second], template=template_of(net), detector=detector))
  for one in found:
    if not one.faces:
      raise NoFace(f"{one.photo}: {one.refused}")
  faces = found[0].faces[0], found[1].faces[0]
  embedding_nd = embed_aligned(net, faces)
  score = float(cosine_of_pairs(embedding_nd, np.array([0]), np.array([1]))[0])
  return Comparison(score, decision, faces, tuple(_several(found)))


def enrol_people(
  gallery: str | Path, people: str | Path, *, model: Model | str | Path | None = None, detector: Detector | str | Path | None = None,
  progress: bool = False, say: Callable[[str], object] = _log.info,
) -> Enrolment:
  """Adds people to a gallery file, which is made if it does not exist.

  Args:
    gallery: the file.
    people: folder with a folder of photos for each person, whose name is the person's; the largest face of each photo is used. A person
      that the gallery has gets more photos; a photo of the same name is replaced.
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    detector: a detector, or the folder or name of one.
    progress: draw a progress bar.
    say: called with each line for the user.
  Raises:
    OtherMaker: the gallery was made with another model, template or mirror setting.
    NoFace: none of the photos has a face.
    ValueError: photos that are in no person's folder.
    FileNotFoundError: no such folder or model.
    DamagedData: a damaged gallery.
  """
  net = _load(model)
  maker = _maker(net)
  found = walk(people)
  for note in found.notes:
    say(note)
  if loose := [path for path in found.paths if "/" not in path]:
    raise ValueError(f"{people}: {loose[0]} is in no person's folder: make a folder for each person, with the person's name")
  if not found.paths:
    raise ValueError(f"{people}: no photos below this folder")
  file = Path(gallery)
  if file.is_file():
    before = read_gallery(file)
    before.maker.check(maker, str(file))
  else:
    before = Gallery.empty(maker, net.embedding_size)
  names, faces, refused, several = [], [], [], []
  root = Path(people)
  with tqdm(total=len(found.paths), unit="photo", desc="enrol", disable=not progress) as bar:
    results = find_faces([root / path for path in found.paths], template=template_of(net), detector=detector, done=bar.update)
    for path, one in zip(found.paths, results):
      if not one.faces:
        refused.append((path, one.refused))
        continue
      names.append(path)
      faces.append(one.faces[0])
      several.append(one)
  if not faces:
    raise NoFace(f"{people}: none of the {len(found.paths):,} photos has a face; {refused[0][0]}: {refused[0][1]}")
  after = before.enrol(
    [path.split("/", 1)[0] for path in names], names, embed_aligned(net, faces), np.array([face.quality for face in faces], np.float32)
  )
  write_gallery(file, after)
  return Enrolment(after, len(faces), tuple(refused), tuple(_several(several)))


def identify_photo(
  gallery: str | Path | Gallery, photo: str | Path, *, model: Model | str | Path | None = None,
  detector: Detector | str | Path | None = None, which: str = "all", count: int = 5, threshold: float | None = None,
) -> tuple[list[Identified], Decision]:
  """The people of a gallery that the faces of a photo resemble.

  Args:
    gallery: a `Gallery`, or its file.
    photo: of any size.
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    detector: a detector, or the folder or name of one.
    which: "largest", "central" or "all" faces, see `find_faces`.
    count: number of candidates for each face.
    threshold: cosine; None for that of the model's folder (`jaxface threshold`).
  Returns:
    (a result for each face, the rule). `found.accepted` is None where the face is of nobody in the gallery.
  Raises:
    NoFace: the photo has no face, or cannot be read.
    OtherMaker: the gallery was made with another model, template or mirror setting.
    FileNotFoundError: no such photo, gallery or model, or a model without a threshold.
    ValueError: an empty gallery, or a number out of its range.
    DamagedData: a damaged gallery.
  """
  net, decision = network_and_rule(model, threshold)
  known = gallery if isinstance(gallery, Gallery) else read_gallery(gallery)
  known.maker.check(_maker(net), "the gallery" if isinstance(gallery, Gallery) else str(gallery))
  _check_file(photo)
  [found] = find_faces([photo], template=template_of(net), which=which, detector=detector)
  if not found.faces:
    raise NoFace(f"{photo}: {found.refused}")
  results = known.identify(embed_aligned(net, found.faces), threshold=decision.threshold, count=count)
  return [Identified(face, one) for face, one in zip(found.faces, results)], replace(decision, people=len(known))


def embed_aligned(net: Model, faces: Sequence[Face]) -> np.ndarray:
  """[N, D] float32 embeddings of aligned faces, of length one."""
  return net.embed(np.stack([face.image_hwc for face in faces]), mirror=MIRROR, batch_size=BATCH)


def network_and_rule(model: Model | str | Path | None, threshold: float | None) -> tuple[Model, Decision]:
  """The network, and the rule of its decisions.

  Args:
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    threshold: cosine; None for that of the model's folder.
  Raises:
    FileNotFoundError: no model, or one without a threshold.
    ValueError: a threshold outside [-1, 1]; no model is given and there is no default.
  """
  net = _load(model)
  if threshold is not None:
    if not -1 <= threshold <= 1:
      raise ValueError(f"threshold {threshold}: a cosine lies in [-1, 1]")
    return net, Decision(threshold, None)
  if net.threshold is not None and net.threshold.mirror == MIRROR:
    return net, Decision(net.threshold.value, net.threshold.far)
  if isinstance(model, Model):
    raise ValueError("the model has no threshold for mirror \"sum\": give one, or measure it (jaxface threshold)")
  found = read_threshold(model_path(model), mirror=MIRROR)  # reports what is missing
  return net, Decision(found.value, found.far)


def _load(model: Any) -> Model:
  return model if isinstance(model, Model) else load(model_path(model))


def _maker(net: Model) -> Maker:
  return Maker(net.name, net.saved.digest, template_of(net), MIRROR)


def template_of(net: Model) -> str:
  """The template to which faces are aligned for a model.

  Raises:
    ValueError: the model does not say, so that its faces cannot be aligned.
  """
  if net.template in ("", "none", "unknown"):
    raise ValueError(
      f"the model does not record the alignment template of its faces (it is {net.template or 'unknown'!r}): import or train it with"
      " --template"
    )
  return net.template


def _check_file(photo: str | Path) -> None:
  if not Path(photo).is_file():
    raise FileNotFoundError(f"{photo}: no such photo")


def _several(found: Sequence[PhotoFaces]) -> list[str]:
  many = [one for one in found if one.found > 1]
  if not many:
    return []
  more = f" and {len(many) - 1:,} more photos" if len(many) > 1 else ""
  return [f"{many[0].photo}{more}: {many[0].found} faces were found, the largest is used"]


__all__ = [
  "Comparison", "Decision", "Enrolment", "Identified", "NoFace", "compare_photos", "embed_aligned", "enrol_people", "identify_photo",
  "network_and_rule", "template_of",
]
