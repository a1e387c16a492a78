"""Reads the pickles in PyTorch's files without unpickling: opcodes are interpreted, and nothing is imported or called.

Supported are plain values, tuples, lists and dicts, and four kinds of globals: `collections.OrderedDict`, PyTorch's storage
types, `torch._utils._rebuild_tensor_v2`, and functions that wrap a tensor in a parameter. They are mapped to data types of our
own. Any other global, such as the class of a trainer's hyper-parameters, becomes a `Foreign`, which contains only its name.
Objects that the pickle would create with it are dropped, so that the other tensors can be read.
"""

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import ml_dtypes
import numpy as np

from jaxface.formats.errors import DamagedData

# A network's state has about forty operations per tensor.
MAX_OPERATIONS = 2**22
STORAGES = {
  "DoubleStorage": np.dtype("<f8"), "FloatStorage": np.dtype("<f4"), "HalfStorage": np.dtype("<f2"),
  "BFloat16Storage": np.dtype(ml_dtypes.bfloat16), "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
  "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"), "BoolStorage": np.dtype("?"),
}
_DICT, _TENSOR = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"
# A parameter is its first argument; a tensor's subclass is its first argument applied to the third.
_PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_SUBCLASS = "torch._tensor._rebuild_from_type_v2"
_LITERALS = {
  "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
  "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
  "BYTEARRAY8",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class UnsafePickle(ValueError):
  """A pickle with an operation that data do not need; nothing was executed."""


@dataclass(frozen=True)
class Storage:
  """A storage elsewhere in the file: its key, dtype and number of elements."""

  key: str
  dtype: np.dtype
  count: int


@dataclass(frozen=True)
class StoredTensor:
  """A view of a storage; offset and strides in elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


@dataclass(frozen=True)
class Foreign:
  """Placeholder for the result of an unsupported global: its name only."""

  name: str

  def __str__(self) -> str:
    return f"{self.name:.200} (not run)"


@dataclass(frozen=True)
class _Global:
  name: str


def read_pickle(file: BinaryIO, path: Path, entry: str = "") -> Any:
  """Reads the pickle at the file's position, and moves the position to its end.

  Args:
    file: open for reading bytes.
    path: name of the file in errors.
    entry: name of the part of the file.
  Returns:
    Numbers, strings, tuples, lists and dicts with `StoredTensor` for tensors and `Foreign` for everything else; an
    OrderedDict becomes a dict. Dict entries with keys other than strings and integers are dropped.
  Raises:
    UnsafePickle: an operation that data do not need; names it.
    DamagedData: not a pickle, or truncated.
  """
  return _Machine(path, entry).run(file)


class _Machine:
  """A pickle machine with stack, marks and memo."""

  def __init__(self, path: Path, entry: str):
    self.path, self.entry, self.offset = path, entry, 0
    self.stack: list[Any] = []
    self.marks: list[int] = []
    self.memo: dict[int, Any] = {}

  def run(self, file: BinaryIO) -> Any:
    for count, (name, argument) in enumerate(self._operations(file)):
      if count > MAX_OPERATIONS:
        self._damaged(f"more than {MAX_OPERATIONS:,} operations")
      if name == "STOP":
        return self._pop()
      self._step(name, argument)
    raise AssertionError("operations end with STOP or an error")

  def _operations(self, file: BinaryIO) -> Iterator[tuple[str, Any]]:
    operations = pickletools.genops(file)
    while True:
      try:
        opcode, argument, position = next(operations)
      except StopIteration:
        return
      except Exception as error:  # of many types, all with the same meaning
        self._damaged(f"not a pickle, or truncated: {error}", error)
      self.offset = position or 0
      yield opcode.name, argument

  def _step(self, name: str, argument: Any) -> None:
    push = self.stack.append
    if name in ("PROTO", "FRAME"):
      return
    if name in _LITERALS:
      push(argument)
    elif name in _CONSTANTS:
      push(_CONSTANTS[name])
    elif name in ("EMPTY_DICT", "EMPTY_LIST"):
      push({} if name == "EMPTY_DICT" else [])
    elif name == "EMPTY_SET":
      push(Foreign("builtins.set"))
    elif name == "MARK":
      self.marks.append(len(self.stack))
    elif name in ("TUPLE", "LIST"):
      items = self._cut()
      push(tuple(items) if name == "TUPLE" else items)
    elif name == "DICT":
      push(self._fill({}, self._cut()))
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
      push(tuple(reversed([self._pop() for _ in range(int(name[-1]))])))
    elif name in ("APPEND", "APPENDS"):
      items = [self._pop()] if name == "APPEND" else self._cut()
      if not self._top_is_foreign():
        self._top(list).extend(items)
    elif name in ("SETITEM", "SETITEMS"):
      items = list(reversed([self._pop(), self._pop()])) if name == "SETITEM" else self._cut()
      if not self._top_is_foreign():
        self._fill(self._top(dict), items)
    elif name == "ADDITEMS":
      self._cut()
      self._top(Foreign)
    elif name == "FROZENSET":
      self._cut()
      push(Foreign("builtins.frozenset"))
    elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
      self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self._top(object)
    elif name in ("GET", "BINGET", "LONG_BINGET"):
      if argument not in self.memo:
        self._damaged(f"no memo entry {argument}")
      push(self.memo[argument])
    elif name == "GLOBAL":
      push(_Global(argument.replace(" ", ".", 1)))
    elif name == "STACK_GLOBAL":
      last, module = self._pop(str), self._pop(str)
      push(_Global(f"{module}.{last}"))
    elif name == "BINPERSID":
      identity = self._pop(tuple)
      # A pickled module is stored with the source text of its class.
      push(Foreign("module") if identity[:1] == ("module",) else self._storage(identity))
    elif name == "REDUCE":
      arguments = self._pop(tuple)
      push(self._make(self._pop(), arguments))
    elif name in ("NEWOBJ", "NEWOBJ_EX"):
      for _ in range(2 if name == "NEWOBJ_EX" else 1):
        self._pop()
      push(self._foreign(self._pop()))
    elif name in ("INST", "OBJ"):
      items = self._cut()
      push(Foreign(argument.replace(" ", ".", 1)) if name == "INST" else self._foreign(items[0] if items else None))
    elif name == "BUILD":
      # Module versions that PyTorch attaches to its OrderedDict, a parameter's attributes, or the fields of an object.
      self._pop()
      self._top((dict, Foreign, StoredTensor))
    else:
      raise UnsafePickle(f"{self._where()}: operation {name}, which data do not need; nothing was executed")

  def _top_is_foreign(self) -> bool:
    return isinstance(self._top(object), Foreign)

  def _foreign(self, maker: Any) -> Foreign:
    """Placeholder for a result of `maker`, a global or its placeholder."""
    if not isinstance(maker, (_Global, Foreign)):
      self._damaged(f"calls a {type(maker).__name__}")
    return Foreign(maker.name)

  def _storage(self, identity: tuple) -> Storage:
    kinds = [type(part) for part in identity[:5]]
    if kinds != [str, _Global, str, str, int] or identity[0] != "storage" or any(part is not None for part in identity[5:]):
      self._damaged("a persistent reference to something other than a storage")
    dtype = STORAGES.get(identity[1].name.removeprefix("torch."))
    if dtype is None or identity[4] < 0:
      self._damaged(f"a storage of {identity[4]} numbers of type {identity[1].name}")
    assert dtype is not None
    return Storage(identity[2], dtype, identity[4])

  def _make(self, maker: Any, arguments: tuple) -> Any:
    """The result of a supported call, else a placeholder."""
    name = self._foreign(maker).name if not isinstance(maker, _Global) else maker.name
    first = arguments[0] if arguments else None
    if name == _DICT and not arguments:
      return {}
    if name in _PARAMETERS and isinstance(first, StoredTensor):
      return first
    if name == _SUBCLASS and isinstance(first, _Global) and first.name != name and [type(a) for a in arguments[2:3]] == [tuple]:
      return self._make(first, arguments[2])
    if name != _TENSOR or isinstance(first, Foreign):
      return Foreign(name)
    if len(arguments) < 4:
      self._damaged(f"{name} with {len(arguments)} arguments")
    storage, offset, shape, strides = arguments[:4]
    numbers = [offset, *shape, *strides] if type(shape) is type(strides) is tuple else [None]
    if type(storage) is not Storage or not all(type(n) is int and n >= 0 for n in numbers) or len(shape) != len(strides):
      self._damaged("a tensor without a storage, an offset, a shape and strides")
    return StoredTensor(storage, offset, shape, strides)

  def _fill(self, target: dict, items: list[Any]) -> dict:
    if len(items) % 2:
      self._damaged("a dict with a key without a value")
    target.update((key, value) for key, value in zip(items[::2], items[1::2]) if type(key) in (str, int))
    return target

  def _top(self, kind: type | tuple[type, ...]) -> Any:
    if not self.stack or not isinstance(self.stack[-1], kind):
      kinds = kind if isinstance(kind, tuple) else (kind,)
      self._damaged(f"expected a {' or '.join(k.__name__ for k in kinds)} on the stack")
    return self.stack[-1]

  def _pop(self, kind: type = object) -> Any:
    self._top(kind)
    return self.stack.pop()

  def _cut(self) -> list[Any]:
    """Pops the values since the last mark."""
    if not self.marks or self.marks[-1] > len(self.stack):
      self._damaged("a mark is missing")
    start = self.marks.pop()
    items = self.stack[start:]
    del self.stack[start:]
    return items

  def _where(self) -> str:
    return f"{self.path}{f', {self.entry}' if self.entry else ''}, offset {self.offset}"

  def _damaged(self, what: str, cause: Exception | None = None) -> NoReturn:
    raise DamagedData(f"{self.entry}: {what}" if self.entry else what, file=self.path, offset=self.offset) from cause


__all__ = ["MAX_OPERATIONS", "STORAGES", "Foreign", "Storage", "StoredTensor", "UnsafePickle", "read_pickle"]
