"""The device mesh and where each array of a run lies on it.

The batch is sharded over both axes, so every device works in the backbone; class centres and what the optimizer keeps
for them are sharded over "class" alone; all else is replicated.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.layers.members import members_of
from jaxface.training.config import MeshConfig
from jaxface.training.hosts import join_hosts

Tree = Any
BATCH = P(("data", "class"))
# Rows as a class-sharded head needs them: each device has the scores of its rows against its classes.
ROWS = P("data")


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A ("data", "class") mesh of the devices that the config asks for.

  Args:
    config: how many, and how they are laid out.
    devices: to choose from; None for all that JAX lists. Those of a topology that is not here serve to compile for it.
  Raises:
    ValueError: more devices than there are, or a class axis that does not divide them.
  """
  join_hosts(config)
  devices = jax.devices() if devices is None else devices
  count = config.devices or len(devices)
  if count > len(devices):
    raise ValueError(f"mesh.devices is {count}, but there are {len(devices)} devices: {devices}")
  if count < len(devices) and jax.process_count() > 1:
    raise ValueError(f"mesh.devices is {count} of {len(devices)}: several hosts use all their devices, set it to 0")
  if config.class_devices < 1 or count % config.class_devices:
    raise ValueError(f"mesh.class_devices is {config.class_devices}: needs a divisor of the {count} devices")
  shape = (count // config.class_devices, config.class_devices)
  return Mesh(np.asarray(devices[:count]).reshape(shape), ("data", "class"), axis_types=(AxisType.Auto,) * 2)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The first axis of every array of a batch, over all devices."""
  return NamedSharding(mesh, BATCH)


def class_axis(path: tuple, leaf: Any) -> int | None:
  """Which axis of a leaf counts class centres; None where none does.

  A leaf below a key that starts with "center" is a class-centre matrix [C, D] or what the optimizer keeps for one,
  [E, C, D] for the members of an ensemble. A layer of the network may be called so too, and is none.
  """
  names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
  if names[0] in ("batch_stats", "ema") or (names[0] in ("params", "optimizer") and _of_network(names)):
    return None
  axis = 0 if members_of(path) is None else 1
  return axis if any(name.startswith("center") for name in names) and len(leaf.shape) >= axis + 2 else None


def _of_network(names: list[str]) -> bool:
  """Whether a path leads through the network's part of {"model", "terms"}."""
  return "model" in names and "terms" not in names[: names.index("model")]


def pad_classes(mesh: Mesh, tree: Tree) -> Tree:
  """Rows of zeros behind class centres, as many as the class axis needs to divide them.

  They are no classes: `cut_classes` takes them off before a term sees its centres, so they are in no softmax and have no
  gradient.
  """

  def pad(path: tuple, leaf: Array) -> Array:
    axis = class_axis(path, leaf)
    lacking = 0 if axis is None else -leaf.shape[axis] % mesh.shape["class"]
    return jnp.pad(leaf, [(0, lacking * (each == axis)) for each in range(leaf.ndim)]) if lacking else leaf

  return jax.tree_util.tree_map_with_path(pad, tree)


def cut_classes(tree: Tree, like: Tree) -> Tree:
  """Undoes `pad_classes`: leaves with the shapes of `like`. No row moves to another device."""
  return jax.tree.map(lambda leaf, shape: leaf if leaf.shape == shape.shape else leaf[tuple(map(slice, shape.shape))], tree, like)


def class_shapes(state: Tree) -> dict[str, tuple[int, ...]]:
  """Shape of each leaf that counts class centres, by its name in a checkpoint."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
    for path, leaf in leaves if class_axis(path, leaf) is not None
  }


def state_sharding(mesh: Mesh, state: Tree) -> Tree:
  """A `NamedSharding` for every leaf: rows of class centres over "class", everything else on every device.

  Args:
    mesh: of `make_mesh`.
    state: arrays or shapes; see `class_axis`.
  Raises:
    ValueError: the class axis does not divide the rows of centres, which `pad_classes` mends.
  """
  class_devices = mesh.shape["class"]

  def place(path: tuple, leaf: Any) -> NamedSharding:
    axis = class_axis(path, leaf)
    if class_devices == 1 or axis is None:
      return NamedSharding(mesh, P())
    if leaf.shape[axis] % class_devices:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise ValueError(
        f"mesh.class_devices is {class_devices}, which does not divide the {leaf.shape[axis]} class centres of {name}: they need"
        " padding (pad_classes)"
      )
    return NamedSharding(mesh, P(*[None] * axis, "class"))

  return jax.tree_util.tree_map_with_path(place, state)
