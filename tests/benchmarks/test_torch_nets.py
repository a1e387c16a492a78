"""PyTorch's networks do the same work as ours: the same layers on arrays of the same shapes."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from jaxface.interop.layer_list import list_layers
from jaxface.models.preprocess import get_preprocess

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accelerator.sizes import FULL
from benchmarks.nets import NETS

ALL = {**NETS, "iresnet100": FULL.nets["iresnet100"], "vit_b": FULL.nets["vit_b"]}


def our_layers(net: str) -> Counter:
  model, options, side, _ = ALL[net]
  layers: Counter = Counter()
  for layer in list_layers(model, options, replace(get_preprocess("unit"), size=(side, side))):
    module, shape = layer.module, layer.input_shape[1:]
    if layer.kind == "conv":
      layers["conv", shape, module.features, module.kernel_size, tuple(module.strides), module.groups] += 1
    elif layer.kind == "dense":
      layers["dense", shape, module.features] += 1
    else:
      layers[layer.kind, shape] += 1
  return layers


def their_layers(net: str) -> Counter:
  torch = pytest.importorskip("torch", reason="PyTorch is absent: pip install -e .[bench]")
  from benchmarks.torch_nets import build

  layers: Counter = Counter()

  def watch(module, given, _):
    shape = tuple(given[0].shape[1:])
    if len(shape) == 3:  # an image; others are tokens or embeddings
      shape = (*shape[1:], shape[0])
    if isinstance(module, torch.nn.Conv2d):
      layers["conv", shape, module.out_channels, module.kernel_size, module.stride, module.groups] += 1
    elif isinstance(module, torch.nn.Linear):
      layers["dense", shape, module.out_features] += 1
    elif isinstance(module, torch.nn.PReLU):
      layers["activation", shape] += 1
    elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
      layers["norm", shape] += 1

  # Nothing is computed there but shapes.
  with torch.device("meta"):
    model = build(ALL[net]).eval()
    for module in model.modules():
      module.register_forward_hook(watch)
    model(torch.zeros(1, 3, ALL[net].side, ALL[net].side))
  return layers


@pytest.mark.parametrize("net", ALL)
def test_same_layers_on_the_same_shapes(net):
  theirs, ours = their_layers(net), our_layers(net)
  assert sum(ours.values()) > 40
  assert ours == theirs, f"only ours: {ours - theirs}; only PyTorch's: {theirs - ours}"
