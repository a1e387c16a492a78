"""User-defined networks: the check of their contract (docs/own_network.md), and loading of the Python files that define them.

A file is executed only if the user names it, on the command line or by calling `load_python` or `load_networks`. Loading a
model folder never executes the copy of the source in it.
"""

import hashlib
import inspect
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from jaxface.models import registry
from jaxface.models.preprocess import Preprocess
from jaxface.models.watch import abstract_key, abstract_variables

MAX_SOURCE_BYTES = 2**22
COLLECTIONS = ("params", "batch_stats")
_CONVENTION = 'convention: ClassVar[Preprocess] = get_preprocess("unit", size=112)'
_CALL = "def __call__(self, image_bhwc, train=False)"


class BadPythonFile(ValueError):
  """A user's Python file that cannot be executed; the message names file, line and error."""


class BrokenContract(ValueError):
  """A network that violates the contract of a backbone; the message gives the line to add."""


@dataclass(frozen=True)
class SourceFile:
  """The text that defined a network.

  Attributes:
    path: the file.
    text: the executed text.
    sha256: SHA-256 of the text, in hex.
  """

  path: Path
  text: bytes
  sha256: str


_SOURCES: dict[str, SourceFile] = {}  # by name of the module


def read_source(path: Path | str) -> SourceFile:
  """A Python file, not executed.

  Raises:
    FileNotFoundError: the file does not exist.
    BadPythonFile: another suffix, or more than 4 MiB.
  """
  path = Path(path)
  if path.suffix != ".py":
    raise BadPythonFile(f"{path}: give a Python file, whose name ends in .py")
  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file")
  if path.stat().st_size > MAX_SOURCE_BYTES:
    raise BadPythonFile(f"{path}: {path.stat().st_size:,} bytes, at most {MAX_SOURCE_BYTES:,} are read")
  text = path.read_bytes()
  return SourceFile(path, text, hashlib.sha256(text).hexdigest())


def load_python(path: Path | str) -> ModuleType:
  """Execute a user's Python file as a module in `sys.modules`, which dataclasses and type hints need.

  Every network that it registers is checked against the contract.

  Args:
    path: an experiment, or a file of networks.
  Raises:
    FileNotFoundError: the file does not exist.
    BadPythonFile: it cannot be read, or raises an error; the message names file, line and error.
    BrokenContract: see `check_network`.
  """
  source = read_source(path)
  name = f"jaxface_file_{re.sub(r'[^0-9A-Za-z]', '_', source.path.stem)}_{source.sha256[:12]}"
  module = ModuleType(name)
  module.__file__ = str(source.path)
  registry.network_modules()
  with registry.undone_on_error():
    earlier = sys.modules.get(name)
    sys.modules[name], _SOURCES[name] = module, source
    try:
      exec(compile(source.text, str(source.path), "exec", dont_inherit=True), module.__dict__)
      for network in networks_of(module):
        check_network(network)
    except BrokenContract:
      _forget(name, earlier)
      raise
    except Exception as error:
      _forget(name, earlier)
      raise BadPythonFile(f"{_place(source.path, error)}: {type(error).__name__}: {error}") from error
  return module


def load_networks(path: Path | str) -> list[str]:
  """Execute a file of networks, and return the names that it registers.

  Raises:
    BadPythonFile: it registers none, or see `load_python`.
  """
  names = networks_of(load_python(path))
  if not names:
    raise BadPythonFile(
      f"{path}: registers no network: put the line `@register` (from jaxface.models.registry import register) above the"
      " function that builds it"
    )
  return names


def networks_of(module: ModuleType) -> list[str]:
  """Names of the networks that a module registered."""
  return [name for name in registry.list_models() if registry.builder_of(name).__module__ == module.__name__]


def source_of(name: str) -> SourceFile | None:
  """The file that defined a registered network; None for networks of jaxface, and if there is no file (a notebook)."""
  builder = registry.builder_of(name)
  if not is_own(name):
    return None
  if builder.__module__ in _SOURCES:
    return _SOURCES[builder.__module__]
  try:
    return read_source(inspect.getsourcefile(inspect.unwrap(builder)) or "")
  except (OSError, TypeError, BadPythonFile):
    return None


