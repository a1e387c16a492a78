"""A model directory: the variables of a network and all metadata needed to use them.

```
model.json           network, options, input convention, sizes, source, versions, name of the variables folder; with a checksum
variables-DIGEST/    parameters and batch statistics, named by their content
card.md              the same as text, with licence and origin
threshold.json       the threshold, if one was measured (`jaxface threshold`); with a checksum
network_NAME.py      the source of a network of your own (network_NAME-DIGEST.py once it has changed); never executed by loading
                     the folder (docs/own_network.md)
```
A new model is written next to the old one, and `model.json`, which is replaced atomically, refers to the current one: the folder
contains a complete model at all times. (Folders of format 2 have no digest: their variables are in `variables/`.)
"""

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

# The package, not its names, which are loaded where they are used: building a network needs no Orbax.
from jaxface import __version__, checkpoint
from jaxface.formats.atomic import atomic_directory, sync_folder, write_text
from jaxface.formats.checked_json import write_checked_json
from jaxface.formats.threshold import Threshold
from jaxface.models.description import (
  FILE,
  FORMAT_VERSION,
  DamagedModel,
  card_text,
  model_folder,
  parse_description,
)
from jaxface.models.digests import model_digest, variables_digest
from jaxface.models.kept_source import check_sources, drop_sources, keep_sources
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import create, full_name
from jaxface.models.watch import abstract_variables

# Attempts to read a model that is being replaced concurrently.
_TRIES = 20
_KEPT = ("params", "batch_stats")  # collections of variables


@dataclass(frozen=True, eq=False)
class SavedModel:
  """A network with its variables.

  Attributes:
    name: name of the network, for `jaxface.models.registry.create`.
    options: options of the network; plain JSON values.
    preprocess: its input convention, including the alignment template.
    variables: {"params": ..., "batch_stats": ...}.
    meta: provenance, training figures and similar; plain JSON values.
    threshold: the one measured for a model that this one was made from; `own_threshold` is None if it does not hold any more.
  """

  name: str
  options: dict[str, Any]
  preprocess: Preprocess
  variables: dict[str, Any]
  meta: dict[str, Any] = field(default_factory=dict)
  threshold: Threshold | None = None

  def __post_init__(self) -> None:
    object.__setattr__(self, "name", full_name(self.name))

  @cached_property
  def module(self) -> nn.Module:
    """The network."""
    return create(self.name, **self.options)

  @cached_property
  def embed(self) -> Callable[[dict[str, Any], Array], Array]:
    """Pure function (variables, image [B, H, W, C] uint8 or float in 0..255) to embeddings [B, D] float32.

    Includes preprocessing; embeddings are not normalised and the function is not jitted. Always returns the same function
    object, so that a `jax.jit` of it compiles once.
    """
    module, preprocess = self.module, self.preprocess

    def embed(variables: dict[str, Any], image_bhwc: Array) -> Array:
      return jnp.asarray(module.apply(variables, preprocess.apply(image_bhwc), train=False), jnp.float32)

    return embed

  @cached_property
  def digest(self) -> str:
    """16 hex digits over everything that embeddings depend on: network, options, input convention, variables."""
    variables = {key: self.variables[key] for key in _KEPT if key in self.variables}
    return model_digest(self.name, self.options, self.preprocess, variables_digest(variables))

  @property
  def own_threshold(self) -> Threshold | None:
    """The threshold, if there is one and it was measured with exactly this network, convention and these variables."""
    return self.threshold if self.threshold and self.threshold.model_digest == self.digest else None

  @property
  def embedding_size(self) -> int:
    """Length of an embedding."""
    image = jax.ShapeDtypeStruct((1, *self.preprocess.size, self.preprocess.channels), jnp.float32)
    return jax.eval_shape(self.embed, self.variables, image).shape[-1]


def variable_shapes(name: str, options: dict[str, Any], preprocess: Preprocess | None = None) -> dict[str, Any]:
  """Shapes of a network's variables for its own or another input convention, by abstract evaluation."""
  module = create(name, **options)
  preprocess = module.convention if preprocess is None else preprocess
  return abstract_variables(module, (1, *preprocess.size, preprocess.channels))


