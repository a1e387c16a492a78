"""Convolutions whose weights are not shared: every position, or every group of inputs, has a kernel of its own."""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.conv import Padding
from jaxface.layers.formulation import current_formulation
from jaxface.layers.local_native import native_local, takes

Pair = tuple[int, int]

# Numbers of unfolded input above which all positions at once need too much memory, and which are unfolded at a time then.
WHOLE = 2**25
AT_A_TIME = 2**21

BIASES = ("position", "channel", "none")


def output_size(
  size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], padding: Padding
) -> tuple[Pair, tuple[Pair, Pair]]:
  """Height and width that windows have positions for, and the padding in pixels.

  Raises:
    ValueError: an unknown padding, or no position at all.
  """
  pads = lax.padtype_to_pads(size, kernel, strides, padding) if isinstance(padding, str) else padding
  vertical, horizontal = ((int(low), int(high)) for low, high in pads)
  out_h, out_w = ((n + low + high - k) // s + 1 for n, (low, high), k, s in zip(size, (vertical, horizontal), kernel, strides))
  if min(out_h, out_w) < 1:
    raise ValueError(f"a {kernel[0]}x{kernel[1]} window does not fit into {size[0]}x{size[1]} pixels with padding {padding!r}")
  return (out_h, out_w), (vertical, horizontal)


def framed(x_bhwc: Array, pads: tuple[Pair, Pair], seen: Pair) -> Array:
  """`x_bhwc` with zeros above and on the left of it, and as many below and on the right, or less of it, as gives `seen` pixels."""
  edges = [(low, much - size - low, 0) for size, much, (low, _) in zip(x_bhwc.shape[1:3], seen, pads)]
  return lax.pad(x_bhwc, jnp.zeros((), x_bhwc.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


class _Plan(NamedTuple):
  """How to go over the positions of a layer: so many rows of the output at a time."""

  kernel: Pair
  strides: Pair
  rows: int
  columns: int

  @property
  def reach(self) -> int:
    """Rows of the input that `rows` rows of the output see."""
    return (self.rows - 1) * self.strides[0] + self.kernel[0]

  def unfold(self, x_hwcb: Array) -> Array:
    """What each position sees of `reach` rows: [rows · columns, kh · kw · C, B]."""
    (kh, kw), (sh, sw) = self.kernel, self.strides
    channels, batch = x_hwcb.shape[2:]
    if current_formulation() == "xla":
      height, width = (self.rows - 1) * sh + 1, (self.columns - 1) * sw + 1
      places = [x_hwcb[i : i + height : sh, j : j + width : sw] for i in range(kh) for j in range(kw)]
      return jnp.stack(places, 2).reshape(-1, kh * kw * channels, batch)

    # On a CPU one copy for each position is faster than one for each place of the window.
    def window(row: Array, column: Array) -> Array:
      return lax.dynamic_slice(x_hwcb, (row, column, 0, 0), (kh, kw, channels, batch))

    along_row = jax.vmap(window, (None, 0))
    seen = jax.vmap(along_row, (0, None))(sh * jnp.arange(self.rows), sw * jnp.arange(self.columns))
    return seen.reshape(-1, kh * kw * channels, batch)

  def fold(self, unfolded: Array, channels: int) -> Array:
    """The transpose of `unfold`: each pixel gets the sum over the windows that see it; first along rows, then columns."""
    (kh, kw), (sh, sw) = self.kernel, self.strides
    x = unfolded.reshape(self.rows, self.columns, kh, kw, channels, -1)
    still = (0, 0, 0)
    zero = jnp.zeros((), x.dtype)
    x = reduce(
      jnp.add, [lax.pad(x[:, :, :, j], zero, (still, (j, kw - 1 - j, sw - 1), still, still, still)) for j in range(kw)]
    )
    if self.rows == 1:
      return x[0].swapaxes(0, 1)
    return reduce(jnp.add, [lax.pad(x[:, :, i], zero, ((i, kh - 1 - i, sh - 1), still, still, still)) for i in range(kh)])


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
  """Matrix products of a stack of matrices [P, ·, ·], summed over one axis of each in at least float32."""
  wide = jnp.promote_types(a.dtype, jnp.float32)
  return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0,), (0,))), preferred_element_type=wide)


def _scan(body: Callable, carry: Any, items: Any) -> tuple[Any, Any]:
  """`lax.scan`, and without a loop where there is one item only."""
  if jax.tree.leaves(items)[0].shape[0] > 1:
    return lax.scan(body, carry, items)
  carry, y = body(carry, jax.tree.map(lambda array: array[0], items))
  return carry, jax.tree.map(lambda array: array[None], y)


