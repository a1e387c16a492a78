"""Checkpoints through Orbax: trees of arrays, and the last and best states of a run, with checksums of all files.

A checkpoint of another model is rejected with the name of the first leaf that differs: Orbax alone would pad or cut
an array whose shape changed. A damaged file is an error with its name.
"""

from jaxface.checkpoint.checksums import DamagedCheckpoint
from jaxface.checkpoint.leaves import (
  WrongCheckpoint,
  check_same_leaves,
  leaf_name,
  leaf_shapes,
  shapes_with_shardings,
)
from jaxface.checkpoint.series import as_path, holds_states
from jaxface.checkpoint.states import Checkpoints
from jaxface.checkpoint.tree import has_checksums, is_undamaged, load_tree, save_tree

__all__ = [
  "Checkpoints", "DamagedCheckpoint", "WrongCheckpoint", "as_path", "check_same_leaves", "has_checksums", "holds_states", "is_undamaged",
  "leaf_name", "leaf_shapes", "load_tree", "save_tree", "shapes_with_shardings",
]
