"""Networks by name: the name of the registered function is the public name."""

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
_UNLISTED: set[str] = set()
# Papers with several networks: the one that the paper's name stands for (docs/papers.md says why).
PAPERS = {"facenet": "facenet_nn2", "lightcnn": "lightcnn29", "sphereface": "sphereface20", "vggface": "vggface_d"}


def register_unlisted(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
  """`register` for a network that gives no embeddings: `create` knows it, `list_models` does not name it."""
  _UNLISTED.add(builder.__name__)
  return register(builder)


def register(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
  """Decorator: make `builder` available to `create` under its own name.

  docs/own_network.md describes the contract of a network. Registering one again from the same file replaces it.

  Raises:
    ValueError: another network has this name.
  """
  if builder.__name__ in PAPERS:
    raise ValueError(f"network name {builder.__name__!r} stands for {PAPERS[builder.__name__]!r}: use another name")
  if not builder.__module__.startswith("jaxface.models."):
    network_modules()  # registers our networks, so that a name of ours is rejected here
  name = builder.__name__
  if name in _BUILDERS and _origin(_BUILDERS[name]) & _origin(builder) == set():
    other = ", ".join(sorted(_origin(_BUILDERS[name])))
    raise ValueError(f"network name {name!r} is already registered in {other}: use another name")
  _BUILDERS[name] = builder
  return builder


def _origin(builder: Callable[..., nn.Module]) -> set[str]:
  """Identifies a builder among those of the same name: its module and its file."""
  code = getattr(inspect.unwrap(builder), "__code__", None)
  return {builder.__module__} | ({code.co_filename} if code else set())


@contextlib.contextmanager
def undone_on_error() -> Iterator[None]:
  """Undoes registrations made inside if an exception is raised."""
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
  """Decorator: register `base` with some of its options fixed.

  The decorated function gives the name and the docstring.

  Args:
    base: the builder; its parameters are the options.
    defaults: options with another default than in `base`.
    given: options that are fixed.
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
def network_modules() -> tuple[ModuleType, ...]:
  """All modules of `jaxface.models`; any of them may register networks."""
  package = importlib.import_module("jaxface.models")
  return tuple(importlib.import_module(f"{package.__name__}.{file.name}") for file in pkgutil.iter_modules(package.__path__))


def _builders() -> dict[str, Callable[..., nn.Module]]:
  network_modules()
  return _BUILDERS


def list_models(pattern: str = "*") -> list[str]:
  """Names of the registered embedding networks that match a shell pattern, sorted."""
  return sorted(set(fnmatch.filter(_builders(), pattern)) - _UNLISTED)


def unknown(kind: str, name: str, valid: list[str]) -> str:
  """Error text for an unknown name: similar names first, then all."""
  near = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
  hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
  return f"no {kind} {name!r}.{hint} Available: {', '.join(valid)}."


def full_name(name: str) -> str:
  """The registered name that a paper's name stands for; any other name unchanged."""
  return PAPERS.get(name, name)


def builder_of(name: str) -> Callable[..., nn.Module]:
  """The registered function of a network.

  Raises:
    ValueError: no such network; the message lists similar names and all names.
  """
  name = full_name(name)
  if name not in _builders():
    raise ValueError(unknown("model", name, list_models()) + " For a user-defined network give its file with --network FILE.")
  return _BUILDERS[name]


def model_options(name: str) -> dict[str, Any]:
  """Options that network `name` takes, with their defaults.

  Raises:
    ValueError: no such network; the message lists similar names and all names.
  """
  return {key: p.default for key, p in inspect.signature(builder_of(name)).parameters.items()}


def family(name: str) -> str:
  """The file of `jaxface.models` that registers network `name`, such as "iresnet"."""
  return builder_of(name).__module__.rpartition(".")[2]


def create(name: str, **options: Any) -> nn.Module:
  """Build a network.

  Args:
    name: one of `list_models()`, or the name of a paper ("facenet", "lightcnn", "sphereface", "vggface"; docs/papers.md).
    options: all networks of jaxface take at least `embedding_size`, `dtype` ("float32" or "bfloat16"), `remat` and
      `dropout`; a list (from JSON) is converted to a tuple.
  Returns:
    A Linen module; `module.apply(variables, image_bhwc, train=False)` gives [B, embedding_size] float32, and
    `module.convention` is the `Preprocess` of its paper.
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
  module = builder_of(name)(**plain)
  if not isinstance(module, nn.Module):
    raise ValueError(f"network {name!r}: its function returns a {type(module).__name__}, expected a flax.linen.Module")
  if getattr(module, "convention", None) is None:
    kind = type(module).__name__
    raise ValueError(
      f"network {name!r}: class {kind} has no convention, which describes its input; add the line"
      ' `convention: ClassVar[Preprocess] = get_preprocess("unit", size=112)` (from typing import ClassVar; from'
      " jaxface.models.preprocess import Preprocess, get_preprocess)"
    )
  return module


def with_taken(name: str, **options: Any) -> dict[str, Any]:
  """The subset of options that a network takes: `dtype` and `remat` are optional in a network of your own."""
  valid = model_options(name)
  return {key: value for key, value in options.items() if key in valid}


__all__ = [
  "PAPERS", "builder_of", "create", "family", "full_name", "list_models", "model_options", "network_modules", "register",
  "register_unlisted", "undone_on_error", "unknown", "variant", "with_taken",
]
