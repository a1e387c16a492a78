"""Networks by name: the name of the registered function is the public one."""

import difflib
import fnmatch
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import flax.linen as nn

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
  """Decorator: make `builder` available to `create` under its own name."""
  if builder.__name__ in _BUILDERS:
    raise ValueError(f"two networks are called {builder.__name__!r}")
  _BUILDERS[builder.__name__] = builder
  return builder


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


def model_options(name: str) -> dict[str, Any]:
  """Options that network `name` takes, with their defaults.

  Raises:
    ValueError: no such network; the message lists near names and all names.
  """
  if name not in _builders():
    raise ValueError(unknown("model", name, list_models()))
  return {key: p.default for key, p in inspect.signature(_BUILDERS[name]).parameters.items()}


def create(name: str, **options: Any) -> nn.Module:
  """Build a network.

  Args:
    name: one of `list_models()`.
    options: at least `embedding_size`, `dtype` ("float32" or "bfloat16"), `remat` and `dropout` are taken by
      every network; a list (from JSON) serves as a tuple.
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
  return _BUILDERS[name](**plain)


__all__ = ["create", "list_models", "model_options", "register", "room_files", "unknown", "variant"]
