"""State dicts in the files of `torch.save`, of both formats, without running anything that they hold.

zip (PyTorch 1.6 and newer): one folder with `data.pkl`, the names, and `data/KEY`, the numbers of each storage.
legacy: five pickles (magic number, version, machine, names, order of the keys), then each storage: its length as int64, and
its numbers.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.interop.torch_pickle import Storage, StoredTensor, read_pickle

MAX_FILE_BYTES = 2**32
MAX_TENSOR_BYTES = 2**31
MAX_PICKLE_BYTES = 2**26
MAGIC = 0x1950A86A20F9469CFC6C
# What trainers call the network's state in a dict with other things.
WRAPPERS = ("state_dict", "model_state_dict", "state_dict_backbone", "backbone", "model", "net", "network")

Bytes = Callable[[Storage], bytes]


def read_torch(path: Path | str) -> dict[str, np.ndarray]:
  """Arrays of a state dict by key; one that stands inside another dict under a name of `WRAPPERS` is found.

  Raises:
    UnsafePickle: the file asks for anything but tensors and plain values.
    DamagedData: too large, cut short, not of PyTorch, a tensor that leaves its storage, no state dict inside; names file,
      and entry or offset.
    UnsafePath: an entry of the archive whose name leaves it.
  """
  path = Path(path)
  size = path.stat().st_size
  if size > MAX_FILE_BYTES:
    raise DamagedData(f"{size:,} bytes, at most {MAX_FILE_BYTES:,} are read", file=path)
  with open(path, "rb") as file:
    zipped = file.read(4) == b"PK\3\4"
  return _read_zip(path, size) if zipped else _read_legacy(path, size)


def _read_zip(path: Path, size: int) -> dict[str, np.ndarray]:
  try:
    with zipfile.ZipFile(path) as archive:
      entries = {info.filename: info for info in archive.infolist()}
      root = _check_entries(archive, entries, path, size)

      def read(name: str) -> bytes:
        try:
          return archive.read(entries[f"{root}/{name}"])
        except KeyError as error:
          raise DamagedData(f"entry {root}/{name} is missing", file=path) from error
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
          raise DamagedData(f"entry {root}/{name}: {error}", file=path) from error

      if f"{root}/byteorder" in entries and read("byteorder") != b"little":
        raise DamagedData(f"entry {root}/byteorder: numbers of a big-endian machine", file=path)
      tree = read_pickle(io.BytesIO(read("data.pkl")), path, f"entry {root}/data.pkl")

      def numbers(storage: Storage) -> bytes:
        name, expected = f"data/{storage.key}", storage.count * storage.dtype.itemsize
        found = entries[f"{root}/{name}"].file_size if f"{root}/{name}" in entries else expected
        if found != expected:
          raise DamagedData(f"entry {root}/{name} has {found:,} bytes, expected {expected:,}", file=path)
        return read(name)

      return _arrays(_find_state(tree, path), numbers, path)
  except (zipfile.BadZipFile, NotImplementedError, OverflowError, struct.error, UnicodeError) as error:
    raise DamagedData(f"not a whole zip archive: {error}", file=path) from error


def _check_entries(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], path: Path, size: int) -> str:
  """The archive's one folder, once nothing in it can be larger than it looks."""
  roots = set()
  for name, info in entries.items():
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or len(parts) < 2:
      raise UnsafePath(f"{path}: entry {name!r} does not lie in the archive's folder")
    if info.compress_type != zipfile.ZIP_STORED:
      raise DamagedData(f"entry {name!r} is compressed, which PyTorch's never are", file=path)
    roots.add(parts[0])
  if len(entries) != len(archive.infolist()) or sum(info.file_size for info in entries.values()) > size:
    raise DamagedData("entries of the archive overlap", file=path)
  root = min(roots, default="")
  if len(roots) != 1 or f"{root}/data.pkl" not in entries:
    raise DamagedData("an archive without one folder with a data.pkl, which torch.save writes", file=path)
  if f"{root}/constants.pkl" in entries:
    raise DamagedData("a TorchScript program: save the `state_dict()` of the network instead", file=path)
  if entries[f"{root}/data.pkl"].file_size > MAX_PICKLE_BYTES:
    raise DamagedData(f"entry {root}/data.pkl is longer than {MAX_PICKLE_BYTES:,} bytes", file=path)
  return root


