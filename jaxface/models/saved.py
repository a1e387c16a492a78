"""A model directory: a network's variables beside everything that is needed to use them.

```
model.json      what it is: network, options, input convention, sizes, source, versions
card.md         the same as text, with licence and origin
variables/      parameters and batch statistics
network_NAME.py the source of a network of your own; never executed by loading the folder (docs/own_network.md)
```
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxface import __version__
from jaxface.checkpoint import check_same_leaves, load_tree, save_tree
from jaxface.formats.atomic import atomic_directory, write_json, write_text
from jaxface.models.card import model_card
from jaxface.models.kept_source import check_sources, keep_sources
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import create
from jaxface.models.watch import abstract_variables

FORMAT_VERSION = 2
_ENTRIES = {
  "format_version": int,
  "model": str,
  "options": dict,
  "preprocess": dict,
  "embedding_size": int,
  "parameters": int,
  "meta": dict,
}


class DamagedModel(ValueError):
  """A model directory that cannot be used; the message names the file and what is wrong in it."""


@dataclass(frozen=True, eq=False)
class SavedModel:
  """A network with its numbers.

  Attributes:
    name: of the network, as `jaxface.models.registry.create` takes it.
    options: of the network; plain JSON values.
    preprocess: what its input must be; names the alignment template too.
    variables: {"params": ..., "batch_stats": ...}.
    meta: where it comes from, training figures and the like; plain JSON values.
  """

  name: str
  options: dict[str, Any]
  preprocess: Preprocess
  variables: dict[str, Any]
  meta: dict[str, Any] = field(default_factory=dict)

  @cached_property
  def module(self) -> nn.Module:
    """The network itself."""
    return create(self.name, **self.options)

  @cached_property
  def embed(self) -> Callable[[dict[str, Any], Array], Array]:
    """Pure function (variables, image [B, H, W, C] uint8 or float in 0..255) to embeddings [B, D] float32.

    Preprocessing included, not normalised, not jitted; the same function each time it is asked for, so that a
    `jax.jit` of it compiles once.
    """
    module, preprocess = self.module, self.preprocess

    def embed(variables: dict[str, Any], image_bhwc: Array) -> Array:
      return jnp.asarray(module.apply(variables, preprocess.apply(image_bhwc), train=False), jnp.float32)

    return embed

  @property
  def embedding_size(self) -> int:
    """Length of an embedding."""
    image = jax.ShapeDtypeStruct((1, *self.preprocess.size, self.preprocess.channels), jnp.float32)
    return jax.eval_shape(self.embed, self.variables, image).shape[-1]


def variable_shapes(name: str, options: dict[str, Any], preprocess: Preprocess | None = None) -> dict[str, Any]:
  """Shapes of a network's variables for its own input convention or another one, without computing anything."""
  module = create(name, **options)
  preprocess = module.convention if preprocess is None else preprocess
  return abstract_variables(module, (1, *preprocess.size, preprocess.channels))


