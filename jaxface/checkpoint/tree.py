"""Trees of arrays in a folder: written by Orbax with checksums, which are verified before reading."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxface.checkpoint.arrays import (
  Saved,
  block_bytes,
  nonzero_outside,
  open_arrays,
  read_sharded,
  read_whole,
)
from jaxface.checkpoint.checksums import DamagedCheckpoint, find_damage, is_whole, write_sums
from jaxface.checkpoint.leaves import Tree, WrongCheckpoint, check_same_leaves, leaf_name
from jaxface.formats.atomic import sync_folder

# From here on the devices that have copies of an array send a part each. Every shape and part needs a small program of its own, and for
# small arrays its compilation takes far longer than the copy: seconds at the first state of a run.
_LEAST_PART = 2**20

# What Orbax writes first into every folder of arrays.
MARK = "_CHECKPOINT_METADATA"


def save_args(tree: Tree) -> ocp.args.PyTreeSave:
  """Options for Orbax to write a tree: large arrays in blocks."""
  return ocp.args.PyTreeSave(tree, save_args=jax.tree.map(lambda leaf: ocp.SaveArgs(chunk_byte_size=block_bytes(leaf)), tree))


def handler(options: ocp.options.MultiprocessingOptions | None = None) -> ocp.PyTreeCheckpointHandler:
  """Orbax's writer of trees, in the format that `jaxface.checkpoint.arrays` reads.

  Without compression: it reduces the size of a state by 7 %, and takes many times the time and memory of writing.
  """
  kinds = ocp.type_handlers
  return ocp.PyTreeCheckpointHandler(
    use_ocdbt=True, use_zarr3=False, use_compression=False, multiprocessing_options=options or ocp.options.MultiprocessingOptions(),
    type_handler_registry=kinds.create_type_handler_registry(
      *((kind, kinds.ScalarHandler()) for kind in (int, float, np.number)),
      (np.ndarray, kinds.NumpyHandler()),
      (jax.Array, kinds.ArrayHandler(min_slice_bytes_for_replica_parallel=_LEAST_PART)),
    ),
  )


def _alone() -> ocp.options.MultiprocessingOptions:
  """Options for this process only: with several hosts it does not wait for the others."""
  index = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"host{index}"
  )


def save_tree(path: Path | str, tree: Tree) -> None:
  """Write a tree of arrays to the folder `path`, with checksums, atomically; an older one is replaced.

  With several hosts the calling host writes everything: all shards must be on it.
  """
  path = Path(path).resolve()  # Orbax refuses paths with ".."
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  if temporary.exists():  # left by a killed process with the same number
    shutil.rmtree(temporary)
  try:
    options = _alone()
    with ocp.AsyncCheckpointer(handler(options), multiprocessing_options=options) as checkpointer:
      checkpointer.save(temporary, args=save_args(tree))
    write_sums(epath.Path(temporary))
    if path.exists():
      shutil.rmtree(path)
    temporary.replace(path)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise
  sync_folder(path.parent)


def load_tree(path: Path | str, like: Tree | None = None) -> Tree:
  """Read a tree that `save_tree` wrote, after verification of its checksums.

  A folder of an earlier release has no checksums, and is read without verification.

  Args:
    path: the folder.
    like: arrays or `jax.ShapeDtypeStruct`s (with shardings, if any) that the saved tree must equal in structure,
      shapes and dtypes; None reads all leaves as NumPy arrays.
  Raises:
    FileNotFoundError: no checkpoint there.
    DamagedCheckpoint: a file differs from what was written; names it.
    WrongCheckpoint: the saved tree differs from `like`.
  """
  folder = epath.Path(Path(path).resolve())
  if is_whole(folder) and (damage := find_damage(folder)):
    raise DamagedCheckpoint(f"{folder} is damaged: {damage}")
  if not (folder / MARK).is_file():
    raise FileNotFoundError(f"{folder}: no checkpoint (no file {MARK}) in this folder")
  return read_tree(folder, like)


def has_checksums(path: Path | str) -> bool:
  """Whether the folder of a tree has checksums; those of an earlier release have none."""
  return is_whole(epath.Path(path))


def is_undamaged(path: Path | str) -> bool:
  """Whether a tree exists and its files match their checksums, if it has any."""
  folder = epath.Path(Path(path).resolve())
  return (folder / MARK).is_file() and not (is_whole(folder) and find_damage(folder))


def read_tree(folder: epath.Path, like: Tree | None, *, least: Mapping[str, tuple[int, ...]] | None = None, where: str = "") -> Tree:
  """Read a tree that Orbax wrote to a folder.

  Args:
    folder: folder of the arrays.
    like: see `load_tree`.
    least: shapes without padding, by name, of leaves that may have different padding in the file and in `like`.
    where: name of the folder in messages.
  Raises:
    WrongCheckpoint: the saved tree differs from `like` in more than padding, or padding is not zero.
  """
  where, real = where or str(folder), least or {}
  found = ocp.Checkpointer(handler(_alone()), multiprocessing_options=_alone()).metadata(folder).item_metadata.tree
  paths, structure = jax.tree_util.tree_flatten_with_path(found)
  names = [leaf_name(path) for path, _ in paths]
  stored = [".".join(_keys(path)) for path, _ in paths]
  arrays = open_arrays(folder, stored)
  if like is None:
    return jax.tree.unflatten(structure, read_whole(arrays))
  wanted = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(like)}
  fitted = [_fitted(saved, wanted.get(name), real.get(name)) for name, saved in zip(names, arrays)]
  check_same_leaves(jax.tree.unflatten(structure, fitted), like, where=where)
  for name, saved in zip(names, arrays):
    if name in real and nonzero_outside(saved, real[name]):
      raise WrongCheckpoint(
        f"{where}: leaf {name!r} is {list(saved.shape)}, of which {list(real[name])} are expected, and what is beyond is not zero,"
        " as padding would be: saved with more identities?"
      )
  by_name = dict(zip(names, arrays))
  chosen = [by_name[name] for name in wanted]
  read = read_sharded(chosen, [tuple(leaf.shape) for leaf in wanted.values()], [_sharding(leaf) for leaf in wanted.values()])
  return jax.tree.unflatten(jax.tree.structure(like), read)


def _keys(path: tuple) -> list[str]:
  return [jax.tree_util.keystr((key,), simple=True) for key in path]


def _sharding(leaf: Any) -> jax.sharding.Sharding:
  given = getattr(leaf, "sharding", None)
  return given if given is not None else jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _fitted(saved: Saved, wanted: Any, real: tuple[int, ...] | None) -> jax.ShapeDtypeStruct:
  """The saved array's shape, or the wanted one if both differ from the real one in the padding of one axis alone."""
  shape = saved.shape
  if real is not None and wanted is not None and len(shape) == len(real) == len(wanted.shape):
    axes = {axis for axis, needed in enumerate(real) if {shape[axis], wanted.shape[axis]} != {needed}}
    if len(axes) <= 1 and all(shape[axis] >= real[axis] for axis in axes):
      shape = tuple(wanted.shape)
  return jax.ShapeDtypeStruct(shape, saved.dtype)


__all__ = ["has_checksums", "is_undamaged", "load_tree", "read_tree", "save_tree"]
