"""Compares photos, enrols people, and identifies the people of a photo."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxface.detection import Detector
from jaxface.evaluation import cosine_of_pairs
from jaxface.formats.walk import walk
from jaxface.gallery import Found, Gallery, read_gallery, write_gallery
from jaxface.inference.model import Model
from jaxface.losses.ranges import check_name
from jaxface.pipeline.photos.decision import Decision, NoFace, embed_aligned, load_for_photos, template_of
from jaxface.pipeline.photos.faces import ONE, Face, PhotoFaces, find_faces
from jaxface.pipeline.photos.scoring import maker_of, prepared, verifier_for
from jaxface.verifiers import Verifier

# For the user, what `which` takes.
NAMES = {"main": "one that is large and near the centre", "largest": "largest", "central": "most central"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
  """Whether two photos show the same person.

  Attributes:
    score: cosine of the embeddings, or score of the verifier.
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
  verifier: Verifier | str | Path | None = None, which: str = "main", threshold: float | None = None,
) -> Comparison:
  """Compares one face of each of two photos.

  Args:
    first: photo of any size.
    second: likewise.
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    detector: a detector, or the folder or name of one.
    verifier: what scores the embeddings, a `Verifier` or its file; None is the cosine.
    which: "main", "largest" or "central" face of each photo, see `find_faces`.
    threshold: cosine, or score of the verifier; None for the measured one, of the model's folder or the verifier's file (`jaxface threshold`).
  Raises:
    NoFace: a photo without a face, or that cannot be read; names it.
    FileNotFoundError: no such photo or model, or a model without a threshold.
    ValueError: a cosine as threshold outside [-1, 1], an unknown `which`; a verifier of other embeddings, or without a threshold.
  """
  check_name("which", which, ONE)
  net, scored, decision = prepared(model, verifier, threshold)
  for photo in (first, second):
    _check_file(photo)
  found = list(find_faces([first, second], template=template_of(net), which=which, detector=detector))
  for one in found:
    if not one.faces:
      raise NoFace(_why(one))
  faces = found[0].faces[0], found[1].faces[0]
  embedding_nd = embed_aligned(net, faces)
  if scored is None:
    score = float(cosine_of_pairs(embedding_nd, np.array([0]), np.array([1]))[0])
  else:
    score = float(scored.score(embedding_nd[:1], embedding_nd[1:])[0])
  return Comparison(score, decision, faces, tuple(_several(found, which)))


def enrol_people(
  gallery: str | Path, people: str | Path, *, model: Model | str | Path | None = None, detector: Detector | str | Path | None = None,
  verifier: Verifier | str | Path | None = None, which: str = "main", progress: bool = False, say: Callable[[str], object] = _log.info,
) -> Enrolment:
  """Adds people to a gallery file, which is made if it does not exist.

  Args:
    gallery: the file.
    people: folder with a folder of photos for each person, whose name is the person's; one face of each photo is used. A person
      that the gallery has gets more photos; a photo of the same name is replaced.
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    detector: a detector, or the folder or name of one.
    verifier: what scores the embeddings, a `Verifier` or its file; None is the cosine.
    which: "main", "largest" or "central" face of each photo, see `find_faces`.
    progress: draw a progress bar.
    say: called with each line for the user.
  Raises:
    OtherMaker: the gallery was made with another model, template, mirror setting or verifier.
    NoFace: none of the photos has a face.
    ValueError: photos that are in no person's folder, an unknown `which`.
    FileNotFoundError: no such folder or model.
    DamagedData: a damaged gallery.
  """
  check_name("which", which, ONE)
  net = load_for_photos(model)
  maker = maker_of(net, verifier_for(verifier, net))
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
    results = find_faces(
      [root / path for path in found.paths], template=template_of(net), which=which, detector=detector, done=bar.update
    )
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
  return Enrolment(after, len(faces), tuple(refused), tuple(_several(several, which)))


def identify_photo(
  gallery: str | Path | Gallery, photo: str | Path, *, model: Model | str | Path | None = None,
  detector: Detector | str | Path | None = None, verifier: Verifier | str | Path | None = None, which: str = "all", count: int = 5,
  threshold: float | None = None,
) -> tuple[list[Identified], Decision]:
  """The people of a gallery that the faces of a photo resemble.

  Args:
    gallery: a `Gallery`, or its file.
    photo: of any size.
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    detector: a detector, or the folder or name of one.
    verifier: what scores the embeddings, a `Verifier` or its file; None is the cosine.
    which: "all" faces, or the "main", "largest" or "central" one, see `find_faces`.
    count: number of candidates for each face.
    threshold: cosine, or score of the verifier; None for the measured one, of the model's folder or the verifier's file (`jaxface threshold`).
  Returns:
    (a result for each face, the rule). `found.accepted` is None where the face is of nobody in the gallery.
  Raises:
    NoFace: the photo has no face, or cannot be read.
    OtherMaker: the gallery was made with another model, template, mirror setting or verifier.
    FileNotFoundError: no such photo, gallery or model, or a model without a threshold.
    ValueError: an empty gallery, or a number out of its range.
    DamagedData: a damaged gallery.
  """
  net, scored, decision = prepared(model, verifier, threshold)
  known = gallery if isinstance(gallery, Gallery) else read_gallery(gallery)
  known.maker.check(maker_of(net, scored), "the gallery" if isinstance(gallery, Gallery) else str(gallery))
  _check_file(photo)
  [found] = find_faces([photo], template=template_of(net), which=which, detector=detector)
  if not found.faces:
    raise NoFace(_why(found))
  results = known.identify(embed_aligned(net, found.faces), threshold=decision.threshold, count=count, score=scored)
  return [Identified(face, one) for face, one in zip(found.faces, results)], replace(decision, people=len(known))


def _check_file(photo: str | Path) -> None:
  if Path(photo).is_dir():
    raise FileNotFoundError(f"{photo}: a folder, but one photo is needed")
  if not Path(photo).is_file():
    raise FileNotFoundError(f"{photo}: no such photo")


def _why(found: PhotoFaces) -> str:
  """Why a photo has no face, with its name once: messages of reading have it already."""
  return found.refused if found.refused.startswith(found.photo) else f"{found.photo}: {found.refused}"


def _several(found: Sequence[PhotoFaces], which: str) -> list[str]:
  many = [one for one in found if one.found > 1]
  if not many:
    return []
  more = f" and {len(many) - 1:,} more photos" if len(many) > 1 else ""
  return [f"{many[0].photo}{more}: {many[0].found} faces were found, the {NAMES[which]} is used (--which)"]


__all__ = ["Comparison", "Enrolment", "Identified", "compare_photos", "enrol_people", "identify_photo"]
