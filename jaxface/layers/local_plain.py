"""Locally connected and locally shared layers as batched matrix products, in JAX operations only."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxface.layers.formulation import by_platform, current_formulation

Pair = tuple[int, int]

# Above WHOLE numbers of unfolded input, at most AT_A_TIME numbers are unfolded at a time.
WHOLE = 2**25
AT_A_TIME = 2**21


def framed(x_bhwc: Array, corner: Pair, seen: Pair) -> Array:
  """`x_bhwc` with `corner` rows and columns of zeros before it, padded or cropped at the end to `seen` pixels."""
  edges = [(low, much - size - low, 0) for size, much, low in zip(x_bhwc.shape[1:3], seen, corner)]
  return lax.pad(x_bhwc, jnp.zeros((), x_bhwc.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


class _Plan(NamedTuple):
  """Iteration over the positions of a layer, `rows` rows of the output at a time."""

  kernel: Pair
  strides: Pair
  rows: int
  columns: int

  @property
  def reach(self) -> int:
    """Rows of the input that `rows` rows of the output depend on."""
    return (self.rows - 1) * self.strides[0] + self.kernel[0]

  def unfold(self, x_hwcb: Array) -> Array:
    """The windows of `reach` rows of the input: [rows · columns, kh · kw · C, B]."""
    if current_formulation() == "xla":
      return self.by_place(x_hwcb)
    # On a CPU one copy per output position is faster than one per window position.
    return by_platform(x_hwcb, cpu=_Plan.by_position, other=_Plan.by_place, of=(self,))

  def by_place(self, x_hwcb: Array) -> Array:
    """`unfold` with one copy per window position."""
    (kh, kw), (sh, sw) = self.kernel, self.strides
    height, width = (self.rows - 1) * sh + 1, (self.columns - 1) * sw + 1
    places = [x_hwcb[i : i + height : sh, j : j + width : sw] for i in range(kh) for j in range(kw)]
    return jnp.stack(places, 2).reshape(self.rows * self.columns, kh * kw * x_hwcb.shape[2], x_hwcb.shape[3])

  def by_position(self, x_hwcb: Array) -> Array:
    """`unfold` with one copy per output position."""
    (kh, kw), (sh, sw), (channels, batch) = self.kernel, self.strides, x_hwcb.shape[2:]

    def window(row: Array, column: Array) -> Array:
      return lax.dynamic_slice(x_hwcb, (row, column, 0, 0), (kh, kw, channels, batch))

    along_row = jax.vmap(window, (None, 0))
    seen = jax.vmap(along_row, (0, None))(sh * jnp.arange(self.rows), sw * jnp.arange(self.columns))
    return seen.reshape(self.rows * self.columns, kh * kw * channels, batch)

  def fold(self, unfolded: Array, channels: int) -> Array:
    """The transpose of `unfold`: each pixel gets the sum over the windows that contain it; first along rows, then columns."""
    (kh, kw), (sh, sw) = self.kernel, self.strides
    x = unfolded.reshape(self.rows, self.columns, kh, kw, channels, unfolded.shape[-1])
    still = (0, 0, 0)
    zero = jnp.zeros((), x.dtype)
    x = reduce(
      jnp.add, [lax.pad(x[:, :, :, j], zero, (still, (j, kw - 1 - j, sw - 1), still, still, still)) for j in range(kw)]
    )
    if self.rows == 1:
      return x[0].swapaxes(0, 1)
    return reduce(jnp.add, [lax.pad(x[:, :, i], zero, ((i, kh - 1 - i, sh - 1), still, still, still)) for i in range(kh)])


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
  """Batched matrix product of [P, ·, ·] arrays over one axis of each, summed in at least float32."""
  wide = jnp.promote_types(a.dtype, jnp.float32)
  return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0,), (0,))), preferred_element_type=wide)


def _scan(body: Callable, carry: Any, items: Any) -> tuple[Any, Any]:
  """`lax.scan`, without a loop if there is only one item."""
  if jax.tree.leaves(items)[0].shape[0] > 1:
    return lax.scan(body, carry, items)
  carry, y = body(carry, jax.tree.map(lambda array: array[0], items))
  return carry, jax.tree.map(lambda array: array[None], y)


def _blocks(plan: _Plan, x: Array) -> Array:
  """[positions, ...] to [blocks, rows · columns, ...]."""
  size = plan.rows * plan.columns
  return x.reshape(len(x) // size, size, *x.shape[1:])


def _starts(plan: _Plan, positions: int) -> Array:
  """First input row of each block."""
  return plan.rows * plan.strides[0] * jnp.arange(positions // (plan.rows * plan.columns))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _local(plan: _Plan, x_hwcb: Array, kernel_pko: Array) -> Array:
  def block(_: None, item: tuple[Array, Array]) -> tuple[None, Array]:
    start, kernel = item
    unfolded = plan.unfold(lax.dynamic_slice_in_dim(x_hwcb, start, plan.reach))
    return None, _dot(kernel, unfolded, 1, 1).astype(x_hwcb.dtype)

  _, y = _scan(block, None, (_starts(plan, len(kernel_pko)), _blocks(plan, kernel_pko)))
  return y.reshape(len(kernel_pko), *y.shape[2:])


def _pull_back(plan: _Plan, saved: tuple[Array, Array], dy_pob: Array) -> tuple[Array, Array]:
  x_hwcb, kernel_pko = saved

  def block(dx: Array, item: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    start, kernel, dy = item
    unfolded = plan.unfold(lax.dynamic_slice_in_dim(x_hwcb, start, plan.reach))
    dkernel = _dot(unfolded, dy, 2, 2).astype(kernel.dtype)
    more = plan.fold(_dot(kernel, dy, 2, 1), x_hwcb.shape[2])
    return lax.dynamic_update_slice_in_dim(dx, lax.dynamic_slice_in_dim(dx, start, plan.reach) + more, start, 0), dkernel

  # A pixel is summed over many windows, so sum in at least float32.
  zeros = jnp.zeros(x_hwcb.shape, jnp.promote_types(x_hwcb.dtype, jnp.float32))
  items = (_starts(plan, len(kernel_pko)), _blocks(plan, kernel_pko), _blocks(plan, dy_pob))
  dx, dkernel = _scan(block, zeros, items)
  return dx.astype(x_hwcb.dtype), dkernel.reshape(kernel_pko.shape)


_local.defvjp(lambda plan, x, kernel: (_local(plan, x, kernel), (x, kernel)), _pull_back)


def connected(
  x_bhwc: Array, kernel: Array, result: tuple[int, ...], strides: Pair, corner: Pair, low_memory: bool | None = None
) -> Array:
  """A layer with one kernel per position.

  Args:
    x_bhwc: [B, H, W, C].
    kernel: [H', W', kh, kw, C, O].
    result: (H', W', O).
    strides: (rows, columns).
    corner: (top, left) padding in pixels.
    low_memory: see `jaxface.layers.local.locally_connected`.
  Returns:
    [B, H', W', O].
  """
  (out_h, out_w), (kh, kw), (batch, channels) = result[:2], kernel.shape[2:4], (x_bhwc.shape[0], x_bhwc.shape[-1])
  row = out_w * kh * kw * channels * batch
  if low_memory is None:
    low_memory = out_h * row > WHOLE
  rows = max(n for n in range(1, out_h + 1) if out_h % n == 0 and (n == 1 or n * row <= AT_A_TIME)) if low_memory else out_h
  plan = _Plan((kh, kw), strides, rows, out_w)
  x_bhwc = framed(x_bhwc, corner, ((out_h - 1) * strides[0] + kh, (out_w - 1) * strides[1] + kw))
  y_pob = _local(plan, x_bhwc.transpose(1, 2, 3, 0), kernel.reshape(out_h * out_w, kh * kw * channels, kernel.shape[-1]))
  return y_pob.reshape(*result, batch).transpose(3, 0, 1, 2)


def shared(
  x_bhwc: Array, kernel: Array, result: tuple[int, ...], strides: Pair, corner: Pair, block: int
) -> Array:
  """A layer with one kernel per region of block × block positions; kernel [R, S, kh, kw, C, O], otherwise as `connected`."""
  (out_h, out_w), (rows, columns, kh, kw, channels) = result[:2], kernel.shape[:5]
  batch = x_bhwc.shape[0]
  # Smaller regions are padded with positions that read zeros and whose results are dropped.
  span_h, span_w = (rows * block - 1) * strides[0] + 1, (columns * block - 1) * strides[1] + 1
  x_hwcb = framed(x_bhwc, corner, (span_h - 1 + kh, span_w - 1 + kw)).transpose(1, 2, 3, 0)

  def by_region(i: int, j: int) -> Array:
    """Element (i, j) of all windows: [R, S, C, block, block, B]."""
    seen = x_hwcb[i : i + span_h : strides[0], j : j + span_w : strides[1]]
    return seen.reshape(rows, block, columns, block, channels, batch).transpose(0, 2, 4, 1, 3, 5)

  unfolded = jnp.stack([by_region(i, j) for i in range(kh) for j in range(kw)], 2)
  y = lax.dot_general(
    kernel.reshape(rows * columns, kh * kw * channels, result[2]),
    unfolded.reshape(rows * columns, kh * kw * channels, block * block * batch),
    (((1,), (1,)), ((0,), (0,))),
  )
  y = y.reshape(rows, columns, result[2], block, block, batch).transpose(5, 0, 3, 1, 4, 2)
  return y.reshape(batch, rows * block, columns * block, result[2])[:, :out_h, :out_w]


__all__ = ["Pair", "connected", "shared"]