def _blocks(plan: _Plan, x: Array) -> Array:
  """[positions, ...] to [blocks, rows · columns, ...]."""
  return x.reshape(-1, plan.rows * plan.columns, *x.shape[1:])


def _starts(plan: _Plan, positions: int) -> Array:
  """First row of the input that each block sees."""
  return plan.rows * plan.strides[0] * jnp.arange(positions // (plan.rows * plan.columns))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _local(plan: _Plan, x_hwcb: Array, kernel_pko: Array) -> Array:
  def block(_: None, item: tuple[Array, Array]) -> tuple[None, Array]:
    start, kernel = item
    unfolded = plan.unfold(lax.dynamic_slice_in_dim(x_hwcb, start, plan.reach))
    return None, _dot(kernel, unfolded, 1, 1).astype(x_hwcb.dtype)

  _, y = _scan(block, None, (_starts(plan, len(kernel_pko)), _blocks(plan, kernel_pko)))
  return y.reshape(-1, *y.shape[2:])


def _pull_back(plan: _Plan, saved: tuple[Array, Array], dy_pob: Array) -> tuple[Array, Array]:
  x_hwcb, kernel_pko = saved

  def block(dx: Array, item: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    start, kernel, dy = item
    unfolded = plan.unfold(lax.dynamic_slice_in_dim(x_hwcb, start, plan.reach))
    dkernel = _dot(unfolded, dy, 2, 2).astype(kernel.dtype)
    more = plan.fold(_dot(kernel, dy, 2, 1), x_hwcb.shape[2])
    return lax.dynamic_update_slice_in_dim(dx, lax.dynamic_slice_in_dim(dx, start, plan.reach) + more, start, 0), dkernel

  # A pixel is summed over many windows: in at least float32.
  zeros = jnp.zeros(x_hwcb.shape, jnp.promote_types(x_hwcb.dtype, jnp.float32))
  items = (_starts(plan, len(kernel_pko)), _blocks(plan, kernel_pko), _blocks(plan, dy_pob))
  dx, dkernel = _scan(block, zeros, items)
  return dx.astype(x_hwcb.dtype), dkernel.reshape(kernel_pko.shape)


_local.defvjp(lambda plan, x, kernel: (_local(plan, x, kernel), (x, kernel)), _pull_back)


def locally_connected(
  x_bhwc: Array,
  kernel: Array,
  *,
  strides: Pair = (1, 1),
  padding: Padding = "VALID",
  low_memory: bool | None = None,
) -> Array:
  """Convolution with another kernel at each position of the output.

  On a CPU with native code: `jaxface.layers.local_native`, the fastest, in little memory. Elsewhere a stack of matrix
  products with the positions as its batch: what each of them sees is copied beside each other, images innermost. That takes
  kh · kw / (sh · sw) times the memory of the input: 0.5 GB for DeepFace's L4 at batch 32. With low memory it is done for a
  few rows of the output at a time, and again in the backward pass, which needs as little: the same numbers, in a loop of
  small steps where the other form has one large one.

  Reverse-mode gradients of any order; forward mode (`jax.jvp`) raises a TypeError.

  Args:
    x_bhwc: [B, H, W, C] float.
    kernel: [H', W', kh, kw, C, O] float, for H' × W' positions.
    strides: steps in pixels along height and width.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels.
    low_memory: of the stack of products. None decides by size: as soon as the copies are more than `WHOLE` numbers
      (128 MB of float32). Then as many rows are taken at a time as divide H' and make no more than `AT_A_TIME` numbers
      (8 MB), but at least one. Under `vmap` the sizes are those of one member.
  Returns:
    [B, H', W', O], of the type of `x_bhwc`.
  Raises:
    ValueError: kernels for another number of positions or channels.
  Source: Taigman et al., "DeepFace", 2014, §3.2.
  """
  (kh, kw), (batch, channels) = kernel.shape[2:4], (x_bhwc.shape[0], x_bhwc.shape[-1])
  (out_h, out_w), pads = output_size(x_bhwc.shape[1:3], (kh, kw), strides, padding)
  if kernel.shape[:5] != (out_h, out_w, kh, kw, channels):
    raise ValueError(
      f"kernels {kernel.shape} for an input of {x_bhwc.shape[1:]} with strides {strides} and padding {padding!r}: needs"
      f" [{out_h}, {out_w}, {kh}, {kw}, {channels}, O]"
    )
  if takes(x_bhwc, kernel, pads):
    return native_local(x_bhwc, kernel, (out_h, out_w), strides, pads)
  row = out_w * kh * kw * channels * batch
  if low_memory is None:
    low_memory = out_h * row > WHOLE
  rows = max(n for n in range(1, out_h + 1) if out_h % n == 0 and (n == 1 or n * row <= AT_A_TIME)) if low_memory else out_h
  plan = _Plan((kh, kw), strides, rows, out_w)
  x_bhwc = framed(x_bhwc, pads, ((out_h - 1) * strides[0] + kh, (out_w - 1) * strides[1] + kw))
  y_pob = _local(plan, x_bhwc.transpose(1, 2, 3, 0), kernel.reshape(out_h * out_w, -1, kernel.shape[-1]))
  return y_pob.reshape(out_h, out_w, -1, batch).transpose(3, 0, 1, 2)


def each(init: Any, count: tuple[int, ...]) -> Any:
  """An initialiser of arrays [*count, ...] that calls `init` for each of their parts: its fan is that of one part."""

  def initialise(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    keys = jax.random.split(key, math.prod(count))
    return jax.vmap(lambda key: init(key, shape[len(count) :], dtype))(keys).reshape(shape)

  return initialise


class LocallyConnected(nn.Module):
  """`locally_connected` with parameters `kernel` [H', W', kh, kw, C, features] and `bias`.

  Attributes:
    features: channels of the result.
    kernel_size: height and width of the windows in pixels.
    strides: steps in pixels.
    padding: as for `locally_connected`.
    bias: "position" for one at every position and channel, [H', W', features]; "channel" for one per channel,
      [features]; "none".
    low_memory: as for `locally_connected`.
    dtype: of the computation.
    kernel_init: initialiser of the kernel of one position, [kh, kw, C, features].
    bias_init: initialiser of the bias.
  """

  features: int
  kernel_size: Pair
  strides: Pair = (1, 1)
  padding: Padding = "VALID"
  bias: str = "position"
  low_memory: bool | None = None
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
  bias_init: Any = nn.initializers.zeros

  @nn.compact
  def __call__(self, x_bhwc: Array) -> Array:
    """[B, H, W, C] to [B, H', W', features]."""
    if self.bias not in BIASES:
      raise ValueError(f"bias of LocallyConnected is {self.bias!r}: takes {', '.join(map(repr, BIASES))}")
    out, _ = output_size(x_bhwc.shape[1:3], self.kernel_size, self.strides, self.padding)
    shape = (*out, *self.kernel_size, x_bhwc.shape[-1], self.features)
    kernel = self.param("kernel", each(self.kernel_init, out), shape, jnp.float32)
    y_bhwc = locally_connected(
      x_bhwc.astype(self.dtype), kernel.astype(self.dtype),
      strides=self.strides, padding=self.padding, low_memory=self.low_memory,
    )
    if self.bias == "none":
      return y_bhwc
    bias_shape = (*out, self.features) if self.bias == "position" else (self.features,)
    return y_bhwc + self.param("bias", self.bias_init, bias_shape, jnp.float32).astype(self.dtype)


class GroupedLocallyConnected(nn.Module):
  """Fully connected layers side by side, one for each group of inputs, with `kernel` [G, D, features] and `bias` [G, features].

  DeepID's verifier has 60 groups, one per patch, each with the 640 features of two images: 80 numbers of each.

  Attributes:
    features: results of each group.
    dtype: of the computation.
    kernel_init: initialiser of the kernel of one group, [D, features].
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, §3.4.
  """

  features: int
  dtype: Any = jnp.float32
  kernel_init: Any = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

  @nn.compact
  def __call__(self, x_bgd: Array) -> Array:
    """[B, G, D] to [B, G, features]."""
    groups, size = x_bgd.shape[1:]
    shape = (groups, size, self.features)
    kernel = self.param("kernel", each(self.kernel_init, (groups,)), shape, jnp.float32).astype(self.dtype)
    bias = self.param("bias", nn.initializers.zeros, (groups, self.features), jnp.float32).astype(self.dtype)
    return jnp.einsum("bgd,gdo->bgo", x_bgd.astype(self.dtype), kernel) + bias


__all__ = ["GroupedLocallyConnected", "LocallyConnected", "Pair", "each", "framed", "locally_connected", "output_size"]
