"""The device mesh and the sharding of each array of a run.

The batch is sharded over all devices. So are class centres and the optimizer's state for them, by class. All else is replicated.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.checkpoint import leaf_name
from jaxface.layers.members import members_of
from jaxface.training.arrange import arrange
from jaxface.training.config import MeshConfig
from jaxface.training.fsdp import fsdp_spec
from jaxface.training.hosts import join_hosts

Tree = Any


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A mesh of the devices that the config asks for, with the axis "data".

  Args:
    config: how many devices, and how processes find each other.
    devices: to choose from; None for all that JAX lists. Those of a topology that is not here serve to compile for it.
  Raises:
    ValueError: more devices than there are, or slices that do not divide them.
  """
  join_hosts(config)
  devices = jax.devices() if devices is None else devices
  count = config.devices or len(devices)
  if count > len(devices):
    raise ValueError(f"mesh.devices is {count}, but there are {len(devices)} devices: {devices}")
  if count < len(devices) and jax.process_count() > 1:
    raise ValueError(f"mesh.devices is {count} of {len(devices)}: several hosts use all their devices, set it to 0")
  return Mesh(arrange(devices[:count], config.slices), ("data",), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Sharding of each array of a batch: the first axis over all devices."""
  return NamedSharding(mesh, P(mesh.axis_names))


def class_axis(path: tuple, leaf: Any) -> int | None:
  """Which axis of a leaf counts classes; None if none does.

  A leaf below a key that starts with "center" is a matrix of class centres [C, D], a leaf bias_c has the biases of the classes [C],
  and the optimizer's state for them has the same names. For the members of an ensemble an axis precedes. A layer of the network
  with such a name is none.
  """
  names = path_names(path)
  if names[0] == "class_counts":
    return 0
  if names[0] == "batch_stats" or of_network(path):
    return None
  axis = 0 if members_of(path) is None else 1
  least = axis + 1 if names[-1] == "bias_c" else axis + 2 if any(name.startswith("center") for name in names) else None
  return axis if least is not None and len(leaf.shape) >= least else None


def term_of(path: tuple) -> int | None:
  """Number of the term that a leaf of the state belongs to: its parameters, its state, or the optimizer's state for it."""
  names = path_names(path)
  for name, following in itertools.pairwise(names):
    if name == "model":
      return None
    if name == "terms" and following.isdigit():
      return int(following)
  return None


def path_names(path: tuple) -> list[str]:
  """Names along the path of a leaf."""
  return leaf_name(path).split("/")


def of_network(path: tuple) -> bool:
  """Whether a leaf belongs to the network: its parameters, what the optimizer keeps for them, or the running average."""
  names = path_names(path)
  if names[0] in ("params", "optimizer"):
    return "model" in names and "terms" not in names[: names.index("model")]
  return names[0] == "ema"


def pad_classes(mesh: Mesh, tree: Tree) -> Tree:
  """Appends rows of zeros to class centres, up to a multiple of the devices.

  They are no classes: `cut_classes` removes them before a term gets its centres, so they are in no softmax and have no gradient.
  Centres that are updated by rows have their padding already (`jaxface.heads.padded_classes`).
  """

  def pad(path: tuple, leaf: Array) -> Array:
    axis = class_axis(path, leaf)
    lacking = 0 if axis is None else -leaf.shape[axis] % mesh.size
    return jnp.pad(leaf, [(0, lacking * (each == axis)) for each in range(leaf.ndim)]) if lacking else leaf

  return jax.tree_util.tree_map_with_path(pad, tree)


def cut_classes(tree: Tree, like: Tree) -> Tree:
  """Undoes `pad_classes`: leaves with the shapes of `like`. No row moves to another device."""
  return jax.tree.map(lambda leaf, shape: leaf if leaf.shape == shape.shape else leaf[tuple(map(slice, shape.shape))], tree, like)


def class_shapes(state: Tree) -> dict[str, tuple[int, ...]]:
  """Shape of each leaf that has an axis of classes, by its name in a checkpoint."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return {
    leaf_name(path): tuple(leaf.shape)
    for path, leaf in leaves if class_axis(path, leaf) is not None
  }


def unpadded_shapes(state: Tree, terms: Sequence[tuple[Tree, Tree]], num_classes: int) -> dict[str, tuple[int, ...]]:
  """Shape without padding of each leaf with an axis of classes, by its name in a checkpoint.

  Args:
    state: shapes of a `TrainState`.
    terms: shapes of each term's parameters and state without padding.
    num_classes: C.
  """
  real = {
    f"{index}/{leaf_name(path)}": tuple(leaf.shape)
    for index, own in enumerate(terms) for part in own for path, leaf in jax.tree_util.tree_leaves_with_path(part)
  }

  def shape(name: str, found: tuple[int, ...]) -> tuple[int, ...]:
    return (num_classes,) if name.startswith("class_counts/") else real.get(name.rpartition("terms/")[2], found)

  return {name: shape(name, found) for name, found in class_shapes(state).items()}


def state_sharding(mesh: Mesh, state: Tree, whole: Collection[int] = (), *, fsdp: bool = False) -> Tree:
  """A `NamedSharding` for every leaf: classes over all devices, everything else replicated.

  With `fsdp`, large arrays of the network, of the optimizer and of the running average are sharded over all devices, see
  `jaxface.training.fsdp`.

  Args:
    mesh: from `make_mesh`.
    state: arrays or shapes; see `class_axis`.
    whole: numbers of the terms whose centres are replicated, too.
    fsdp: see `MeshConfig`.
  Raises:
    ValueError: the number of rows of centres is not a multiple of the devices (`pad_classes`).
  """

  def place(path: tuple, leaf: Any) -> NamedSharding:
    axis = class_axis(path, leaf)
    if fsdp and of_network(path):
      return NamedSharding(mesh, fsdp_spec(mesh, leaf.shape))
    if mesh.size == 1 or axis is None or term_of(path) in whole:
      return NamedSharding(mesh, P())
    if leaf.shape[axis] % mesh.size:
      raise ValueError(
        f"the {leaf.shape[axis]} class centres of {leaf_name(path)} are not a multiple of the {mesh.size} devices: they need padding (pad_classes)"
      )
    return NamedSharding(mesh, P(*[None] * axis, mesh.axis_names))

  return jax.tree_util.tree_map_with_path(place, state)
