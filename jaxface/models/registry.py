"""Networks by name: the name of the registered function is the public one."""

import contextlib
import difflib
import fnmatch
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import flax.linen as nn

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
  """Decorator: make `builder` available to `create` under its own name.

  What a network must offer stands in docs/own_network.md. Registering one again from the same file replaces it.

  Raises:
    ValueError: another network has this name.
  """
  if not builder.__module__.startswith("jaxface.models."):
    room_files()  # so that a name of ours is refused here, and not when ours are read
  name = builder.__name__
  if name in _BUILDERS and _origin(_BUILDERS[name]) & _origin(builder) == set():
    other = ", ".join(sorted(_origin(_BUILDERS[name])))
    raise ValueError(f"two networks are called {name!r}, the other one in {other}: give this one another name")
  _BUILDERS[name] = builder
  return builder


def _origin(builder: Callable[..., nn.Module]) -> set[str]:
  """What tells a builder from another one of its name: its module, and its file."""
  code = getattr(inspect.unwrap(builder), "__code__", None)
  return {builder.__module__} | ({code.co_filename} if code else set())


@contextlib.contextmanager
def undone_on_error() -> Iterator[None]:
  """What was registered inside is forgotten if an exception leaves."""
  before = dict(_BUILDERS)
  try:
    yield
  except BaseException:
    _BUILDERS.clear()
    _BUILDERS.update(before)
    raise


def variant(
  base: Callable[..., nn.Module], *, defaults: Mapping[str, Any] | None = None, **given: Any
) -> Callable[[Callable[[], None]], Callable[..., nn.Module]]:
  """Decorator: register a network that is `base` with some of its options given, and has the others.

  The function below it lends its name and its docstring.

  Args:
    base: the builder; its parameters are the options.
    defaults: options that stay such, with another default than `base` has.
    given: options that are settled.
  """

  def decorate(named: Callable[[], None]) -> Callable[..., nn.Module]:
    parameters = inspect.signature(base).parameters.values()
    left = [
      parameter.replace(default=(defaults or {}).get(parameter.name, parameter.default))
      for parameter in parameters if parameter.name not in given
    ]
    signature = inspect.Signature(left, return_annotation=nn.Module)

    @functools.wraps(named)
    def build(*args: Any, **options: Any) -> nn.Module:
      bound = signature.bind(*args, **options)
      bound.apply_defaults()
      return base(**given, **bound.arguments)

    build.__signature__ = signature  # type: ignore[attr-defined]
    return register(build)

  return decorate


@functools.cache
def room_files() -> tuple[ModuleType, ...]:
  """Every file of `jaxface.models`: any of them may register networks."""
  room = importlib.import_module("jaxface.models")
  return tuple(importlib.import_module(f"{room.__name__}.{file.name}") for file in pkgutil.iter_modules(room.__path__))


def _builders() -> dict[str, Callable[..., nn.Module]]:
  room_files()
  return _BUILDERS


def list_models(pattern: str = "*") -> list[str]:
  """Names of the registered networks that match a shell pattern, sorted."""
  return sorted(fnmatch.filter(_builders(), pattern))


def unknown(kind: str, name: str, valid: list[str]) -> str:
  """Text of an error about a name that does not exist: near names first, then all."""
  near = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
  hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
  return f"no {kind} {name!r}.{hint} There are: {', '.join(valid)}."


def builder_of(name: str) -> Callable[..., nn.Module]:
  """The registered function of a network.

  Raises:
    ValueError: no such network; the message lists near names and all names.
  """
  if name not in _builders():
    raise ValueError(unknown("model", name, list_models()) + " A network of your own: give its file with --network FILE.")
  return _BUILDERS[name]


def model_options(name: str) -> dict[str, Any]:
  """Options that network `name` takes, with their defaults.

  Raises:
    ValueError: no such network; the message lists near names and all names.
  """
  return {key: p.default for key, p in inspect.signature(builder_of(name)).parameters.items()}


def family(name: str) -> str:
  """The file of `jaxface.models` that registers network `name`, such as "iresnet"."""
  return builder_of(name).__module__.rpartition(".")[2]


def create(name: str, **options: Any) -> nn.Module:
  """Build a network.

  Args:
    name: one of `list_models()`.
    options: at least `embedding_size`, `dtype` ("float32" or "bfloat16"), `remat` and `dropout` are taken by
      every network of ours; a list (from JSON) serves as a tuple.
  Returns:
    A Linen module; `module.apply(variables, image_bhwc, train=False)` gives [B, embedding_size] float32, and
    `module.convention` is the `Preprocess` that its paper feeds it with.
  Raises:
    ValueError: unknown network or option; the message lists the valid ones.
  """
  valid = model_options(name)
  for key in options:
    if key not in valid:
      raise ValueError(unknown(f"option of {name}", key, sorted(valid)))
  if options.get("dtype", "float32") not in ("float32", "bfloat16"):
    raise ValueError(f"dtype of {name} is {options['dtype']!r}: takes 'float32' or 'bfloat16'")
  plain = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
  module = _BUILDERS[name](**plain)
  if not isinstance(module, nn.Module):
    raise ValueError(f"network {name!r}: its function returns a {type(module).__name__}, expected a flax.linen.Module")
  if getattr(module, "convention", None) is None:
    kind = type(module).__name__
    raise ValueError(
      f"network {name!r}: class {kind} has no convention, which says what its images are; add to it the line"
      ' `convention: ClassVar[Preprocess] = get_preprocess("unit", size=112)` (from typing import ClassVar; from'
      " jaxface.models.preprocess import Preprocess, get_preprocess)"
    )
  return module


def with_taken(name: str, **options: Any) -> dict[str, Any]:
  """Those of the options that a network takes: `dtype` and `remat` are optional in a network of your own."""
  valid = model_options(name)
  return {key: value for key, value in options.items() if key in valid}


__all__ = [
  "builder_of", "create", "family", "list_models", "model_options", "register", "room_files", "undone_on_error", "unknown", "variant",
  "with_taken",
]
