"""Orbax behind one package: plain trees, and the last and best states of a run, each with checksums of its files.

A checkpoint that belongs to another model is refused with the name of the first leaf that differs: Orbax by itself
would pad or cut an array whose shape changed. One whose files are not what was written is refused with the file's name.
"""

from jaxface.checkpoint.checksums import DamagedCheckpoint
from jaxface.checkpoint.leaves import WrongCheckpoint, check_same_leaves, leaf_shapes, shapes_with_shardings
from jaxface.checkpoint.series import as_path, holds_states
from jaxface.checkpoint.states import Checkpoints
from jaxface.checkpoint.tree import has_checksums, is_undamaged, load_tree, save_tree

__all__ = [
  "Checkpoints", "DamagedCheckpoint", "WrongCheckpoint", "as_path", "check_same_leaves", "has_checksums", "holds_states", "is_undamaged",
  "leaf_shapes", "load_tree", "save_tree", "shapes_with_shardings",
]
