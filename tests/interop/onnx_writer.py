"""An iresnet written node by node, as PyTorch's exporter writes it."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPTIONS = {"units": (1, 2, 1, 1), "width": 0.0625}


class Writer:
  """An iresnet as PyTorch's exporter writes it: NCHW, named by us, norms folded where they follow a
  product."""

  def __init__(self, folded: bool):
    self.rng = np.random.default_rng(0)
    self.folded = folded
    self.nodes, self.initializers = [], []

  def weight(self, *shape, centre=0.0, size=0.3):
    name = f"weight_{len(self.initializers)}"
    array = (centre + self.rng.uniform(-size, size, shape)).astype(np.float32)
    self.initializers.append(numpy_helper.from_array(array, name))
    return name

  def node(self, op, *inputs, **attributes):
    name = f"{op}_{len(self.nodes)}"
    self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes))
    return f"{name}_out"

  def norm(self, x, channels):
    weights = [self.weight(channels, centre=c) for c in (1.0, 0.0, 0.0, 1.0)]
    return self.node("BatchNormalization", x, *weights, epsilon=2e-5)

  def conv(self, x, channels, features, kernel, stride):
    names = [self.weight(features, channels, kernel, kernel)] + [self.weight(features)] * self.folded
    pad = kernel // 2
    y = self.node(
      "Conv",
      x,
      *names,
      strides=[stride] * 2,
      pads=[pad] * 4,
      group=1,
      dilations=[1, 1],
      kernel_shape=[kernel] * 2,
    )
    return y if self.folded else self.norm(y, features)

  def prelu(self, x, channels):
    return self.node("PRelu", x, self.weight(channels, 1, 1, centre=0.25, size=0.2))

  def model(self):
    x, channels = self.prelu(self.conv("input", 3, 4, 3, 1), 4), 4
    for features, count in zip((4, 8, 16, 32), OPTIONS["units"]):
      for index in range(count):
        stride = 2 if index == 0 else 1
        y = self.prelu(self.conv(self.norm(x, channels), channels, features, 3, 1), features)
        y = self.conv(y, features, features, 3, stride)
        x = x if index else self.conv(x, channels, features, 1, stride)
        x, channels = self.node("Add", y, x), features
    x = self.node("Flatten", self.norm(x, 32), axis=1)
    x = self.node("Gemm", x, self.weight(7, 32 * 2 * 3), self.weight(7), transB=1)
    x = x if self.folded else self.norm(x, 7)
    graph = helper.make_graph(
      self.nodes,
      "net",
      [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 48])],
      [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 7])],
      self.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


__all__ = ["OPTIONS", "Writer"]
