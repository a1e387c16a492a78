"""Embeds a source on several hosts: each embeds its share of the images, and all get the full result."""

import json
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils

from jaxface.data.source import Source, UnreadableRow
from jaxface.formats.errors import DamagedData
from jaxface.inference.embed import embed_images
from jaxface.training.host_error import from_elsewhere, sentence
from jaxface.training.hosts import gather, host_name

Tree = Any
# Bytes of embeddings exchanged at once, which bounds the additional memory per host.
EXCHANGED = 2**26


class NotEmbedded(RuntimeError):
  """There are no embeddings, since a host failed; raised on all hosts.

  Attributes:
    kind: type of the host's error.
  """

  def __init__(self, text: str, kind: str):
    super().__init__(text)
    self.kind = kind


class _Part:
  """Records [start, stop) of a source, for reading."""

  def __init__(self, source: Source, start: int, stop: int):
    self.source, self.start, self.num_records = source, start, stop - start
    self.image_shape = source.image_shape

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    return self.source.read(record_n + self.start, out)


def embed_shared(
  embedder: Callable[[Tree, Array], Array], variables: Tree, source: Source, *, devices: int = 0, on_damage: str = "raise",
  what: str = "embedding",
) -> tuple[np.ndarray, dict[int, str]]:
  """`embed_images` with the records divided among hosts; a collective call with the same network.

  Args:
    embedder, variables, source, devices: see `embed_images`.
    on_damage: "raise", or "substitute" to ignore unreadable records.
    what: description of the point, for messages.
  Returns:
    (embeddings [N, D] float32, bitwise equal on all hosts; the message of each record without a row, by record number).
  Raises:
    DamagedData: a record cannot be read and `on_damage` is "raise", or most cannot. Of several hosts, on the one that read it.
    NotEmbedded: any other error of a host, on all of them, except those of devices and connections: no host can go on after these.
  """
  hosts, index = jax.process_count(), jax.process_index()
  bounds = [source.num_records * host // hosts for host in range(hosts + 1)]
  part: Any = _Part(source, bounds[index], bounds[index + 1])
  errors: dict[int, DamagedData] = {}
  own_nd = np.zeros((0, 0), np.float32)
  failure: list[str] = []
  try:
    if part.num_records:
      own_nd = embed_images(
        embedder, variables, part, devices=devices, unreadable=None if on_damage == "raise" else errors
      )
  except Exception as error:
    if isinstance(error, DamagedData) or from_elsewhere(error):
      raise
    failure = [type(error).__name__, sentence(error)]
  said = [json.loads(text) for text in gather(what, json.dumps([
    *own_nd.shape, [[bounds[index] + record, str(error)] for record, error in sorted(errors.items())], failure,
  ]))]
  for host, (*_, failed) in enumerate(said):
    if failed:
      raise NotEmbedded(f"{host_name(host)}: {failed[1]}" if hosts > 1 else failed[1], failed[0])
  unreadable = {int(record): text for _, _, lost, _ in said for record, text in lost}
  if 2 * len(unreadable) > source.num_records:
    first = min(unreadable)
    raise DamagedData(f"{unreadable[first]}. {len(unreadable):,} of {source.num_records:,} images cannot be used; this is the first")
  return _exchange(own_nd, [(rows, size) for rows, size, *_ in said]), unreadable


def _exchange(own_nd: np.ndarray, shapes: list[tuple[int, int]]) -> np.ndarray:
  """The rows of all hosts in order; rows are copied without arithmetic."""
  if len(shapes) == 1:
    return own_nd
  size = max(size for _, size in shapes)
  most = max(rows for rows, _ in shapes)
  step = max(EXCHANGED // (4 * max(size, 1) * len(shapes)), 1)
  parts: list[list[np.ndarray]] = [[] for _ in shapes]
  for start in range(0, most, step):
    rows = min(step, most - start)
    mine_rd = np.zeros((rows, size), np.float32)
    mine_rd[: max(min(len(own_nd) - start, rows), 0)] = own_nd[start : start + rows].reshape(-1, size)
    every_hrd = np.asarray(multihost_utils.process_allgather(mine_rd)).reshape(len(shapes), rows, size)
    for host, (count, _) in enumerate(shapes):
      parts[host].append(every_hrd[host, : max(min(count - start, rows), 0)])
  return np.concatenate([np.concatenate(part) for part in parts]) if math.prod((most, size)) else own_nd


__all__ = ["NotEmbedded", "embed_shared"]
