"""Verification during and after training; several hosts share its images."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.data.fingerprint import digest, fingerprint
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.pair_names import without_missing
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.inference.embed import NAMED, make_embedder
from jaxface.inference.shared import embed_shared
from jaxface.models.config import ModelConfig, make_model
from jaxface.models.description import describe_model
from jaxface.models.take_over import take_over

Tree = Any


@dataclass
class VerificationHook:
  """Embeds the images of one verification set and scores its pairs.

  Attributes:
    config: the verification set and its interval.
    source: its images.
    pairs: its pairs.
    model: the trained network; fields left to its `init_from` are filled in from there, as training does.
    before_file: file for the embeddings of step 0, to compare with; None for none.
    devices: how many of this host's devices to use, 0 for all.
    on_damage: what an image that cannot be read does: "raise" ends the run; "substitute" leaves its pairs out, says so and
      counts it.
    latest: the latest result.
    latest_step: its step.
  """

  config: VerificationConfig
  source: Any
  pairs: Pairs
  model: ModelConfig
  before_file: Path | None = None
  devices: int = 0
  on_damage: str = "raise"
  latest: Verification | None = None
  latest_step: int = -1

  def __post_init__(self) -> None:
    if self.model.init_from and self.model.convention is None:
      self.model = take_over(self.model, describe_model(self.model.init_from))
    module, _, preprocess = make_model(self.model, self.source.template)
    self._told: set[int] = set()
    self._embed = make_embedder(module, preprocess, mirror=self.config.mirror)

  def fingerprint(self) -> dict[str, Any]:
    """Fingerprint of the data that the figures depend on, besides the network."""
    pairs = self.pairs
    parts: list[Any] = [*pairs.left, *pairs.right, np.asarray(pairs.same), np.asarray(pairs.fold)]
    return {**fingerprint(self.source), "pairs": len(pairs), "pairs_sha256": digest(parts), "mirror": self.config.mirror}

  def due(self, step: int, last: int) -> bool:
    """Whether to verify: after the last step, every `config.every` steps, and at step 0 if requested."""
    if step == 0:
      return self.before_file is not None
    return step == last or (self.config.every > 0 and step % self.config.every == 0)

  def __call__(self, step: int, variables: Tree) -> dict[str, float]:
    start = time.perf_counter()
    prefix = self.config.name
    embedding_nd, unreadable = embed_shared(
      self._embed, variables, self.source, devices=self.devices, on_damage=self.on_damage,
      what=f"verification {prefix} of step {step}",
    )
    seconds = time.perf_counter() - start
    names, label_n, pairs = self.source.names(), np.asarray(self.source.label_n), self.pairs
    if unreadable:
      read_n = [record for record in range(len(names)) if record not in unreadable]
      names, label_n = [names[record] for record in read_n], label_n[read_n]
      pairs, lines = without_missing(pairs, names)
      self._tell(unreadable, lines)
    if step == 0 and self.before_file is not None and jax.process_index() == 0:
      write_embeddings(self.before_file, Embeddings(embedding_nd, names, label_n, {"step": 0}))
    self.latest = verify_pairs(embedding_nd, names, pairs)
    self.latest_step = step
    result = self.latest
    return {
      f"{prefix}/accuracy": result.accuracy,
      f"{prefix}/auc": result.auc,
      f"{prefix}/eer": result.eer,
      **{f"{prefix}/tar@{name}": tar for name, tar in result.tar_at_far.items()},
      f"{prefix}/threshold_cosine": result.threshold_cosine,
      f"{prefix}/images_per_second": self.source.num_records / seconds,
      **({f"{prefix}/unreadable_images": float(len(unreadable))} if unreadable else {}),
      "score": result.accuracy,
    }

  def _tell(self, unreadable: Mapping[int, str], lines: Sequence[str]) -> None:
    """Warn of images that cannot be read, of each once."""
    new = [message for record, message in sorted(unreadable.items()) if record not in self._told]
    self._told |= set(unreadable)
    if new and jax.process_index() == 0:
      more = f"; and {len(new) - NAMED:,} more" if len(new) > NAMED else ""
      text = " ".join([f"verification {self.config.name}: {'; '.join(new[:NAMED])}{more}.", *lines])
      warnings.warn(text, RuntimeWarning, stacklevel=3)