def count_parameters(params: Any) -> int:
  """How many numbers a tree holds."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def save_model(path: Path | str, saved: SavedModel) -> None:
  """Write a model directory; it appears whole or not at all, and replaces an older one.

  Raises:
    FileExistsError: `path` is there and is not a model directory.
    WrongCheckpoint: the variables are not those of the network; names the first leaf that differs.
  """
  variables = {key: saved.variables[key] for key in ("params", "batch_stats") if key in saved.variables}
  check_same_leaves(
    variables, variable_shapes(saved.name, saved.options, saved.preprocess), where="model to save"
  )
  path = Path(path)
  # A folder cannot be renamed over a full one: an older model steps aside once the new one is whole.
  older = path.with_name(f".{path.name}.older") if (path / "model.json").is_file() else None
  target = path if older is None else path.with_name(f".{path.name}.newer")
  shutil.rmtree(path.with_name(f".{path.name}.newer"), ignore_errors=True)
  with atomic_directory(target) as folder:
    save_tree(folder / "variables", variables)
    parameters = count_parameters(variables["params"])
    write_text(folder / "card.md", model_card(
      saved.name, saved.options, saved.preprocess, embedding_size=saved.embedding_size, parameters=parameters, meta=saved.meta
    ))
    write_json(
      folder / "model.json",
      {
        "format_version": FORMAT_VERSION,
        "model": saved.name,
        "options": saved.options,
        "preprocess": saved.preprocess.to_json(),
        "embedding_size": saved.embedding_size,
        "parameters": parameters,
        "versions": {"jaxface": __version__, "jax": jax.__version__, "flax": flax.__version__},
        "meta": saved.meta,
        **keep_sources(folder, saved.name, saved.options),
      },
    )
  if older is not None:
    shutil.rmtree(older, ignore_errors=True)
    path.rename(older)
    target.rename(path)
    shutil.rmtree(older, ignore_errors=True)


def card_of(path: Path | str) -> str:
  """Text of a model directory's card, or of the one in a workdir; reads no variables, and needs no network.

  Raises:
    FileNotFoundError, DamagedModel: see `load_model`.
  """
  path = _folder(path)
  plain = _read(path / "model.json")
  try:
    return model_card(
      plain["model"], plain["options"], Preprocess.from_json(plain["preprocess"]),
      embedding_size=plain["embedding_size"], parameters=plain["parameters"], meta=plain["meta"],
    )
  except ValueError as error:
    raise DamagedModel(f"{path / 'model.json'}: {error}") from error


def load_model(path: Path | str) -> SavedModel:
  """Read a model directory, or the subfolder `model` of a training's workdir.

  Raises:
    FileNotFoundError: no model.json there.
    DamagedModel: model.json is not what `save_model` writes; names the entry.
    MissingNetwork: its network is none that is registered; says which file to give.
    WrongCheckpoint: the variables are of another network than model.json says; names the first leaf that
      differs, with both shapes.
  """
  path = _folder(path)
  file = path / "model.json"
  plain = _read(file)
  check_sources(path, plain)
  try:
    preprocess = Preprocess.from_json(plain["preprocess"])
    expected = variable_shapes(plain["model"], plain["options"], preprocess)
  except (TypeError, ValueError) as error:
    raise DamagedModel(f"{file}: {error}") from error
  variables = load_tree(path / "variables")
  check_same_leaves(
    variables, expected, where=f"{path / 'variables'} for {plain['model']} {plain['options']}"
  )
  return SavedModel(plain["model"], plain["options"], preprocess, variables, plain["meta"])


def _folder(path: Path | str) -> Path:
  path = Path(path)
  if not (path / "model.json").is_file() and (path / "model").is_dir():
    path = path / "model"
  if not (path / "model.json").is_file():
    raise FileNotFoundError(
      f"{path / 'model.json'}: no such file: {path} is neither a model directory nor a workdir with one"
    )
  return path


def _read(file: Path) -> dict[str, Any]:
  try:
    plain = json.loads(file.read_text(encoding="utf-8"))
  except ValueError as error:
    raise DamagedModel(f"{file}: not JSON: {error}") from error
  if not isinstance(plain, dict):
    raise DamagedModel(f"{file}: holds a {type(plain).__name__}, expected an object")
  if plain.get("format_version") != FORMAT_VERSION:
    raise DamagedModel(
      f"{file}: format_version {plain.get('format_version')!r}, this release reads {FORMAT_VERSION}"
    )
  for key, kind in _ENTRIES.items():
    if not isinstance(plain.get(key), kind):
      raise DamagedModel(f"{file}: entry {key!r} is {plain.get(key)!r}, expected {kind.__name__}")
  return plain


__all__ = ["DamagedModel", "SavedModel", "card_of", "count_parameters", "load_model", "save_model", "variable_shapes"]
