"""Names of our networks' layers in PyTorch state dicts.

`iresnet*`, as in InsightFace's arcface_torch (S a stage from 1, U a unit from 1, I = U − 1):

| ours | theirs |
|---|---|
| stem/conv, stem/norm, stem/act | conv1, bn1, prelu |
| stageS_unitU/norm | layerS.I.bn1 |
| stageS_unitU/conv1/conv, norm, act | layerS.I.conv1, bn2, prelu |
| stageS_unitU/conv2/conv, norm | layerS.I.conv2, bn3 |
| stageS_unitU/shortcut/conv, norm | layerS.I.downsample.0, downsample.1 |
| head_norm, head_dense, embedding_norm | bn2, fc, features |

`iresnet*` with a "pool" shortcut, as in face.evoLVe and AdaFace (N counts the units of all stages from 0; the numbers
after act are one less without the inner norm):

| ours | theirs |
|---|---|
| stem/conv, norm, act | input_layer.0, .1, .2 |
| stageS_unitU/norm; conv1/conv, norm, act | body.N.res_layer.0; .1, .2, .3 |
| stageS_unitU/conv2/conv, norm | body.N.res_layer.4, .5 |
| stageS_unitU/squeeze/reduce, expand | body.N.res_layer.6.fc1, .fc2 |
| stageS_unitU/shortcut/conv, norm | body.N.shortcut_layer.0, .1 |
| head_norm, head_dense, embedding_norm | output_layer.0, .3, .4 |

`mobilefacenet512*`, and `mobilefacenet` with PReLU, as in InsightFace's arcface_torch (conv, norm, act of a block are its
.layers.0, .layers.1, .layers.2; expand, depthwise, project of a unit are its .layers.0, .layers.1, .layers.2):

| ours | theirs |
|---|---|
| stem; stem_depthwise or stem_unitU | layers.0; layers.1 or layers.1.layers.I |
| stage1_unit1; its further units | layers.2; layers.3.layers.(U − 2) |
| stage2_unit1, stage4_unit1 | layers.4, layers.6 |
| stage3_unitU, stage5_unitU | layers.5.layers.I, layers.7.layers.I |
| head, head_global | conv_sep, features.layers.0 |
| embedding/conv, embedding/norm | features.layers.2 (a matrix), features.layers.3 |

`mobilefacenet` of variant "separable", as in foamliu's MobileFaceNet (N counts the units of all stages from 0):

| ours | theirs |
|---|---|
| stem/conv, norm | conv1.0, conv1.1 |
| stem_depthwise/conv, norm; stem_pointwise/conv, norm | dw_conv.depthwise, dw_conv.bn1; dw_conv.pointwise, dw_conv.bn2 |
| unit N: expand/conv, norm; depthwise/conv, norm | features.N.conv.0.0, .0.1; features.N.conv.1.0, .1.1 |
| unit N: project/conv, norm | features.N.conv.2, features.N.conv.3 |
| head/conv, norm; head_global/conv, norm | conv2.0, conv2.1; gdconv.depthwise, gdconv.bn |
| embedding/conv, norm | conv3, bn |
"""

import re
from collections.abc import Container, Iterable
from typing import Any

Path = tuple[str, ...]

_UNIT = re.compile(r"(stage|stem)(\d*)_unit(\d+)")
_IRESNET = {
  "stem/conv": "conv1", "stem/norm": "bn1", "stem/act": "prelu", "head_norm": "bn2", "head_dense": "fc",
  "embedding_norm": "features",
}
_IRESNET_UNIT = {
  "norm": "bn1", "conv1/conv": "conv1", "conv1/norm": "bn2", "conv1/act": "prelu", "conv2/conv": "conv2", "conv2/norm": "bn3",
  "shortcut/conv": "downsample.0", "shortcut/norm": "downsample.1",
}
_IR = {
  "stem/conv": "input_layer.0", "stem/norm": "input_layer.1", "stem/act": "input_layer.2", "head_norm": "output_layer.0",
  "head_dense": "output_layer.3", "embedding_norm": "output_layer.4",
}
_IR_UNIT = ("norm", "conv1/conv", "conv1/norm", "conv1/act", "conv2/conv", "conv2/norm", "squeeze")
_IR_PLAIN_UNIT = ("norm", "conv1", "act", "conv2/conv", "conv2/norm", "squeeze")
_SQUEEZE = {"reduce": "fc1", "expand": "fc2"}
_ORDER = {"conv": "0", "norm": "1", "act": "2", "expand": "0", "depthwise": "1", "project": "2"}
_MBF_BLOCKS = {"stem": "layers.0", "stem_depthwise": "layers.1", "head": "conv_sep", "head_global": "features.layers.0"}
_MBF_EMBEDDING = {"embedding/conv": "features.layers.2", "embedding/norm": "features.layers.3"}
_MBF_UNITS = {"stem": "layers.1", "1": "layers.3", "3": "layers.5", "5": "layers.7"}
_MBF_FIRST = {"1": "layers.2", "2": "layers.4", "4": "layers.6"}
_FOAMLIU = {
  "stem/conv": "conv1.0", "stem/norm": "conv1.1", "stem_depthwise/conv": "dw_conv.depthwise",
  "stem_depthwise/norm": "dw_conv.bn1", "stem_pointwise/conv": "dw_conv.pointwise", "stem_pointwise/norm": "dw_conv.bn2",
  "head/conv": "conv2.0", "head/norm": "conv2.1", "head_global/conv": "gdconv.depthwise", "head_global/norm": "gdconv.bn",
  "embedding/conv": "conv3", "embedding/norm": "bn",
}
_FOAMLIU_UNIT = {
  "expand/conv": "0.0", "expand/norm": "0.1", "depthwise/conv": "1.0", "depthwise/norm": "1.1", "project/conv": "2",
  "project/norm": "3",
}


