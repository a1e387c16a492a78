"""What devices send each other for a head, read from the program compiled for forced devices and for a pod of TPUs."""

import os
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.heads.class_head import ClassHead
from jaxface.heads.padding import padded_classes
from jaxface.losses.margins import ArcFace
from jaxface.training.collectives import collectives


def compiled_step(devices, *, classes, batch, width, size, block):
  """A whole step of the head under SGD with momentum: forward, back, and classes moved in donated arrays."""
  mesh = Mesh(devices.reshape(-1, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
  head = ClassHead(ArcFace(), classes, size=size, block=block, mesh=mesh)

  def step(params, momentum, x_bd, label_b, key):
    def total(pull, x_bd):
      result, seen = head.apart(
        params, x_bd, label_b, jnp.ones(batch), pull=pull, state={}, draw_key=None if size == 1 else key
      )
      return result.loss_b.mean(), seen

    (loss, seen), (pull, x_bar) = jax.value_and_grad(total, (0, 1), has_aux=True)(head.no_pull(batch), x_bd)
    seen, pull = (jax.tree.map(lambda leaf: leaf[None], tree) for tree in (seen._replace(pick_g=None), pull))

    def sgd(params, gradients, momentum, _):
      momentum = jax.tree.map(lambda g, m, w: 0.9 * m + g + 5e-4 * w, gradients, momentum, params)
      return jax.tree.map(lambda w, m: w - 0.1 * m, params, momentum), momentum

    # As in training: nothing moves before all gradients are known, and so may move in place.
    return (*head.update(params, momentum, seen, pull, sgd, go=jnp.isfinite(x_bar).all()), loss, x_bar)

  rows = padded_classes(classes, size, mesh.size)
  over = NamedSharding(mesh, P(("data", "model")))
  shape = lambda *dims, dtype="float32": jax.ShapeDtypeStruct(dims, dtype, sharding=over)  # noqa: E731
  params = {"center_cd": shape(rows, width)}
  key = jax.eval_shape(lambda: jax.random.key(0))
  arguments = (params, params, shape(batch, width), shape(batch, dtype="int32"), key)
  return jax.jit(step, donate_argnums=(0, 1), out_shardings=(over, over, None, None, over)).lower(*arguments).compile()


def exchanged(text):
  """(kind, shape, devices that take part) of every array that is sent, with how often."""
  found = Counter((kind, shape, members) for kind, _, shape, members in collectives(text))
  assert all(members for _, _, members in found)
  return found


@pytest.mark.parametrize(("size", "block"), [(1, 0), (1, 64), (3, 0), (3, 64)])
def test_embeddings_travel_once_each_way_and_classes_never(size, block):
  batch, width = 64, 24
  few, many = (
    compiled_step(np.asarray(jax.devices()[:8]), classes=classes, batch=batch, width=width, size=size, block=block)
    for classes in (3_001, 30_011)
  )
  found = exchanged(few.as_text())
  # Ten times the classes send the same, each time among all devices.
  assert found == exchanged(many.as_text())
  assert {members for _, _, members in found} == {8}
  embeddings = {(kind, shape): count for (kind, shape, _), count in found.items() if shape and shape[-1] == width}
  assert embeddings == {("all-gather", (batch, width)): 1, ("reduce-scatter", (batch // 8, width)): 1}
  # All else is a few numbers of each row, or one of the whole batch.
  rest = {(kind, shape) for kind, shape, _ in found} - embeddings.keys()
  assert {kind for kind, _ in rest} == {"all-gather", "all-reduce"}
  assert max(np.prod(shape) for _, shape in rest) <= 3 * batch


@pytest.mark.slow
def test_the_compiler_for_tpus_sends_no_more():
  pytest.importorskip("libtpu", reason="LIBTPU ABSENT: what a pod of TPUs exchanges was not tested (pip install libtpu)")
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  devices = np.asarray(topologies.get_topology_desc(platform="tpu", topology_name="v5e:4x4").devices)
  batch, width = 256, 128
  few, many = (
    exchanged(compiled_step(devices, classes=classes, batch=batch, width=width, size=10, block=256).as_text())
    for classes in (300_007, 3_000_017)
  )
  assert few == many
  assert max(np.prod(shape) for _, shape, _ in few) == batch * width


@pytest.mark.parametrize("size", [1, 3])
def test_with_blocks_nothing_is_as_large_as_the_scores_or_the_centres(size):
  classes, batch, width, block = 40_009, 64, 24, 128
  compiled = compiled_step(np.asarray(jax.devices()[:8]), classes=classes, batch=batch, width=width, size=size, block=block)
  memory = compiled.memory_analysis()
  part = padded_classes(classes, size, 8) // 8
  # Centres and momentum are given back in place; what the step needs beside them is less than either, and than the scores.
  assert memory.alias_size_in_bytes >= 2 * part * width * 4
  assert memory.temp_size_in_bytes < min(part * width, batch * part // size) * 4 / 2
  assert f"[{batch},{part // size}]" not in compiled.as_text()