def loaded_files() -> dict[str, str]:
  """SHA-256 in hex, by name, of the user's files that were executed in this process: experiments and networks."""
  return {source.path.name: source.sha256 for source in _SOURCES.values()}


def is_own(name: str) -> bool:
  """Whether a registered network is user-defined, not jaxface's."""
  return not registry.builder_of(name).__module__.startswith("jaxface.models.")


def own_networks(name: str, options: dict[str, Any]) -> list[str]:
  """The user-defined networks in a network: itself, and those named in its options, as in `projected`."""
  known = registry.list_models()
  named = [name, *(value for value in options.values() if isinstance(value, str))]
  return [network for network in dict.fromkeys(named) if network in known and is_own(network)]


def check_network(name: str) -> None:
  """Reject a registered network that violates the contract of docs/own_network.md, by abstract evaluation.

  Raises:
    BrokenContract: the message says what is missing, and the line to add.
  """
  where = f"network {name!r}"
  for option, parameter in inspect.signature(registry.builder_of(name)).parameters.items():
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
      raise BrokenContract(f"{where}: write its options out instead of *{option}, so that each has a name and a default")
    if parameter.default is parameter.empty:
      raise BrokenContract(f"{where}: option {option!r} has no default: write `{option}: ... = VALUE` in `def {name}(...)`")
  module: Any = registry.create(name)
  kind = type(module).__name__
  if not isinstance(module.convention, Preprocess):
    raise BrokenContract(
      f"{where}: {kind}.convention is a {type(module.convention).__name__}, expected a Preprocess: write `{_CONVENTION}`"
    )
  height, width = module.convention.size
  shape = (2, height, width, module.convention.channels)
  image = jax.ShapeDtypeStruct(shape, jnp.float32)
  try:
    variables = abstract_variables(module, shape)
    result = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, image)
    jax.eval_shape(
      lambda v, x, key: module.apply(v, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}), variables, image,
      abstract_key(),
    )
  except Exception as error:
    raise BrokenContract(
      f"{where}: calling {kind} on images {list(shape)} with train=False and train=True fails"
      f" ({_place(None, error)}{type(error).__name__}: {error}); its method is `{_CALL}`, under @nn.compact, and it draws random"
      " numbers from the key 'dropout' only"
    ) from error
  others = sorted(set(variables) - set(COLLECTIONS))
  if others:
    raise BrokenContract(f"{where}: {kind} keeps variables in {others[0]!r}: a model keeps {' and '.join(COLLECTIONS)} only")
  size = registry.model_options(name).get("embedding_size")
  found = getattr(result, "shape", None)
  if found is None or len(found) != 2 or found[0] != 2 or not jnp.issubdtype(result.dtype, jnp.floating):
    shown = "something other than one array" if found is None else f"{result.dtype} {list(found)}"
    raise BrokenContract(
      f"{where}: {kind} gives {shown} for images {list(shape)}, expected floats [2, D]: end it with"
      " `nn.Dense(self.embedding_size)(x.reshape(x.shape[0], -1))`"
    )
  if size is not None and found[1] != size:
    raise BrokenContract(
      f"{where}: {kind} gives embeddings of {found[1]}, but its option embedding_size is {size}: end it with"
      " `nn.Dense(self.embedding_size)(...)`"
    )


def _forget(name: str, earlier: ModuleType | None) -> None:
  sys.modules.pop(name)
  if earlier is not None:
    sys.modules[name] = earlier


def _place(path: Path | None, error: Exception) -> str:
  """File and line of an error in a user's file, from the innermost frame in it."""
  if path is not None and isinstance(error, SyntaxError) and error.filename == str(path):
    return f"{path}, line {error.lineno}"
  frames = traceback.extract_tb(error.__traceback__)
  files = {str(path)} if path is not None else {str(source.path) for source in _SOURCES.values()}
  lines = [f"{frame.filename}, line {frame.lineno}" for frame in frames if frame.filename in files]
  if lines:
    return lines[-1] if path is not None else f"{lines[-1]}: "
  return str(path) if path is not None else ""


__all__ = [
  "BadPythonFile",
  "BrokenContract",
  "SourceFile",
  "check_network",
  "is_own",
  "load_networks",
  "load_python",
  "loaded_files",
  "networks_of",
  "own_networks",
  "read_source",
  "source_of",
]
