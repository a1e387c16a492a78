"""Published layouts of state dicts, and what their networks compute: an oracle in NCHW that reads tensors by the authors' names.

Written after the descriptions of MobileFaceNet_Tutorial_Pytorch (also InsightFace_Pytorch), of MobileFaceNet_Pytorch, and of
face.evoLVe and AdaFace. Nothing here knows our networks: a state is made by the first call, which draws every tensor that is asked
for, in the order in which the authors' modules are made (`order`).
"""

import numpy as np
from jax import lax


class State(dict):
  """Tensors by name; one that is not there yet is drawn."""

  def __init__(self, seed=0):
    super().__init__()
    self.rng = np.random.default_rng(seed)

  def take(self, key, shape, low, high):
    if key not in self:
      self[key] = self.rng.uniform(low, high, shape).astype(np.float32)
    assert self[key].shape == shape, key
    return self[key]


class Net:
  """Layers by name on NCHW arrays."""

  def __init__(self, state):
    self.state = state

  def conv(self, x, name, cout, kernel=1, stride=1, padding=0, groups=1, bias=False):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    size = 1.5 / np.sqrt(x.shape[1] // groups * kernel[0] * kernel[1])
    weight = self.state.take(f"{name}.weight", (cout, x.shape[1] // groups, *kernel), -size, size)
    y = np.asarray(lax.conv_general_dilated(x, weight, (stride, stride), [(padding, padding)] * 2, feature_group_count=groups))
    return y + self.state.take(f"{name}.bias", (cout,), -0.3, 0.3)[:, None, None] if bias else y

  def norm(self, x, name, affine=True):
    channels = x.shape[1]

    def take(last, low, high):
      return self.state.take(f"{name}.{last}", (channels,), low, high).reshape(-1, *(1,) * (x.ndim - 2))

    scale, shift = (take("weight", 0.7, 1.3), take("bias", -0.3, 0.3)) if affine else (1, 0)
    mean, var = take("running_mean", -0.3, 0.3), take("running_var", 0.7, 1.3)
    self.state[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift

  def prelu(self, x, name):
    return np.where(x >= 0, x, x * self.state.take(f"{name}.weight", (x.shape[1],), 0.1, 0.4)[:, None, None])

  def linear(self, x, name, cout, bias=True):
    size = 1.5 / np.sqrt(x.shape[1])
    y = x @ self.state.take(f"{name}.weight", (cout, x.shape[1]), -size, size).T
    return y + self.state.take(f"{name}.bias", (cout,), -0.3, 0.3) if bias else y

  def block(self, x, names, cout, kernel=1, stride=1, padding=0, groups=1, bias=False):
    """Convolution, norm and, where there is a third name, slopes."""
    x = self.norm(self.conv(x, names[0], cout, kernel, stride, padding, groups, bias), names[1])
    return self.prelu(x, names[2]) if len(names) > 2 else x

  def tutorial(self, x, width, embedding_size, bias=False, affine=True):
    """MobileFaceNet_Tutorial_Pytorch."""
    c = round(64 * width)

    def names(start, act=True):
      return [f"{start}.conv", f"{start}.bn", *([f"{start}.prelu"] if act else [])]

    def unit(x, name, groups, cout, stride):
      y = self.block(x, names(f"{name}.conv"), groups, bias=bias)
      y = self.block(y, names(f"{name}.conv_dw"), groups, 3, stride, 1, groups)
      y = self.block(y, names(f"{name}.project", act=False), cout)
      return x + y if stride == 1 else y

    x = self.block(x, names("conv1"), c, 3, 2, 1)
    x = self.block(x, names("conv2_dw"), c, 3, 1, 1, c)
    x = unit(x, "conv_23", 2 * c, c, 2)
    for index in range(4):
      x = unit(x, f"conv_3.model.{index}", 2 * c, c, 1)
    x = unit(x, "conv_34", 4 * c, 2 * c, 2)
    for index in range(6):
      x = unit(x, f"conv_4.model.{index}", 4 * c, 2 * c, 1)
    x = unit(x, "conv_45", 8 * c, 2 * c, 2)
    for index in range(2):
      x = unit(x, f"conv_5.model.{index}", 4 * c, 2 * c, 1)
    x = self.block(x, names("conv_6_sep"), 8 * c)
    x = self.block(x, names("conv_6_dw", act=False), 8 * c, x.shape[2:], groups=8 * c)
    return self.norm(self.linear(x.reshape(len(x), -1), "linear", embedding_size, bias=False), "bn", affine)

  def blocks(self, x, width, embedding_size):
    """MobileFaceNet_Pytorch."""
    c = round(64 * width)

    def names(start, act=True):
      return [f"{start}.conv", f"{start}.bn", *([f"{start}.prelu"] if act else [])]

    x = self.block(x, names("conv1"), c, 3, 2, 1)
    x = self.block(x, names("dw_conv1"), c, 3, 1, 1, c)
    number = 0
    for times, cout, count, stride in ((2, c, 5, 2), (4, 2 * c, 1, 2), (2, 2 * c, 6, 1), (4, 2 * c, 1, 2), (2, 2 * c, 2, 1)):
      for index in range(count):
        start, inner, step = f"blocks.{number}.conv", times * x.shape[1], 1 if index else stride
        y = self.block(x, [f"{start}.{i}" for i in (0, 1, 2)], inner)
        y = self.block(y, [f"{start}.{i}" for i in (3, 4, 5)], inner, 3, step, 1, inner)
        y = self.block(y, [f"{start}.{i}" for i in (6, 7)], cout)
        x, number = x + y if x.shape == y.shape else y, number + 1
    x = self.block(x, names("conv2"), 8 * c)
    x = self.block(x, names("linear7", act=False), 8 * c, x.shape[2:], groups=8 * c)
    return self.block(x, names("linear1", act=False), embedding_size).reshape(len(x), -1)

  def ir(self, x, units, width, embedding_size, *, inner, squeeze=0, affine=True):
    """face.evoLVe (no inner norm) and AdaFace (with one, and a last norm without scale and bias)."""
    c = round(64 * width)
    x = self.block(x, ["input_layer.0", "input_layer.1", "input_layer.2"], c, 3, 1, 1)
    number = 0
    for stage, count in enumerate(units):
      cout = c * 2**stage
      for index in range(count):
        stride, start = 1 if index else 2, f"body.{number}"
        shortcut = x[:, :, ::stride, ::stride]
        if x.shape[1] != cout:
          shortcut = self.block(x, [f"{start}.shortcut_layer.0", f"{start}.shortcut_layer.1"], cout, 1, stride)
        parts = iter(f"{start}.res_layer.{i}" for i in range(9))
        y = self.conv(self.norm(x, next(parts)), next(parts), cout, 3, 1, 1)
        y = self.prelu(self.norm(y, next(parts)) if inner else y, next(parts))
        y = self.norm(self.conv(y, next(parts), cout, 3, stride, 1), next(parts))
        if squeeze:
          gate = y.mean((2, 3), keepdims=True)
          name = next(parts)
          gate = np.maximum(self.conv(gate, f"{name}.fc1", cout // squeeze), 0)
          y = y / (1 + np.exp(-self.conv(gate, f"{name}.fc2", cout)))
        x, number = shortcut + y, number + 1
    x = self.norm(x, "output_layer.0")
    return self.norm(self.linear(x.reshape(len(x), -1), "output_layer.3", embedding_size), "output_layer.4", affine)


def by_name(state):
  """The state as a safetensors file keeps it: by name, whatever order its modules were made in."""
  return {key: state[key] for key in sorted(state)}


def shuffled(state, first):
  """The state with the modules called `first` at the end, as where they are made last."""
  late = {key: array for key, array in state.items() if key.split(".")[0] in first}
  return {**{key: array for key, array in state.items() if key not in late}, **late}


__all__ = ["Net", "State", "by_name", "shuffled"]
