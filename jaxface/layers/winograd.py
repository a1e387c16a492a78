"""3×3 convolution of stride 1 by Winograd's algorithm, written so that XLA:CPU runs it as matrix products.

A tile of m×m outputs is a linear map of (m + 2)×(m + 2) inputs: y = Aᵀ[(G k Gᵀ) ⊙ (Bᵀ x B)]A. The product ⊙, taken over
all tiles and channels, is (m + 2)² matrix products with m²·9 / (m + 2)² times fewer multiplications than the
convolution itself: 2.25 at m = 2, 4 at m = 4.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, sections 4.1 to 4.3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxface.layers.chunks import images_per_chunk, join, split

Size = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
KERNEL = 3


class Algorithm(NamedTuple):
  """The three matrices of F(m, 3): `data` Bᵀ [m+2, m+2], `kernel` G [m+2, 3], `output` Aᵀ [m, m+2]."""

  data: np.ndarray
  kernel: np.ndarray
  output: np.ndarray

  @property
  def tile(self) -> int:
    return self.output.shape[0]


F2 = Algorithm(
  np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
  np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
  np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
)
F4 = Algorithm(
  np.array([
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
  ]),
  np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
  np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)


def _combine(matrix: np.ndarray, parts: list[Array]) -> list[Array]:
  """`matrix` times a column of arrays, skipping zeros of the matrix."""
  rows = []
  for row in matrix:
    terms = [part if c == 1 else -part if c == -1 else float(c) * part for c, part in zip(row, parts) if c]
    rows.append(sum(terms[1:], terms[0]))
  return rows


def _tiles(matrix: np.ndarray, x_bhwc: Array, step: int, pads: Pads, count: Size) -> list[list[Array]]:
  """Applies `matrix` on both sides of every square tile; tiles start every `step` pixels.

  The tiles cover the image padded by `pads`: `count` of them along height and width.

  Returns:
    [B, count, count, C] for each row and column of the transformed tile.
  """
  size = matrix.shape[1]
  batch, _, _, channels = x_bhwc.shape
  tall, wide = count
  x_bhwc = jnp.pad(x_bhwc, ((0, 0), *pads, (0, 0)))
  width = x_bhwc.shape[2]
  rows = _combine(
    matrix,
    [
      lax.slice(x_bhwc, (0, i, 0, 0), (batch, i + (tall - 1) * step + 1, width, channels), (1, step, 1, 1))
      for i in range(size)
    ],
  )
  return [
    _combine(
      matrix,
      [
        lax.slice(row, (0, 0, j, 0), (batch, tall, j + (wide - 1) * step + 1, channels), (1, 1, step, 1))
        for j in range(size)
      ],
    )
    for row in rows
  ]


def _covering(algorithm: Algorithm, size: Size) -> Size:
  """Tiles along height and width that cover an output of `size` pixels."""
  return tuple(-(-pixels // algorithm.tile) for pixels in size)


def _data_tiles(algorithm: Algorithm, x_bhwc: Array, pads: Pads, size: Size) -> list[list[Array]]:
  """Bᵀ x B for every tile of an output of `size`."""
  count = _covering(algorithm, size)
  tile = algorithm.tile
  reach = [(low, n * tile + KERNEL - 1 - pixels - low) for (low, _), n, pixels in zip(pads, count, x_bhwc.shape[1:3])]
  return _tiles(algorithm.data, x_bhwc, tile, tuple(reach), count)


def _forward(algorithm: Algorithm, x_bhwc: Array, product_kernel: Array, pads: Pads, size: Size) -> Array:
  """The convolution, given the transformed kernel [m+2, m+2, C, O]."""
  places = range(algorithm.tile + KERNEL - 1)
  data = _data_tiles(algorithm, x_bhwc, pads, size)
  product = [[data[i][j] @ product_kernel[i, j] for j in places] for i in places]
  half = [_combine(algorithm.output, row) for row in product]
  tile = [_combine(algorithm.output, [row[q] for row in half]) for q in range(algorithm.tile)]
  y = jnp.stack([jnp.stack([column[p] for column in tile], 3) for p in range(algorithm.tile)], 2)
  batch, tall, m, wide, _, features = y.shape
  return y.reshape(batch, tall * m, wide * m, features)[:, : size[0], : size[1]]


def _kernel_gradient(algorithm: Algorithm, x_bhwc: Array, dy_bhwo: Array, pads: Pads) -> Array:
  """Cotangent [m+2, m+2, C, O] of the transformed kernel."""
  size = dy_bhwo.shape[1:3]
  count = _covering(algorithm, size)
  data = _data_tiles(algorithm, x_bhwc, pads, size)
  edge = tuple((0, n * algorithm.tile - pixels) for n, pixels in zip(count, size))
  slope = _tiles(algorithm.output.T, dy_bhwo, algorithm.tile, edge, count)

  def product(a: Array, b: Array) -> Array:
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])

  return jnp.stack([jnp.stack([product(a, b) for a, b in zip(*rows)]) for rows in zip(data, slope)])


def _transform_kernel(algorithm: Algorithm, kernel_hwio: Array) -> Array:
  g = algorithm.kernel.astype(kernel_hwio.dtype)
  return jnp.einsum("ph,qw,hwio->pqio", g, g, kernel_hwio, precision="highest")


def _transform_back(algorithm: Algorithm, product_kernel: Array) -> Array:
  g = algorithm.kernel.astype(product_kernel.dtype)
  return jnp.einsum("ph,qw,pqio->hwio", g, g, product_kernel, precision="highest")


def _output_size(x_bhwc: Array, pads: Pads) -> Size:
  return tuple(pixels + sum(pad) - KERNEL + 1 for pixels, pad in zip(x_bhwc.shape[1:3], pads))


def _value(x_bhwc: Array, kernel_hwio: Array, pads: Pads) -> Array:
  size = _output_size(x_bhwc, pads)
  product_kernel = _transform_kernel(F2, kernel_hwio)
  chunk = images_per_chunk(x_bhwc)
  return join(lax.map(lambda part: _forward(F2, part, product_kernel, pads, size), split(x_bhwc, chunk)))


def _pull_back(pads: Pads, saved: tuple[Array, Array], dy_bhwo: Array) -> tuple[Array, Array]:
  x_bhwc, kernel_hwio = saved
  # The input gradient is the convolution of dy with the kernel rotated by 180°. F(4, 3) is faster for the kernel gradient,
  # where the products are long and few, but not for the values, where its transforms cost more than it saves.
  turned = _transform_kernel(F2, kernel_hwio[::-1, ::-1].swapaxes(2, 3))
  turned_pads = tuple((KERNEL - 1 - low, KERNEL - 1 - high) for low, high in pads)

  def step(total: Array, part: tuple[Array, Array]) -> tuple[Array, Array]:
    x, dy = part
    dx = _forward(F2, dy, turned, turned_pads, x.shape[1:3])
    return total + _kernel_gradient(F4, x, dy, pads), dx

  places = F4.tile + KERNEL - 1
  zero = jnp.zeros((places, places, *kernel_hwio.shape[2:]), kernel_hwio.dtype)
  chunk = images_per_chunk(x_bhwc)
  total, dx = lax.scan(step, zero, (split(x_bhwc, chunk), split(dy_bhwo, chunk)))
  return join(dx), _transform_back(F4, total)


_winograd = jax.custom_vjp(_value, nondiff_argnums=(2,))
_winograd.defvjp(lambda x, kernel, pads: (_winograd(x, kernel, pads), (x, kernel)), _pull_back)


def winograd_conv(x_bhwc: Array, kernel_hwio: Array, pads: Pads) -> Array:
  """Convolution by a 3×3 kernel at stride 1.

  Args:
    x_bhwc: [B, H, W, C] float32 or float64.
    kernel_hwio: [3, 3, C, O] of the same type.
    pads: zero padding ((top, bottom), (left, right)) in pixels, each at most two.
  Returns:
    [B, H', W', O], equal to the convolution within about 1e-5 of its largest value in float32.
  """
  return _winograd(x_bhwc, kernel_hwio, pads)


__all__ = ["winograd_conv"]
