"""What devices send each other in a step, read from the compiled program: which arrays, and along which axis of the mesh."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxface.heads.classification import Classification
from jaxface.losses.margins import ArcFace
from jaxface.models.preprocess import get_preprocess
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh, state_sharding
from jaxface.training.step import compile_step

BATCH, SIZE = 64, 8  # the network of `plain` gives 8 numbers
KINDS = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"


def groups_of(line, mesh):
  """"data", "class" or "all": along which axis of the mesh a collective runs."""
  count = mesh.size
  if found := re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", line):
    groups = [[int(n) for n in part.split(",")] for part in re.findall(r"\{([\d, ]+)\}", found[1])]
  elif found := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line):
    shape, reshape = ([int(n) for n in found[k].split(",")] for k in (1, 2))
    order = np.arange(count).reshape(reshape)
    if found[3]:
      order = order.transpose([int(n) for n in found[3].split(",")])
    groups = order.reshape(shape).tolist()
  elif found := re.search(r"replica_groups=mesh\[([^\]]*)\] ?(\{[^}]*\})", line):
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
    names = re.findall(r"'(\w+)'", found[2])
    order = np.arange(count).reshape(list(sizes.values()))
    last = [list(sizes).index(name) for name in names]
    rest = [axis for axis in range(order.ndim) if axis not in last]
    groups = order.transpose(rest + last).reshape(-1, int(np.prod([order.shape[axis] for axis in last]))).tolist()
  else:
    raise AssertionError(f"no groups in {line}")
  grid = np.arange(count).reshape(mesh.devices.shape)
  known = {"all": [sorted(grid.ravel().tolist())], "data": grid.T.tolist(), "class": grid.tolist()}
  mine = sorted(map(sorted, groups))
  return next(name for name, right in known.items() if sorted(map(sorted, right)) == mine)


def collectives(text, mesh):
  """(kind, shape, axis) of every array that is exchanged."""
  found = []
  for line in text.splitlines():
    if match := re.search(rf" = (.*?) ({KINDS})(?:-start)?\(", line):
      for dtype, dims in re.findall(r"\b([a-z]\d*\w*)\[([\d,]*)\]", match[1]):
        found.append((match[2], dtype, tuple(int(n) for n in dims.split(",") if n), groups_of(line, mesh)))
  return found


@pytest.mark.parametrize("identities", [52, 50])
@pytest.mark.parametrize("devices", [(2, 4), (4, 2), (8, 1)])
def test_embeddings_travel_and_centres_stay(devices, identities, experiment, plain, batch_of, step_of):
  data, classes = devices
  config = MeshConfig(devices=8, class_devices=classes)
  mesh = make_mesh(config)
  experiment = replace(experiment, terms=(Classification(ArcFace()),), mesh=config, ema=0.0)
  step = step_of(experiment, plain, get_preprocess("unit", size=8), identities, mesh)
  state = jax.eval_shape(step.init, jax.random.key(0))
  rows = state.params["terms"][0]["center_cd"].shape[0] // classes
  compiled = compile_step(step, state_sharding(mesh, state), batch_sharding(mesh)).lower(state, batch_of(BATCH)).compile()
  found = collectives(compiled.as_text(), mesh)
  wide = [(kind, shape, axis) for kind, _, shape, axis in found if len(shape) == 2]
  gathered = {(shape, axis) for kind, _, shape, axis in found if kind == "all-gather"}
  assert not {kind for kind, *_ in found} - {"all-reduce", "all-gather"}
  # Embeddings and what belongs to rows are gathered along "class": each device meets the classes it holds.
  per_row = {((BATCH // data, SIZE), "class"), ((BATCH // data,), "class")}
  assert gathered <= per_row and (classes == 1) == (not gathered)
  if classes > 1:
    assert ((BATCH // data, SIZE), "class") in gathered
    # Their gradients come back summed over the classes.
    assert ("all-reduce", (BATCH // data, SIZE), "class") in wide
  # The gradient of a device's own centres is summed over the rows of the others, and nowhere else; no whole table moves.
  counts = (rows, rows * classes, identities)
  tables = {(kind, shape, axis) for kind, shape, axis in wide if shape[-1] == SIZE and shape[0] in counts}
  assert tables == {("all-reduce", (rows, SIZE), "all" if classes == 1 else "data")}
  # No matrix of scores is exchanged.
  assert not [shape for _, shape, _ in wide if shape[-1] in counts]
