"""Verification while training and after it, by the same code."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.verification import Verification, verify_pairs
from jaxface.formats.pairs import Pairs
from jaxface.inference.embed import embed_images, make_embedder
from jaxface.models.config import ModelConfig
from jaxface.models.preprocess import get_preprocess
from jaxface.models.registry import create
from jaxface.training.loop import model_options

Tree = Any


@dataclass
class VerificationHook:
  """Embeds the images of one verification set and scores its pairs.

  Attributes:
    config: the set and how often.
    source: its images.
    pairs: what to compare.
    model: the network that is trained.
    untrained: also at step 0, for a figure of what training has added.
    latest: the newest result.
  """

  config: VerificationConfig
  source: Any
  pairs: Pairs
  model: ModelConfig
  untrained: bool = False
  latest: Verification | None = None
  embedding_nd: np.ndarray | None = field(default=None, repr=False)

  def __post_init__(self) -> None:
    preprocess = get_preprocess(self.model.preprocess, size=self.model.size, template=self.source.template)
    module = create(self.model.name, **model_options(self.model))
    self._embed = make_embedder(module, preprocess, mirror=self.config.mirror)

  def due(self, step: int, last: int) -> bool:
    """After the last step, every `config.every` steps, and at step 0 if asked."""
    if step == 0:
      return self.untrained
    return step == last or (self.config.every > 0 and step % self.config.every == 0)

  def __call__(self, step: int, variables: Tree) -> dict[str, float]:
    start = time.perf_counter()
    self.embedding_nd = embed_images(self._embed, variables, self.source)
    seconds = time.perf_counter() - start
    self.latest = verify_pairs(self.embedding_nd, self.source.names(), self.pairs)
    prefix = self.config.name
    return {
      f"{prefix}/accuracy": self.latest.accuracy,
      f"{prefix}/auc": self.latest.auc,
      f"{prefix}/eer": self.latest.eer,
      **{f"{prefix}/tar@{name}": tar for name, tar in self.latest.tar_at_far.items()},
      f"{prefix}/threshold_cosine": self.latest.threshold_cosine,
      f"{prefix}/images_per_second": self.source.num_records / seconds,
      "score": self.latest.accuracy,
    }
