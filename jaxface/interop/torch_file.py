"""Reads state dicts from files of `torch.save`, in both formats, without executing their contents.

zip (PyTorch 1.6 and newer): one folder with `data.pkl`, the structure, and `data/KEY`, the data of each storage.
legacy: five pickles (magic number, version, machine, names, order of the keys), then each storage: its length as int64, and
its data.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.interop.torch_pickle import Foreign, Storage, StoredTensor, read_pickle

MAX_FILE_BYTES = 2**32
MAX_TENSOR_BYTES = 2**31
MAX_PICKLE_BYTES = 2**26
MAX_DEPTH = 8  # of nested dicts around a state dict
MAGIC = 0x1950A86A20F9469CFC6C
# Usual keys of the network's state in a checkpoint, in order of precedence.
WRAPPERS = ("state_dict", "model_state_dict", "state_dict_backbone", "backbone", "model", "net", "network")

Bytes = Callable[[Storage], bytes]


def read_torch(path: Path | str, key: str = "") -> dict[str, np.ndarray]:
  """Arrays of a state dict by key, in the file's order; nested in other dicts under any name.

  Args:
    path: path of the file; the format is detected from the content.
    key: keys of the nested dicts around the state dict and a prefix of its keys, joined by dots: only entries below it are
      read, without it.
  Raises:
    UnsafePickle: the file has an operation that data do not need.
    DamagedData: too large, truncated, not a PyTorch file, a tensor that exceeds its storage, no state dict, or several and
      no `key`; names file, and entry, offset or the state dicts.
    UnsafePath: the name of an entry leaves the archive.
  """
  path = Path(path)
  size = path.stat().st_size
  if size > MAX_FILE_BYTES:
    raise DamagedData(f"{size:,} bytes, at most {MAX_FILE_BYTES:,} are read", file=path)
  with open(path, "rb") as file:
    zipped = file.read(4) == b"PK\3\4"
  return _read_zip(path, size, key) if zipped else _read_legacy(path, size, key)


def _read_zip(path: Path, size: int, key: str) -> dict[str, np.ndarray]:
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
        raise DamagedData(f"entry {root}/byteorder: data of a big-endian machine", file=path)
      tree = read_pickle(io.BytesIO(read("data.pkl")), path, f"entry {root}/data.pkl")

      def numbers(storage: Storage) -> bytes:
        name, expected = f"data/{storage.key}", storage.count * storage.dtype.itemsize
        found = entries[f"{root}/{name}"].file_size if f"{root}/{name}" in entries else expected
        if found != expected:
          raise DamagedData(f"entry {root}/{name} has {found:,} bytes, expected {expected:,}", file=path)
        return read(name)

      return _arrays(_find_state(tree, path, key), numbers, path)
  except (zipfile.BadZipFile, NotImplementedError, OverflowError, struct.error, UnicodeError) as error:
    raise DamagedData(f"not a complete zip archive: {error}", file=path) from error


def _check_entries(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], path: Path, size: int) -> str:
  """The archive's single folder, after checking that no entry is compressed or overlaps another."""
  roots = set()
  for name, info in entries.items():
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or len(parts) < 2:
      raise UnsafePath(f"{path}: entry {name!r} is not in the archive's folder")
    if info.compress_type != zipfile.ZIP_STORED:
      raise DamagedData(f"entry {name!r} is compressed, which torch.save never does", file=path)
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


def _read_legacy(path: Path, size: int, where: str) -> dict[str, np.ndarray]:
  with open(path, "rb") as file:
    magic = read_pickle(file, path)
    if magic != MAGIC:
      raise DamagedData("not a file of torch.save: neither a zip archive nor its magic number", file=path, offset=0)
    _, machine, tree, keys = (read_pickle(file, path) for _ in range(4))
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
      raise DamagedData("data of a big-endian machine", file=path)
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
      raise DamagedData("no list of keys before the data", file=path)
    state = _find_state(tree, path, where)
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
      if storages[storage.key] != storage:
        raise DamagedData(f"storage {storage.key!r} is named with two sizes or types", file=path)
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


