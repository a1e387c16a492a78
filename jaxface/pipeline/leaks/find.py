"""Finds images and identities that stand in a training set and in a test set."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxface.data.image_hash import BITS
from jaxface.inference.model import Model
from jaxface.pipeline.leaks.faces import FaceLeak, FaceSearch
from jaxface.pipeline.leaks.images import DISTANCE, ImageLeak, Prints, same_images
from jaxface.pipeline.leaks.names import IdentityLeak, same_names
from jaxface.pipeline.leaks.photos import open_photos


@dataclass(frozen=True)
class Leaks:
  """What a training set has of a test set.

  Attributes:
    train_images: number of images compared, of the training set.
    test_images: likewise of the test set.
    images: pairs of images, the closest first.
    identities: pairs of identities, by name.
    notes: lines for the user: what was not compared.
    faces: pairs of identities, by embedding, the most similar first; None if no embeddings were compared.
  """

  train_images: int
  test_images: int
  images: tuple[ImageLeak, ...]
  identities: tuple[IdentityLeak, ...]
  notes: tuple[str, ...] = ()
  faces: tuple[FaceLeak, ...] | None = None

  def __bool__(self) -> bool:
    """Whether anything was found."""
    return bool(self.images or self.identities or self.faces)

  def summary(self) -> str:
    """One line for a terminal."""
    where = f"{self.train_images:,} training and {self.test_images:,} test images"
    if not self:
      found = "no image and no identity name of the test set is in the training set"
    else:
      people = {leak.test for leak in self.identities}
      pictures = {leak.test for leak in self.images}
      found = f"{len(pictures):,} test images and {len(people):,} test identities are in the training set"
    if self.faces is not None:
      found += f", and {len({leak.test for leak in self.faces}) or 'no'} test identities are suspected by their faces"
    return f"{found} ({where})"

  def to_json(self) -> dict[str, Any]:
    """Everything as plain JSON values."""
    return asdict(self)


def find_leaks(
  train: str | Path, test: str | Path, *, distance: int = DISTANCE, model: Model | str | Path | None = None,
  similarity: float | None = None, embeddings: tuple[str | Path, str | Path] | None = None, progress: bool = False,
) -> Leaks:
  """Compare two sets of images: decoded pixels, perceptual hashes (also mirrored), names of identities, and faces.

  Args:
    train: folder of images of any size, or packed records.
    test: likewise.
    distance: largest number of differing bits, of 256, between the hashes of near-identical images.
    model: a `Model`, or the path of a model folder or workdir, to compare faces too, which must be aligned as it takes them.
    similarity: cosine from which two faces are suspected to show one person; None takes the model's threshold.
    embeddings: files of embeddings of both sets, in place of embedding them again.
    progress: draw progress bars.
  Returns:
    `Leaks`.
  Raises:
    ValueError: a distance outside 0 … 128; see `FaceSearch.find`.
    FileNotFoundError: no images there; the model has no threshold.
  """
  if not 0 <= distance <= BITS // 2:
    raise ValueError(f"distance is {distance}: hashes have {BITS} bits, and unrelated ones differ in about {BITS // 2}")
  faces: list[FaceLeak] | None = None
  face_notes: list[str] = []
  if model is not None or embeddings is not None:
    faces, face_notes = FaceSearch(model, embeddings, similarity).find(train, test, progress=progress)
  elif similarity is not None:
    raise ValueError("similarity is for faces: give a model, or embeddings of both sets")
  left, right = (Prints.of(open_photos(path), f"{what} images", progress) for what, path in (("training", train), ("test", test)))
  names, name_notes = same_names(left.people, right.people)
  notes = [f"{what} set: {note}" for what, one in (("training", left), ("test", right)) for note in one.notes]
  images = tuple(same_images(left, right, distance))
  return Leaks(
    len(left.names), len(right.names), images, names, (*notes, *name_notes, *face_notes), None if faces is None else tuple(faces)
  )


__all__ = ["Leaks", "find_leaks"]