# A key that is unique to each layout.
_ANCHORS = {
  "iresnet": ("layer1.0.bn1.running_mean", "layer2.0.bn1.running_mean", "input_layer.0.weight"),
  "mobilefacenet": ("layers.0.layers.0.weight", "dw_conv.depthwise.weight"),
}


class NoNames(ValueError):
  """A network, or a variant of one, without a table of PyTorch names."""


def torch_names(model: str, options: dict[str, Any], paths: Iterable[Path]) -> dict[Path, str]:
  """The PyTorch name of each layer of a network.

  Args:
    model: name of the network.
    options: its options.
    paths: paths of its layers, in execution order.
  Raises:
    NoNames: there is no table for this network.
  """
  units: dict[str, int] = {}
  if model.startswith("iresnet") and options.get("shortcut", "conv") == "pool":
    return {path: _ir(path, units, _IR_UNIT if options.get("inner_norm", True) else _IR_PLAIN_UNIT) for path in paths}
  if model.startswith("iresnet") and options.get("inner_norm", True) and not options.get("squeeze", 0):
    rule = _iresnet
  elif model == "mobilefacenet" and options.get("variant") == "separable":
    return {path: _foamliu(path, units) for path in paths}
  elif model.startswith("mobilefacenet") and options.get("activation", "prelu") == "prelu":
    rule = _mbf
  else:
    raise NoNames(
      f"no PyTorch names for {model} {options}: supported are iresnet*, mobilefacenet512* and mobilefacenet with PReLU"
      " (InsightFace's), iresnet* with shortcut 'pool' (face.evoLVe's and AdaFace's) and mobilefacenet of variant"
      " 'separable' (foamliu's)"
    )
  return {path: rule(path) for path in paths}


def find_prefix(model: str, keys: Container[str], prefixes: Iterable[str]) -> str | None:
  """The prefix of the names of a known layout of `model`; None if there is none."""
  anchors = next((keys for family, keys in _ANCHORS.items() if model.startswith(family)), ())
  return next((prefix for prefix in prefixes if any(prefix + anchor in keys for anchor in anchors)), None)


def _iresnet(path: Path) -> str:
  unit = _UNIT.fullmatch(path[0])
  if unit is None:
    return _IRESNET["/".join(path)]
  return f"layer{unit[2]}.{int(unit[3]) - 1}.{_IRESNET_UNIT['/'.join(path[1:])]}"


def _ir(path: Path, units: dict[str, int], parts: tuple[str, ...]) -> str:
  if _UNIT.fullmatch(path[0]) is None:
    return _IR["/".join(path)]
  start = f"body.{units.setdefault(path[0], len(units))}"
  if path[1] == "shortcut":
    return f"{start}.shortcut_layer.{_ORDER[path[2]]}"
  if path[1] == "squeeze":
    return f"{start}.res_layer.{parts.index('squeeze')}.{_SQUEEZE[path[2]]}"
  return f"{start}.res_layer.{parts.index('/'.join(path[1:]))}"


def _mbf(path: Path) -> str:
  unit = _UNIT.fullmatch(path[0])
  if unit is None:
    return _MBF_EMBEDDING.get("/".join(path)) or f"{_MBF_BLOCKS[path[0]]}.layers.{_ORDER[path[1]]}"
  stage, number = unit[2] or "stem", int(unit[3])
  if number == 1 and stage in _MBF_FIRST:
    block = _MBF_FIRST[stage]
  elif stage in _MBF_UNITS:
    block = f"{_MBF_UNITS[stage]}.layers.{number - (2 if stage in _MBF_FIRST else 1)}"
  else:
    raise NoNames(f"InsightFace's MobileFaceNet has one unit in stage {stage}, so there is no name for {path[0]}")
  return f"{block}.layers.{_ORDER[path[1]]}.layers.{_ORDER[path[2]]}"


def _foamliu(path: Path, units: dict[str, int]) -> str:
  if _UNIT.fullmatch(path[0]) is None:
    return _FOAMLIU["/".join(path)]
  return f"features.{units.setdefault(path[0], len(units))}.conv.{_FOAMLIU_UNIT['/'.join(path[1:])]}"


__all__ = ["NoNames", "find_prefix", "torch_names"]