def _find_state(tree: Any, path: Path, key: str) -> dict[str, StoredTensor]:
  """The dict of tensors by name: the tree itself or a nested dict."""
  states = dict(_states(tree, (), set()))
  if key:
    around = [where for where in states if f"{key}.".startswith("".join(f"{name}." for name in where))]
    where = max(around, key=lambda names: len(names), default=())
    if where:
      return _part(states[where], ".".join(key.split(".")[len(".".join(where).split(".")) :]), path)
  # Dicts with few tensors next to a network, such as class centres or a counter, are no candidates.
  most = max(map(len, states.values()), default=0)
  likely = {where: state for where, state in states.items() if 10 * len(state) >= most}
  ranks = {
    where: [WRAPPERS.index(name) if name in WRAPPERS else len(WRAPPERS) for name in where or ("",)] for where in likely
  }
  best = [where for where in likely if ranks[where] == min(ranks.values())]
  if len(best) == 1:
    return _part(states[best[0]], key, path)
  if best:
    raise DamagedData(f"several state dicts, {_listed(likely)}: choose one with --key", file=path)
  if isinstance(tree, dict):
    found = ", ".join(f"{name}: {value}" if isinstance(value, Foreign) else str(name) for name, value in list(tree.items())[:20])
  else:
    found = str(tree) if isinstance(tree, Foreign) else f"a {type(tree).__name__}"
  raise DamagedData(f"no state dict: the file contains {found}. Save the `state_dict()` of the network", file=path)


def _part(state: dict[str, StoredTensor], key: str, path: Path) -> dict[str, StoredTensor]:
  """The entries whose names begin with `key`."""
  if not key:
    return state
  part = {name.removeprefix(f"{key}."): tensor for name, tensor in state.items() if name.startswith(f"{key}.")}
  if not part:
    raise DamagedData(f"no tensor under {key!r}: the file has {', '.join(list(state)[:5])} and others", file=path)
  return part


def _states(node: Any, where: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
  """Every dict of tensors by name in nested dicts, and the path to it; each once.

  An optimizer's state has integer keys. A state dict may also contain other values; a dict of other values with a few tensors,
  such as a loss, is not one.
  """
  if not isinstance(node, dict) or not all(type(name) is str for name in node) or id(node) in seen or len(where) > MAX_DEPTH:
    return
  seen.add(id(node))
  tensors = {name: value for name, value in node.items() if isinstance(value, StoredTensor)}
  if tensors and (len(tensors) == len(node) or any(len(tensor.shape) > 1 for tensor in tensors.values())):
    yield where, tensors
  for name, value in node.items():
    yield from _states(value, (*where, name), seen)


def _listed(states: dict[tuple[str, ...], Any]) -> str:
  return ", ".join(f"{'.'.join(where) or 'the file itself'} ({len(state)} tensors)" for where, state in states.items())


def _arrays(state: dict[str, StoredTensor], numbers: Bytes, path: Path) -> dict[str, np.ndarray]:
  """Each tensor as a separate array; each storage is read once."""
  whole = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in state.values())
  if whole > MAX_FILE_BYTES:
    raise DamagedData(f"tensors of {whole:,} bytes together, at most {MAX_FILE_BYTES:,}", file=path)
  read: dict[Storage, np.ndarray] = {}
  arrays = {}
  for key, tensor in state.items():
    storage = tensor.storage
    reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides)) + 1
    if (0 not in tensor.shape and tensor.offset + reach > storage.count) or len(tensor.shape) > 32:
      what = f"tensor {key!r} of shape {tensor.shape} and strides {tensor.strides} exceeds its storage of {storage.count:,}"
      raise DamagedData(what, file=path)
    if storage.count * storage.dtype.itemsize > MAX_TENSOR_BYTES:
      raise DamagedData(f"tensor {key!r} has a storage of {storage.count:,} numbers, which is too large", file=path)
    if storage not in read:
      content = numbers(storage)
      if len(content) != storage.count * storage.dtype.itemsize:
        raise DamagedData(f"storage {storage.key!r} of tensor {key!r} is truncated", file=path)
      read[storage] = np.frombuffer(content, storage.dtype)
    base = read[storage][tensor.offset :]
    strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
    arrays[key] = np.lib.stride_tricks.as_strided(base, tensor.shape, strides).copy(order="C")
  return arrays


__all__ = ["WRAPPERS", "read_torch"]
