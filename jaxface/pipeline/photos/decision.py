"""What decides whether two faces are of one person: network, threshold and the meaning of its false-accept rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation import Traffic
from jaxface.formats.threshold import COSINE
from jaxface.inference.chosen_model import model_path
from jaxface.inference.model import Model, load
from jaxface.models.threshold import read_threshold
from jaxface.pipeline.photos.faces import Face

MIRROR = "sum"
BATCH = 128
# People of a gallery, to show what a false-accept rate means where there is none.
EXAMPLE = 10_000


class NoFace(ValueError):
  """A photo has no face that can be used."""


@dataclass(frozen=True)
class Decision:
  """The rule of a decision: the same person if the score is at least `threshold`.

  Attributes:
    threshold: cosine, or score of a verifier.
    far: false-accept rate at which the threshold was measured; None for a threshold that was given.
    people: number of people in the gallery that is searched; 0 for a comparison of two photos.
    score: name of the score.
  """

  threshold: float
  far: float | None
  people: int = 0
  score: str = COSINE

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
  net = load_for_photos(model)
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


def load_for_photos(model: Any) -> Model:
  """A `Model` as it is, or the one of a folder; None for the default (`jaxface use`)."""
  return model if isinstance(model, Model) else load(model_path(model))


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


__all__ = ["MIRROR", "Decision", "NoFace", "embed_aligned", "load_for_photos", "network_and_rule", "template_of"]
