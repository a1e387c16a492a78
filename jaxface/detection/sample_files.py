"""Crops for the training of MTCNN in a folder that is written once, and their order in batches.

```
samples.json   number, side, settings and digests, with a checksum
images.u8      [N, side, side, 3] uint8, mapped into memory
targets.f32    [N, 15] float32
```
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.data.permutation import keyed, permute
from jaxface.data.source import UnreadableRow
from jaxface.formats.atomic import atomic_directory
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.losses.detection import TARGETS
from jaxface.seeds import Purpose

FILE, IMAGES, TARGET_FILE = "samples.json", "images.u8", "targets.f32"


def write_samples(
  folder: Path, side: int, parts: Iterable[tuple[np.ndarray, np.ndarray]], settings: Mapping[str, Any]
) -> None:
  """Writes crops as they come; the folder appears when it is complete.

  Args:
    folder: must not exist.
    side: height and width of the crops.
    parts: ([N, side, side, 3] uint8, [N, 15] float32) of each photo.
    settings: what the crops depend on, plain JSON values; compared by `CropSource`.
  Raises:
    ValueError: an array of another shape or dtype.
  """
  digest, count, targets = hashlib.sha256(), 0, []
  with atomic_directory(folder) as temporary:
    with open(temporary / IMAGES, "wb") as file:
      for image_nhwc, target_nt in parts:
        if image_nhwc.dtype != np.uint8 or image_nhwc.shape != (len(target_nt), side, side, 3) or target_nt.shape[1:] != (TARGETS,):
          raise ValueError(f"crops {image_nhwc.dtype} {image_nhwc.shape} with targets {target_nt.shape}: needs uint8 [N, {side}, {side}, 3] and [N, {TARGETS}]")
        content = np.ascontiguousarray(image_nhwc).tobytes()
        digest.update(content)
        file.write(content)
        targets.append(target_nt.astype("<f4"))
        count += len(target_nt)
    content = np.concatenate([np.zeros((0, TARGETS), "<f4"), *targets]).tobytes()
    (temporary / TARGET_FILE).write_bytes(content)
    write_checked_json(temporary / FILE, {
      "format_version": 1, "count": count, "side": side, "images_sha256": digest.hexdigest(),
      "targets_sha256": hashlib.sha256(content).hexdigest(), "settings": dict(settings),
    })


class CropSource:
  """Crops of a folder that `write_samples` wrote; see `jaxface.data.Source`.

  Args:
    folder: the folder.
    settings: as they were written.
  Attributes:
    target_nt: [N, 15] float32, see `jaxface.losses.detection`.
    kind_n: [N] int32 kind of each crop.
  Raises:
    DamagedData: a file is missing, damaged or of another size; names it.
    ValueError: the crops were made with other settings; names them.
  """

  template = "none"
  num_identities = 1

  def __init__(self, folder: Path, settings: Mapping[str, Any]):
    facts = read_checked_json(folder / FILE)
    self._facts = {name: facts[name] for name in ("count", "images_sha256", "targets_sha256")}
    wanted = json.loads(json.dumps(settings))
    differing = sorted(name for name in {**facts["settings"], **wanted} if facts["settings"].get(name) != wanted.get(name))
    if differing:
      then, now = facts["settings"].get(differing[0]), wanted.get(differing[0])
      raise ValueError(f"{folder} holds crops with another {differing[0]}: {then!r:.100} then, {now!r:.100} now. Give the earlier values, or another --workdir")
    self.num_records, side = facts["count"], facts["side"]
    self.image_shape = (side, side, 3)
    content = self._content(folder / TARGET_FILE, 4 * TARGETS)
    if hashlib.sha256(content).hexdigest() != facts["targets_sha256"]:
      raise DamagedData(f"its digest differs from the one in {FILE}: remove the folder to make the crops again", file=folder / TARGET_FILE)
    self.target_nt = np.frombuffer(content, "<f4").reshape(-1, TARGETS)
    self.kind_n = self.target_nt[:, 0].astype(np.int32)
    self.label_n = np.zeros(self.num_records, np.int32)
    self._check_size(folder / IMAGES, side * side * 3)
    self._image_nhwc: np.ndarray = np.zeros((0, *self.image_shape), np.uint8)
    if self.num_records:
      self._image_nhwc = np.memmap(folder / IMAGES, np.uint8, "r", shape=(self.num_records, *self.image_shape))

  def _check_size(self, file: Path, row: int) -> None:
    found = file.stat().st_size if file.is_file() else 0
    if found != row * self.num_records:
      raise DamagedData(f"{found:,} bytes, expected {row * self.num_records:,}: remove the folder to make the crops again", file=file)

  def _content(self, file: Path, row: int) -> bytes:
    self._check_size(file, row)
    return file.read_bytes()

  def names(self) -> list[str]:
    """Number of each crop."""
    return [str(number) for number in range(self.num_records)]

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Copies crops into `out`."""
    out[:] = self._image_nhwc[record_n]
    return []

  def fingerprint(self) -> dict[str, object]:
    """Number and digests of crops and targets."""
    return dict(self._facts)


class KindOrder:
  """Batches with fixed numbers of each kind of crops; each kind has epochs of its own, in a new order each.

  Args:
    kind_n: [N] kind of each crop, from 0.
    shares: how many of each kind there are in proportion, such as (3, 1, 1, 2); 0 leaves a kind out.
    batch_size: crops of a batch.
    seed: any integer.
  Raises:
    ValueError: a kind with a share has no crop, or the batch is too small to have one of each.
  """

  def __init__(self, kind_n: np.ndarray, shares: Sequence[float], batch_size: int, seed: int = 0):
    self.seed, self.batch_size = seed, batch_size
    total = sum(shares)
    if min(shares) < 0 or not total > 0:
      raise ValueError(f"shares of the kinds are {tuple(shares)}: needs numbers of at least 0, not all 0")
    # Ends of the kinds in a batch: numbers by rounding that add up to the batch.
    self._end_k = np.round(np.cumsum(shares) / total * batch_size).astype(np.int64)
    count_k = np.diff(self._end_k, prepend=0)
    self._record_k = [np.flatnonzero(kind_n == kind) for kind in range(len(shares))]
    for kind, (share, count, records) in enumerate(zip(shares, count_k, self._record_k)):
      if share and not count:
        raise ValueError(f"a batch of {batch_size} has no crop of kind {kind} with shares {tuple(shares)}: use a larger one")
      if share and not len(records):
        raise ValueError(f"there is no crop of kind {kind}, which should be {share} of {total} of a batch")
    self.counts = count_k

  def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Records at the positions [start, stop); see `UniformOrder.rows`."""
    batch_n, column_n = divmod(np.arange(start, stop), self.batch_size)
    kind_n = np.searchsorted(self._end_k, column_n, side="right")
    record_n, epoch_n = np.zeros((2, len(batch_n)), np.int64)
    for kind, records in enumerate(self._record_k):
      own = kind_n == kind
      first = self._end_k[kind] - self.counts[kind]
      epoch_m, index_m = divmod(batch_n[own] * self.counts[kind] + column_n[own] - first, max(len(records), 1))
      if own.any():
        record_n[own] = records[permute(index_m, len(records), keyed(self.seed, Purpose.EPOCH, epoch_m, kind))]
        epoch_n[own] = epoch_m
    return np.zeros(len(record_n), np.int32), record_n, epoch_n


__all__ = ["CropSource", "KindOrder", "write_samples"]
