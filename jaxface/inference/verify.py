"""Evaluation by a protocol during and after training; several hosts share its images, and its failure does not end the run."""

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.data.fingerprint import digest, fingerprint
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.base import Protocol, ProtocolFigures, list_parts
from jaxface.evaluation.protocols.logged import logged_figures, score_name
from jaxface.evaluation.protocols.pair_list import PairProtocol, pair_counts
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.inference.embed import NAMED, make_embedder
from jaxface.inference.shared import NotEmbedded, embed_shared
from jaxface.models.config import ModelConfig, make_model
from jaxface.models.description import describe_model
from jaxface.models.take_over import take_over
from jaxface.training.host_error import sentence
from jaxface.training.hosts import gather

Tree = Any


@dataclass
class VerificationHook:
  """Embeds the images of one evaluation set and computes its figures.

  Of several hosts each embeds its share of the images. The first one scores them and tells the others what to log, so that all
  have the same figures, bit for bit, and agree on the best state.

  A failure is an error of reading, embedding, scoring or of writing `before_file`, of any host. It gives a warning, once for each type
  of error, and `NAME/failed` 1 instead of figures; training goes on. Three kinds of errors end the run as they do elsewhere:
  damaged images (see `on_damage`), a lost device or host, and an interruption.

  Attributes:
    config: the set and its interval.
    source: its images.
    pairs: its pairs, or a protocol with its official lists.
    model: the trained network; fields left to its `init_from` are filled in from there, as training does.
    before_file: file for the embeddings of step 0, to compare with; None for none.
    devices: how many of this host's devices to use, 0 for all.
    on_damage: what an image that cannot be read does: "raise" ends the run; "substitute" leaves its pairs out, says so and
      counts it.
    found: the latest result, on the first host; None if it failed.
    failure: why the latest evaluation has no figures; "" if it has.
    latest_step: its step.
    read_n: [R] int64, the records that it could read, on the first host.
  """

  config: VerificationConfig
  source: Any
  pairs: Pairs | Protocol
  model: ModelConfig
  before_file: Path | None = None
  devices: int = 0
  on_damage: str = "raise"
  found: Evaluation | ProtocolFigures | None = None
  failure: str = ""
  latest_step: int = -1
  read_n: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

  def __post_init__(self) -> None:
    if self.model.init_from and self.model.convention is None:
      self.model = take_over(self.model, describe_model(self.model.init_from))
    module, _, preprocess = make_model(self.model, self.source.template)
    pairs = self.pairs
    self.rules = PairProtocol("pairs", pair_counts(pairs), (), pairs) if isinstance(pairs, Pairs) else pairs
    self._told: set[int] = set()
    self._warned: set[str] = set()
    self._embed = make_embedder(module, preprocess, mirror=self.config.mirror, crops=self.config.crops)

  @property
  def latest(self) -> Verification | ProtocolFigures | None:
    """The latest figures: `Verification` of a pair list, `ProtocolFigures` of another protocol; None if there are none."""
    return self.found.verification if isinstance(self.found, Evaluation) else self.found

  def fingerprint(self) -> dict[str, Any]:
    """Fingerprint of the data that the figures depend on, besides the network."""
    if self.config.protocol == "pairs" and isinstance(self.rules, PairProtocol):
      pairs = self.rules.pairs
      parts: list[Any] = [*pairs.left, *pairs.right, np.asarray(pairs.same), np.asarray(pairs.fold)]
      lists: dict[str, Any] = {"pairs": len(pairs), "pairs_sha256": digest(parts)}
    else:
      lists = {"protocol": self.rules.name, "lists_sha256": digest(list_parts(self.rules))}
    crops = {} if self.config.crops == "one" else {"crops": self.config.crops}  # not known to runs of earlier versions
    return {**fingerprint(self.source), **lists, "mirror": self.config.mirror, **crops}

  def due(self, step: int, last: int) -> bool:
    """Whether to verify: after the last step, every `config.every` steps, and at step 0 if requested."""
    if step == 0:
      return self.before_file is not None
    return step == last or (self.config.every > 0 and step % self.config.every == 0)

  def evaluate(self, embedding_nd: np.ndarray, names: Sequence[str]) -> Evaluation | ProtocolFigures:
    """The figures of embeddings.

    Args:
      embedding_nd: [N, D] float32.
      names: their names; if some of the set's images are absent, what needs them is left out.
    Raises:
      ValueError: an embedding that is zero or not finite, or nothing is left.
    """
    skip = len(names) < self.source.num_records
    found: Evaluation | ProtocolFigures = self.rules.evaluate(Embeddings(embedding_nd, list(names)), skip_missing=skip)
    logged_figures(found)  # a list of one kind of pairs is refused here
    return found

  def __call__(self, step: int, variables: Tree) -> dict[str, float]:
    name = self.config.name
    what = f"verification {name} of step {step}"
    self.found, self.failure, self.latest_step = None, "", step
    start = time.perf_counter()
    try:
      embedding_nd, unreadable = embed_shared(
        self._embed, variables, self.source, devices=self.devices, on_damage=self.on_damage, what=what
      )
    except NotEmbedded as error:
      return self._failed(error.kind, str(error))
    speed = {"images_per_second": self.source.num_records / (time.perf_counter() - start)}
    said: dict[str, Any] = {}
    if jax.process_index() == 0:
      try:
        said = {"row": {**self._score(step, embedding_nd, unreadable), **speed}}
      except Exception as error:
        self.found = None
        said = {"kind": type(error).__name__, "text": sentence(error)}
    # All hosts take the text of the first: floats are exact in it.
    said = json.loads(gather(f"{what}: figures", json.dumps(said))[0])
    if "row" not in said:
      return self._failed(said["kind"], said["text"])
    row: dict[str, float] = said["row"]
    score = row.get(score_name(self.rules.name), math.nan)
    # A figure that is not a number ranks no state.
    return {**{f"{name}/{key}": value for key, value in row.items()}, **({"score": score} if math.isfinite(score) else {})}

  def _score(self, step: int, embedding_nd: np.ndarray, unreadable: Mapping[int, str]) -> dict[str, float]:
    """The figures to log; on the first host."""
    names = self.source.names()
    self.read_n = np.array([record for record in range(len(names)) if record not in unreadable], np.int64)
    names = [names[record] for record in self.read_n]
    found = self.evaluate(embedding_nd, names)
    if unreadable:
      self._tell(unreadable, [note for note in found.notes if note not in self.rules.notes])
    if step == 0 and self.before_file is not None:
      label_n = np.asarray(self.source.label_n)[self.read_n]
      write_embeddings(self.before_file, Embeddings(embedding_nd, names, label_n, {"step": 0}))
    self.found = found
    return {**logged_figures(found), **({"unreadable_images": float(len(unreadable))} if unreadable else {})}

  def _failed(self, kind: str, text: str) -> dict[str, float]:
    """Warn, once for each type of error; what to log."""
    self.failure = f"step {self.latest_step}: {text}"
    if kind not in self._warned and jax.process_index() == 0:
      warnings.warn(
        f"verification {self.config.name} failed at step {self.latest_step}: {text}. It has no figures; the run goes on. Later"
        f" failures of this type ({kind}) are only logged, as {self.config.name}/failed",
        RuntimeWarning, stacklevel=3,
      )
    self._warned.add(kind)
    return {f"{self.config.name}/failed": 1.0}

  def _tell(self, unreadable: Mapping[int, str], lines: Sequence[str]) -> None:
    """Warn of images that cannot be read, of each once."""
    new = [message for record, message in sorted(unreadable.items()) if record not in self._told]
    self._told |= set(unreadable)
    if new:
      more = f"; and {len(new) - NAMED:,} more" if len(new) > NAMED else ""
      text = " ".join([f"verification {self.config.name}: {'; '.join(new[:NAMED])}{more}.", *lines])
      warnings.warn(text, RuntimeWarning, stacklevel=4)


__all__ = ["VerificationHook"]
