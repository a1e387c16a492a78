"""Photos with annotated faces as fields of an experiment, and what a model's card says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxface.formats.landmarks import AnnotatedFace, read_landmarks
from jaxface.training.custom import CustomExperiment, expand_path


@dataclass(frozen=True)
class AnnotatedPhotos(CustomExperiment):
  """An experiment that learns from annotated faces.

  Attributes:
    photos: folder of the photos; may contain environment variables.
    annotations: file of their faces, see `jaxface.formats.read_landmarks`.
    entry: the entry of a face with its points, where the file has several.
    licence: of the photos, for the card of the model.
    origin: of the photos, likewise.
  """

  photos: str = "$JAXFACE_DATA/photos/helen_train"
  annotations: str = "$JAXFACE_DATA/photos/helen_train.json"
  entry: str = "points68"
  licence: str = ""
  origin: str = ""

  def read_faces(self) -> tuple[str, Sequence[AnnotatedFace]]:
    """The folder of the photos, and their faces."""
    root, file = (expand_path(getattr(self, field), field) for field in ("photos", "annotations"))
    return root, read_landmarks(file, points=self.entry)


def card_entries(experiment: str, *, points: int, faces: int, licence: str, origin: str) -> dict[str, Any]:
  """What the card of a landmark model says.

  Args:
    experiment: name of the training.
    points: points of a face.
    faces: number of faces in the training set.
    licence, origin: of the photos; left out if empty.
  """
  return {
    "experiment": experiment, "images": faces, "points": points, **({"licence": licence} if licence else {}),
    **({"origin": origin} if origin else {}),
  }


__all__ = ["AnnotatedPhotos", "card_entries"]
