"""Orbax behind one file: plain trees, and the last and best states of a run.

A checkpoint that belongs to another model is refused with the name of the first leaf that differs: Orbax by itself
would pad or cut an array whose shape changed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

Tree = Any


class WrongCheckpoint(ValueError):
  """The saved tree is not the tree that was asked for."""


def leaf_shapes(tree: Tree) -> dict[str, tuple[tuple[int, ...], str]]:
  """Name of each leaf ("params/stem/kernel") with its shape and dtype, in the tree's order."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): (tuple(leaf.shape), str(np.dtype(leaf.dtype)))
    for path, leaf in leaves
  }


def check_same_leaves(found: Tree, expected: Tree, *, where: str) -> None:
  """Raise `WrongCheckpoint` that names the first leaf which is missing, superfluous or of another shape or dtype."""
  have, want = leaf_shapes(found), leaf_shapes(expected)
  for name, (shape, dtype) in want.items():
    if name not in have:
      raise WrongCheckpoint(f"{where}: no leaf {name!r}, expected {dtype}{list(shape)}: saved from another model?")
    if have[name] != (shape, dtype):
      found_shape, found_dtype = have[name]
      raise WrongCheckpoint(
        f"{where}: leaf {name!r} is {found_dtype}{list(found_shape)}, expected {dtype}{list(shape)}:"
        " saved from another model?"
      )
  for name, (shape, dtype) in have.items():
    if name not in want:
      raise WrongCheckpoint(f"{where}: unexpected leaf {name!r} {dtype}{list(shape)}: saved from another model?")


def _alone() -> ocp.StandardCheckpointer:
  """A checkpointer of this process only: with several hosts it waits for none of the others."""
  index = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"host{index}"
  )
  return ocp.StandardCheckpointer(multiprocessing_options=options)


def save_tree(path: Path | str, tree: Tree) -> None:
  """Write a tree of arrays to the folder `path`: it appears whole or not at all, and replaces an older one.

  With several hosts the one that calls writes everything: the arrays must be whole on it.
  """
  with _alone() as checkpointer:
    checkpointer.save(Path(path).absolute(), tree, force=True)


def load_tree(path: Path | str, like: Tree | None = None) -> Tree:
  """Read a tree that `save_tree` wrote.

  Args:
    path: the folder.
    like: arrays or `jax.ShapeDtypeStruct`s (with shardings, if any) that the saved tree must equal in structure,
      shapes and dtypes; None reads what is there, as NumPy arrays.
  Raises:
    FileNotFoundError: no checkpoint there.
    WrongCheckpoint: the saved tree differs from `like`.
  """
  path = Path(path).absolute()
  if not (path / "_CHECKPOINT_METADATA").is_file():
    raise FileNotFoundError(f"{path}: no checkpoint (no file _CHECKPOINT_METADATA) in this folder")
  with _alone() as checkpointer:
    found = checkpointer.metadata(path).item_metadata.tree
    if like is None:
      host = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), found)
      return jax.tree.map(np.asarray, checkpointer.restore(path, host))
    check_same_leaves(found, like, where=str(path))
    return checkpointer.restore(path, jax.tree.map(ocp.utils.to_shape_dtype_struct, like))


def _score(metrics: dict[str, float]) -> float:
  return metrics["score"]


def _without_padding(found: Tree, like: Tree, least: Mapping[str, tuple[int, ...]]) -> Tree:
  """`found` with the shape that `like` has for each leaf that differs from it in its padding alone."""
  want = leaf_shapes(like)

  def fit(path: tuple, leaf: Any) -> Any:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    real, shape = least.get(name), tuple(leaf.shape)
    if real is None or name not in want or len(shape) != len(real):
      return leaf
    longer = [axis for axis, (size, needed) in enumerate(zip(shape, real)) if size != needed]
    padded = [axis for axis, (size, needed) in enumerate(zip(want[name][0], real)) if size != needed]
    axes = {*longer, *padded}
    if len(axes) > 1 or any(shape[axis] < real[axis] for axis in axes):
      return leaf
    return jax.ShapeDtypeStruct(want[name][0], leaf.dtype)

  return jax.tree_util.tree_map_with_path(fit, found)


class Checkpoints:
  """The last states of a run and its best one, written in the background, whole or not at all.

  Args:
    folder: gets `last/STEP/` and `best/STEP/`.
    keep: how many of the last states stay.
  """

  def __init__(self, folder: Path | str, *, keep: int = 2):
    self.folder = Path(folder).absolute()
    self._last = self._manager("last", keep)
    self._best = self._manager("best", 1)

  def _manager(self, name: str, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep, enable_async_checkpointing=True, best_fn=_score if name == "best" else None,
      # Two managers that save at the same time must not meet at each other's barriers.
      multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=name),
    )
    # The handler must be named for a fresh process to read what a state holds before restoring it.
    handler = ocp.StandardCheckpointHandler()
    return ocp.CheckpointManager(self.folder / name, options=options, item_handlers=handler)

  @property
  def latest_step(self) -> int | None:
    """Step of the newest whole state, None when there is none."""
    return self._last.latest_step()

  def save(self, step: int, state: Tree) -> None:
    """Start writing `state`, unless that step is saved already; returns once it is copied to the host."""
    if step != self.latest_step:
      self._last.save(step, args=ocp.args.StandardSave(state), force=True)

  def save_if_best(self, step: int, state: Tree, score: float) -> bool:
    """Keep `state` as the best when `score` (higher is better) beats every earlier one.

    A continued run may come to the step of the best state again, on another machine with another last digit: that state
    stays.
    """
    self._best.wait_until_finished()
    best = self._best.best_step()
    better = best is None or (best != step and self._best.metrics(best)["score"] < score)
    if jax.process_count() > 1:  # a state is saved by all hosts or by none: the first one decides
      better = bool(multihost_utils.broadcast_one_to_all(np.int32(better)))
    if not better:
      return False
    self._best.save(step, args=ocp.args.StandardSave(state), metrics={"score": float(score)}, force=True)
    return True

  def restore(self, like: Tree, *, best: bool = False, least: Mapping[str, tuple[int, ...]] | None = None) -> Tree:
    """The newest state, or the best one, laid out as `like` says; see `load_tree` for the errors.

    Args:
      like: arrays or shapes, with shardings.
      best: the best state instead of the newest.
      least: shapes, by name, of leaves that are saved with padding behind them, in `like` perhaps with another one: padding
        that is too long is cut, what lacks is zero.
    """
    self.wait()
    name, manager = ("best", self._best) if best else ("last", self._last)
    step = manager.latest_step()
    if step is None:
      raise FileNotFoundError(f"{self.folder / name}: no checkpoint there")
    found = manager.item_metadata(step).tree
    fitted = _without_padding(found, like, least or {})
    check_same_leaves(fitted, like, where=str(self.folder / name / str(step)))
    like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    # Not strict: Orbax cuts or pads what has another shape.
    return manager.restore(step, args=ocp.args.StandardRestore(like, strict=leaf_shapes(found) == leaf_shapes(like)))

  def wait(self) -> None:
    """Block until everything that was started is on disk."""
    self._last.wait_until_finished()
    self._best.wait_until_finished()

  def close(self) -> None:
    self._last.close()
    self._best.close()
