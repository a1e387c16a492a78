"""The training step lowered in a CPU process for other platforms: nothing that only a CPU knows, nothing made for CPUs alone."""

import re
from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from jaxface.layers import native
from jaxface.layers.formulation import VARIABLE
from jaxface.models.config import ModelConfig, make_model
from jaxface.models.watch import abstract_variables
from jaxface.training.config import MeshConfig
from jaxface.training.mesh import batch_sharding, make_mesh, state_sharding
from jaxface.training.step import compile_step

NETS = {
  "batch norms": ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 1, 1, 1), "width": 0.125}),
  "depthwise": ModelConfig("mobilefacenet", size=16, embedding_size=8, options={"width": 0.125}),
  "locally connected": ModelConfig("deepid2", size=0, embedding_size=0, options={}),
  "settled sums": ModelConfig("vit", size=18, embedding_size=8, options={"channels": 8, "depth": 2, "heads": 2}),
  "pools": ModelConfig("lightcnn9", size=32, embedding_size=8, options={"width": 0.125}),
}


@pytest.fixture
def lowered(step_of):
  """StableHLO of the step on a mesh, lowered here for a platform."""

  def lowered(experiment, config, platform, devices=8):
    mesh_config = MeshConfig(devices=devices)
    experiment = replace(experiment, model=config, ema=0.0, mesh=mesh_config)
    model, _, preprocess = make_model(config, "none")
    step = step_of(experiment, model, preprocess, 16)
    mesh = make_mesh(experiment.mesh)
    state = step.shapes
    batch = {
      "image": jax.ShapeDtypeStruct((16, *preprocess.size, 3), jnp.uint8), "label": jax.ShapeDtypeStruct((16,), jnp.int32),
      "weight": jax.ShapeDtypeStruct((16,), jnp.float32), "position": jax.ShapeDtypeStruct((16,), jnp.uint32),
    }
    compiled = compile_step(step, state_sharding(mesh, state), batch_sharding(mesh))
    return compiled.trace(state, batch).lower(lowering_platforms=(platform,)).as_text()

  return lowered


def operations(text):
  """How often each operation of StableHLO occurs, without what a choice of platforms leaves behind: constants and cases."""
  found = Counter(re.findall(r"\bstablehlo\.(\w+)", text))
  return {name: count for name, count in found.items() if name not in ("constant", "broadcast_in_dim", "case", "return")}


# No rule of ours is made for one of the two alone: each network is lowered for one of them here, for both in the sweep.
@pytest.mark.parametrize(("net", "platform"), [
  pytest.param(net, platform, marks=[] if place % 2 == other else pytest.mark.sweep)
  for place, net in enumerate(NETS) for other, platform in enumerate(("tpu", "cuda"))
])
def test_a_step_for_another_platform_is_in_xlas_own_operations(net, platform, experiment, lowered, monkeypatch):
  monkeypatch.setenv(VARIABLE, "xla")
  plain = operations(lowered(experiment, NETS[net], platform))
  monkeypatch.setenv(VARIABLE, "pure")
  assert operations(lowered(experiment, NETS[net], platform)) == plain
  if not native.available():
    return
  monkeypatch.setenv(VARIABLE, "onednn")
  text = lowered(experiment, NETS[net], platform)
  assert not re.findall(r"jaxface_\w+|CustomSPMDPartitioning", text)
  # The norms have another gradient rule, of the same passes; what is heavy is the same.
  own, heavy = operations(text), ("convolution", "while", "reduce_window", "select_and_scatter", "gather", "scatter", "sort")
  assert [own.get(name, 0) for name in heavy] == [plain.get(name, 0) for name in heavy]


def test_the_process_lowers_for_its_own_cpu_what_it_has(experiment, lowered, monkeypatch):
  if not native.available():
    pytest.skip(f"NOTHING NATIVE WAS TESTED: {native.why_not()}")
  monkeypatch.setenv(VARIABLE, "onednn")
  assert "CustomSPMDPartitioning" in lowered(experiment, NETS["batch norms"], "cpu")


def test_a_network_is_exported_for_several_platforms_at_once(monkeypatch):
  monkeypatch.delenv(VARIABLE, raising=False)
  model, _, preprocess = make_model(NETS["pools"], "none")
  image = jax.ShapeDtypeStruct((4, *preprocess.size, preprocess.channels), jnp.float32)
  variables = abstract_variables(model, image.shape)
  embed = jax.jit(lambda variables, image: model.apply(variables, image, train=False))
  exported = jax.export.export(embed, platforms=["tpu", "cuda"])(variables, image)
  assert exported.platforms == ("tpu", "cuda") and "jaxface_" not in exported.mlir_module()