def count_parameters(params: Any) -> int:
  """Number of elements in a tree."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def save_model(path: Path | str, saved: SavedModel) -> None:
  """Write a model directory atomically; replaces an older one in one step.

  A process killed here leaves the old model unchanged, or the new one complete, and at most a folder of variables, a source
  file and a temporary file, which the next call removes. One process may write at a time; any number may read.

  Raises:
    FileExistsError: `path` exists and is not a model directory.
    WrongCheckpoint: the variables are not those of the network; names the first leaf that differs.
  """
  variables: dict[str, Any] = {key: saved.variables[key] for key in _KEPT if key in saved.variables}
  checkpoint.check_same_leaves(
    variables, variable_shapes(saved.name, saved.options, saved.preprocess), where="model to save"
  )
  path, name = Path(path), f"variables-{variables_digest(variables)}"
  description = {
    "format_version": FORMAT_VERSION,
    "model": saved.name,
    "options": saved.options,
    "preprocess": saved.preprocess.to_json(),
    "embedding_size": saved.embedding_size,
    "parameters": count_parameters(variables["params"]),
    "variables": name,
    "versions": {"jaxface": __version__, "jax": jax.__version__, "flax": flax.__version__},
    "meta": saved.meta,
  }
  if not (path / FILE).is_file():
    with atomic_directory(path) as folder:
      checkpoint.save_tree(folder / name, variables)
      _describe(folder, description)
    return
  if not checkpoint.is_undamaged(path / name):  # identical variables are already stored
    checkpoint.save_tree(path / name, variables)
    sync_folder(path)
  drop_sources(path, _describe(path, description))
  for left in (*path.glob("variables*"), *path.glob(".*.tmp")):
    if left.is_file():
      left.unlink(missing_ok=True)
    elif left.name != name:
      shutil.rmtree(left, ignore_errors=True)


def _describe(folder: Path, description: dict[str, Any]) -> dict[str, Any]:
  """Write the sources of user-defined networks and `model.json`, which activates the new model, then the card.

  Returns what `keep_sources` does. A process killed before the card leaves the old text, which the next call replaces.
  """
  sources = keep_sources(folder, description["model"], description["options"])
  write_checked_json(folder / FILE, {**description, **sources})
  write_text(folder / "card.md", card_text(description))
  return sources


def load_model(path: Path | str) -> SavedModel:
  """Read a model directory, or the subfolder `model` of a workdir.

  Raises:
    FileNotFoundError: no model.json there.
    DamagedModel: model.json is damaged or not valid, or a file of the variables is damaged; names the entry or the file.
    MissingNetwork: its network is not registered; says which file to give.
    WrongCheckpoint: the variables do not match the network in model.json; names the first leaf that differs,
      with both shapes.
  """
  path = model_folder(path)
  file = path / FILE
  for _ in range(_TRIES):
    text = file.read_bytes()
    try:
      saved = _load(file, text)
    except Exception:
      # Another process is replacing the model and removing the old variables.
      if file.read_bytes() == text:
        raise
    else:
      if file.read_bytes() == text:
        return saved
  raise DamagedModel(f"{file}: was replaced {_TRIES} times while it was being read: another process keeps writing it")


def _load(file: Path, text: bytes) -> SavedModel:
  path, plain = file.parent, parse_description(file, text)
  check_sources(path, plain)
  try:
    preprocess = Preprocess.from_json(plain["preprocess"])
    expected = variable_shapes(plain["model"], plain["options"], preprocess)
  except (TypeError, ValueError) as error:
    raise DamagedModel(f"{file}: {error}") from error
  folder = file.parent / plain.get("variables", "variables")
  try:
    variables = checkpoint.load_tree(folder)
  except checkpoint.DamagedCheckpoint as error:
    raise DamagedModel(f"{error}; copy the model again, or let the run that made it save it anew") from error
  if not checkpoint.has_checksums(folder) and (digest := folder.name.partition("-")[2]) and digest != variables_digest(variables):
    raise DamagedModel(f"{folder}: the numbers in it are not those that were written: their digest differs from its name")
  checkpoint.check_same_leaves(variables, expected, where=f"{folder} for {plain['model']} {plain['options']}")
  return SavedModel(plain["model"], plain["options"], preprocess, variables, plain["meta"])


__all__ = ["SavedModel", "count_parameters", "load_model", "save_model", "variable_shapes"]
