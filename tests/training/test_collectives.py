"""Arrays that devices exchange in a step, read from the compiled program."""

from dataclasses import replace

import pytest

from jaxface.heads.classification import Classification
from jaxface.losses.margins import ArcFace
from jaxface.models.preprocess import get_preprocess
from jaxface.training.collectives import collectives
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh
from jaxface.training.step import compile_step

BATCH, SIZE = 64, 8  # the network of `plain` gives 8 numbers

HEADS = {
  "by rows": Classification(ArcFace()),
  "sampled": Classification(ArcFace(), sample_rate=1 / 3, block=8),
  "replicated": Classification(ArcFace(), sharded=False),
  "by the compiler": Classification(ArcFace(), center_repulsion=0.1),
}


@pytest.mark.parametrize("identities", [52, 50])
@pytest.mark.parametrize("head", HEADS)
def test_embeddings_are_exchanged_and_centres_are_not(head, identities, experiment, plain, batch_of, step_of):
  mesh = make_mesh(MeshConfig(devices=8))
  experiment = replace(experiment, terms=(HEADS[head],), ema=0.0)
  step = step_of(experiment, plain, get_preprocess("unit", size=8), identities, mesh)
  state = step.shapes
  rows = state.params["terms"][0]["center_cd"].shape[0]
  compiled = compile_step(step, step.shardings(state), batch_sharding(mesh)).lower(state, batch_of(BATCH)).compile()
  found = [(kind, shape) for kind, _, shape, _ in collectives(compiled.as_text())]
  wide = {(kind, shape) for kind, shape in found if len(shape) > 1}
  counts = {identities, rows, rows // 8, 256, 32}  # of classes and groups, on all devices and on each
  tables = {(kind, shape) for kind, shape in wide if counts & set(shape)}
  if head == "replicated":
    # The gradient of all centres is summed over the devices.
    assert tables == {("all-reduce", (identities, SIZE))} and not {kind for kind, _ in found} - {"all-reduce"}
    return
  # No table of centres and no matrix of scores is exchanged, whatever the number of identities.
  assert not tables
  assert ("all-gather", (BATCH, SIZE)) in wide
  # The gradient of the embeddings returns, summed over the classes of all devices.
  assert {("reduce-scatter", (BATCH // 8, SIZE)), ("all-reduce", (BATCH, SIZE))} & wide
