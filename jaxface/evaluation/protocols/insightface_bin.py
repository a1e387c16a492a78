"""InsightFace's `.bin`: a pickle of (images, same), 2 P encoded images and P labels; pair i has the images 2i and 2i + 1.

Nothing is unpickled: the opcodes are walked, and only lists, tuples, bytes and booleans are accepted. Images are named by
their number, `000000` …, and the folds are ten blocks of the list in order, as InsightFace cuts them.

Source: InsightFace, `recognition/_evaluation_/verification.py`.
"""

import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.protocols.pair_list import PairProtocol, pair_counts
from jaxface.formats.atomic import atomic_directory
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs, write_pairs

FOLDS = 10
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING", "STRING")
SKIPPED = ("PROTO", "FRAME")
_MARK = object()
_ENCODE = object()


def read_bin(path: str | Path) -> tuple[list[bytes], np.ndarray]:
  """The images and labels of a `.bin`.

  Args:
    path: file to read.
  Returns:
    (2 P encoded images, [P] bool).
  Raises:
    DamagedData: cut short, other content than images and labels, or other numbers of them.
  """
  path = Path(path)
  data = path.read_bytes()
  content = _walk(path, data)
  if not (isinstance(content, (tuple, list)) and len(content) == 2 and all(isinstance(part, list) for part in content)):
    raise DamagedData("not a pair (images, same) of lists, as InsightFace writes it", file=path)
  images, same = content
  for number, image in enumerate(images):
    if not isinstance(image, bytes):
      raise DamagedData(f"image is {type(image).__name__}, not encoded bytes", file=path, record=number)
  for number, label in enumerate(same):
    if not isinstance(label, (bool, int)) or label not in (0, 1):
      raise DamagedData(f"label of the pair is {label!r}, not true or false", file=path, record=number)
  if not same or len(images) != 2 * len(same):
    raise DamagedData(f"{len(images):,} images for {len(same):,} pairs: expected two for each of at least one pair", file=path)
  return images, np.array(same, np.bool_)


def read_bin_pairs(path: str | Path) -> Pairs:
  """The pairs of a `.bin`, under the numbers of the images."""
  images, same_p = read_bin(path)
  names = [f"{number:06d}" for number in range(len(images))]
  fold_p = np.concatenate([np.full(len(part), fold) for fold, part in enumerate(np.array_split(np.arange(len(same_p)), FOLDS))])
  return Pairs(names[::2], names[1::2], same_p, fold_p.astype(np.int64), str(path), None)


def read_bin_protocol(lists: str | Path) -> PairProtocol:
  """A `.bin` of any data set, or the only one in a folder, without official counts."""
  path = Path(lists)
  if path.is_dir():
    found = sorted(path.glob("*.bin"))
    if len(found) != 1:
      raise FileNotFoundError(f"{path}: has {len(found)} .bin files, expected one: give the path of the file")
    (path,) = found
  pairs = read_bin_pairs(path)
  return PairProtocol("bin", pair_counts(pairs), (), pairs)


def unpack_bin(path: str | Path, out: str | Path) -> int:
  """Writes the images of a `.bin` to a folder `images` of `out`, to be embedded, and the pairs to `pairs.tsv`.

  Args:
    path: the `.bin`.
    out: folder to make, whole or not at all.
  Returns:
    Number of images.
  Raises:
    DamagedData: see `read_bin`, or an image that is neither JPEG nor PNG.
  """
  images, _ = read_bin(path)
  with atomic_directory(out) as folder:
    (folder / "images").mkdir()
    for number, image in enumerate(images):
      suffix = "jpg" if image.startswith(b"\xff\xd8") else "png" if image.startswith(b"\x89PNG") else None
      if suffix is None:
        raise DamagedData("image is neither JPEG nor PNG", file=path, record=number)
      (folder / "images" / f"{number:06d}.{suffix}").write_bytes(image)
    write_pairs(folder / "pairs.tsv", read_bin_pairs(path))
  return len(images)


def _walk(path: Path, data: bytes) -> Any:
  """The value that the opcodes build, from a list of harmless ones.

  Raises:
    DamagedData: another opcode, or an incomplete file.
  """
  stack: list[Any] = []
  memo: dict[int, Any] = {}
  at = 0
  try:
    for opcode, argument, position in pickletools.genops(data):
      at = position or 0
      name = opcode.name
      if name == "STOP":
        (value,) = stack
        return value
      if name in SKIPPED:
        continue
      if name in BYTES:
        stack.append(argument if isinstance(argument, bytes) else str(argument).encode("latin-1"))
      elif name in ("NEWTRUE", "NEWFALSE"):
        stack.append(name == "NEWTRUE")
      elif name in ("BININT", "BININT1", "BININT2", "INT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"):
        stack.append(argument)
      elif name == "MARK":
        stack.append(_MARK)
      elif name in ("EMPTY_LIST", "EMPTY_TUPLE"):
        stack.append([] if name == "EMPTY_LIST" else ())
      elif name in ("LIST", "TUPLE"):
        items = _to_mark(stack)
        stack.append(items if name == "LIST" else tuple(items))
      elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
      elif name == "APPENDS":
        items = _to_mark(stack)
        stack[-1].extend(items)
      elif name == "APPEND":
        item = stack.pop()
        stack[-1].append(item)
      elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
      elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[int(str(argument))] = stack[-1]
      elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[int(str(argument))])
      elif name == "GLOBAL" and argument == "_codecs encode":
        stack.append(_ENCODE)  # how protocol 2 stores bytes: text and its encoding
      elif name == "REDUCE" and stack[-2] is _ENCODE and stack[-1][1] == "latin1":
        (text, _), _ = stack.pop(), stack.pop()
        stack.append(text.encode("latin-1"))
      else:
        what = f"{name} {str(argument)[:60]!r}" if argument is not None else name
        raise DamagedData(f"holds the pickle instruction {what}: only images and labels are read, nothing is run", file=path, offset=at)
  except DamagedData:
    raise
  except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError) as error:
    raise DamagedData(f"not a complete pickle: {error}", file=path, offset=at) from error
  raise DamagedData("not a complete pickle: it has no end", file=path, offset=len(data))


def _to_mark(stack: list[Any]) -> list[Any]:
  items = []
  while (item := stack.pop()) is not _MARK:
    items.append(item)
  return items[::-1]


__all__ = ["read_bin", "read_bin_pairs", "read_bin_protocol", "unpack_bin"]
