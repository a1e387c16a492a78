"""Initialises a run from a saved network."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxface.checkpoint import check_same_leaves
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.models.config import DEFAULT_NETWORK, ModelConfig
from jaxface.models.description import Description, describe_model
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import count_parameters, load_model
from jaxface.models.take_over import differing, take_over
from jaxface.training.state import TrainState

# Describes the run's `model.init_from` next to its checkpoints, for resuming after that model was deleted.
ORIGIN_FILE = "init_from.json"


@dataclass(frozen=True)
class Begun:
  """An initial state.

  Attributes:
    state: the state, with the variables of the saved network.
    lines: notes on which variables were loaded and which are new.
  """

  state: TrainState
  lines: list[str]


def resolve_model(config: ModelConfig, folder: Path) -> ModelConfig:
  """`config` with missing values filled in from `model.init_from`; see `jaxface.models.take_over`.

  Args:
    config: model config of the run.
    folder: workdir of the run, which keeps a description of the saved network for resuming.
  Raises:
    FileNotFoundError: there is no model at `model.init_from`, and the run has not started.
    Contradiction: a field of the config differs from that network's.
  """
  if not config.init_from:
    return replace(config, name=config.name or DEFAULT_NETWORK)
  try:
    origin = describe_model(config.init_from)
  except FileNotFoundError:
    kept = _kept_origin(folder)
    if kept is None or kept.path != config.init_from:
      raise
    origin = kept
  return take_over(config, origin)


def keep_origin(path: str, folder: Path) -> None:
  """Write a description of `model.init_from` next to the checkpoints of a run."""
  origin = describe_model(path)
  write_checked_json(folder / ORIGIN_FILE, {**asdict(origin), "preprocess": origin.preprocess.to_json()})


def _kept_origin(folder: Path) -> Description | None:
  file = folder / ORIGIN_FILE
  if not file.is_file():
    return None
  plain = read_checked_json(file)
  return Description(**{**plain, "preprocess": Preprocess.from_json(plain["preprocess"])})


def begin_from(
  path: str, state: TrainState, preprocess: Preprocess, grows_from: tuple[str, ...] = ()
) -> Begun:
  """The initial state with a saved network's variables instead of random ones.

  If the network has a submodule "frozen" and the saved one has not, the variables are loaded there, otherwise into the full
  network. A network that grows from the saved one keeps random values for layers that the saved one lacks. The running
  average of parameters starts from the loaded values too; terms and optimizer are not changed.

  Args:
    path: model directory, or workdir of a run.
    state: the state before the first step.
    preprocess: input convention of the run.
    grows_from: names of networks whose layers are a subset of this one's, under the same paths: `grows_from` of its class.
  Raises:
    ValueError: the saved network has another input convention; the message names the fields that differ.
    WrongCheckpoint: it is another network; the message names the first leaf that differs.
  """
  saved = load_model(path)
  if differs := differing(preprocess, saved.preprocess):
    raise ValueError(f"model.init_from {path}: its network expects other images than this run provides: {'; '.join(differs)}")
  model = state.params["model"]
  inside = "frozen" in model and "frozen" not in saved.variables["params"]

  def exchange(collection: str, tree: Any) -> Any:
    target = tree.get("frozen", {}) if inside else tree
    have, want = flatten_dict(saved.variables.get(collection, {})), flatten_dict(target)
    expected = {name: leaf for name, leaf in want.items() if name in have} if saved.name in grows_from else want
    where = f"model.init_from {path}, {collection}"
    check_same_leaves(unflatten_dict(have), unflatten_dict(expected), where=where)
    new = unflatten_dict({**want, **have})
    return {**tree, "frozen": new} if inside and new else new

  variables = {"params": exchange("params", model), "batch_stats": exchange("batch_stats", state.batch_stats)}
  return Begun(with_network(state, variables), [f"model.init_from {path}: {_took(saved.name, saved.variables['params'], model)}"])


def _took(name: str, taken: Any, model: Any) -> str:
  """Number of parameters loaded from the saved network, and the modules that are new."""
  count, whole = count_parameters(taken), count_parameters(model)
  if count == whole:
    return f"all {count:,} parameters are loaded from its {name}"
  have = flatten_dict(taken).keys()
  left = [path for path in flatten_dict(model) if path not in have and not (path[0] == "frozen" and path[1:] in have)]
  modules = list(dict.fromkeys("/".join(path[:-1]) for path in left))
  return f"{count:,} of {whole:,} parameters are loaded from its {name}; new: {', '.join(modules)}"


def with_network(state: TrainState, variables: Any) -> TrainState:
  """An initial state with other variables of the network, sharded like the given state; the running average starts from them."""
  params = {**state.params, "model": variables["params"]}
  batch_stats = variables.get("batch_stats", {})
  average = None if state.ema is None else {"params": params["model"], "batch_stats": batch_stats}
  new = state._replace(params=params, batch_stats=batch_stats, ema=average)
  # Copies: a donated state must not hold one buffer twice.
  copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state))
  return copy(new)


__all__ = ["ORIGIN_FILE", "Begun", "begin_from", "keep_origin", "resolve_model", "with_network"]