def _read_legacy(path: Path, size: int) -> dict[str, np.ndarray]:
  with open(path, "rb") as file:
    magic = read_pickle(file, path)
    if magic != MAGIC:
      raise DamagedData("not a file of torch.save: neither a zip archive nor its magic number", file=path, offset=0)
    _, machine, tree, keys = (read_pickle(file, path) for _ in range(4))
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
      raise DamagedData("numbers of a big-endian machine", file=path)
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
      raise DamagedData("no list of keys before the numbers", file=path)
    state = _find_state(tree, path)
    storages = {tensor.storage.key: tensor.storage for tensor in _all_tensors(tree)}
    places: dict[str, int] = {}
    for key in keys:
      start = file.tell()
      count = int.from_bytes(file.read(8), "little", signed=True)
      storage = storages.get(key)
      if storage is None or count != storage.count:
        expected = "none" if storage is None else f"{storage.count:,}"
        raise DamagedData(f"storage {key!r} has {count:,} numbers, expected {expected}", file=path, offset=start)
      end = start + 8 + count * storage.dtype.itemsize
      if end > size:
        raise DamagedData(f"storage {key!r} ends at {end:,} of {size:,} bytes", file=path, offset=start)
      places[key] = start + 8
      file.seek(end)

    def numbers(storage: Storage) -> bytes:
      if storage.key not in places:
        raise DamagedData(f"storage {storage.key!r} is missing", file=path)
      file.seek(places[storage.key])
      return file.read(storage.count * storage.dtype.itemsize)

    return _arrays(state, numbers, path)


def _all_tensors(tree: Any) -> list[StoredTensor]:
  found, seen, waiting = [], set(), [tree]
  while waiting:
    node = waiting.pop()
    if isinstance(node, StoredTensor):
      found.append(node)
    elif isinstance(node, (dict, list, tuple)) and id(node) not in seen:
      seen.add(id(node))
      waiting.extend(node.values() if isinstance(node, dict) else node)
  return found


def _find_state(tree: Any, path: Path) -> dict[str, StoredTensor]:
  """The dict of tensors by name, itself or inside of its wrapper."""
  if isinstance(tree, dict):
    wrapped = next((tree[name] for name in WRAPPERS if isinstance(tree.get(name), dict)), tree)
    tensors = {key: value for key, value in wrapped.items() if isinstance(value, StoredTensor)}
    if tensors and len(tensors) == len(wrapped) and all(isinstance(key, str) for key in tensors):
      return tensors
  found = ", ".join(map(str, list(tree)[:20])) if isinstance(tree, dict) else f"a {type(tree).__name__}"
  what = f"no state dict, itself or as {', '.join(WRAPPERS)}: the file holds {found}"
  raise DamagedData(what, file=path)


def _arrays(state: dict[str, StoredTensor], numbers: Bytes, path: Path) -> dict[str, np.ndarray]:
  """Each tensor as an array of its own; each storage is read once."""
  whole = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in state.values())
  if whole > MAX_FILE_BYTES:
    raise DamagedData(f"tensors of {whole:,} bytes together, at most {MAX_FILE_BYTES:,}", file=path)
  read: dict[Storage, np.ndarray] = {}
  arrays = {}
  for key, tensor in state.items():
    storage = tensor.storage
    reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides)) + 1
    if (0 not in tensor.shape and tensor.offset + reach > storage.count) or len(tensor.shape) > 32:
      what = f"tensor {key!r} of shape {tensor.shape} and strides {tensor.strides} leaves its storage of {storage.count:,}"
      raise DamagedData(what, file=path)
    if storage.count * storage.dtype.itemsize > MAX_TENSOR_BYTES:
      raise DamagedData(f"tensor {key!r} lies in {storage.count:,} numbers, which is too many", file=path)
    if storage not in read:
      content = numbers(storage)
      if len(content) != storage.count * storage.dtype.itemsize:
        raise DamagedData(f"storage {storage.key!r} of tensor {key!r} is cut short", file=path)
      read[storage] = np.frombuffer(content, storage.dtype)
    base = read[storage][tensor.offset :]
    strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
    arrays[key] = np.lib.stride_tricks.as_strided(base, tensor.shape, strides).copy(order="C")
  return arrays


__all__ = ["WRAPPERS", "read_torch"]
