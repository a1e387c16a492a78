"""Exact nearest neighbours: the gallery embeddings with the highest scores for each probe, over any gallery, with constant memory.

The gallery passes in blocks. The k highest scores of a row are in the k groups of columns with the highest maxima, so only these groups
are sorted. With several devices each has a part of every block.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from tqdm import tqdm

# Rows of the gallery in a block on each device, probes in a block, and columns of a group.
GALLERY_BLOCK, PROBE_BLOCK, GROUP = 16_384, 1_024, 32


class Nearest(NamedTuple):
  """The nearest gallery rows of each probe, the highest score first; of equal scores, the lower row first.

  Attributes:
    row_nk: [N, k] int64, rows of the gallery.
    score_nk: [N, k] float32, inner products.
  """

  row_nk: np.ndarray
  score_nk: np.ndarray


def nearest(
  probe_nd: np.ndarray, gallery_md: np.ndarray, k: int, *, devices: Sequence[jax.Device] | None = None, progress: bool = False
) -> Nearest:
  """The k gallery rows with the highest inner product for each probe.

  Args:
    probe_nd: [N, D] float; of unit length for cosines.
    gallery_md: [M, D] float, in memory or mapped from a file: it is read once, block by block.
    k: how many; at most M.
    devices: that share the gallery; None for all of this host. The result does not depend on them.
    progress: draw a progress bar.
  Returns:
    `Nearest`.
  Raises:
    ValueError: shapes that do not fit, a k out of range, or an embedding that is not finite.
  """
  if probe_nd.ndim != 2 or gallery_md.ndim != 2 or probe_nd.shape[1] != gallery_md.shape[1]:
    raise ValueError(f"probes {probe_nd.shape} and gallery {gallery_md.shape}: both must be [rows, D] of the same D")
  if not 1 <= k <= len(gallery_md):
    raise ValueError(f"k is {k}: it must be from 1 to {len(gallery_md):,}, the rows of the gallery")
  mesh = Mesh(np.array(jax.local_devices() if devices is None else list(devices)), ("gallery",))
  probes = [_finite(probe_nd, start, PROBE_BLOCK, "probe") for start in range(0, len(probe_nd), PROBE_BLOCK)]
  found = [_nothing(len(part), k) for part in probes]
  rows = min(GALLERY_BLOCK, -(-len(gallery_md) // (mesh.size * GROUP)) * GROUP) * mesh.size
  for start in tqdm(range(0, len(gallery_md), rows), desc="gallery", unit="block", disable=not progress):
    block_gd = _finite(gallery_md, start, rows, "gallery")
    live = len(block_gd)
    block = jax.device_put(np.pad(block_gd, ((0, rows - live), (0, 0))), jax.NamedSharding(mesh, P("gallery")))
    found = [_step(mesh, min(k, rows // mesh.size), one, part, block, start, live) for one, part in zip(found, probes)]
  row_nk, score_nk = (np.concatenate([np.asarray(one[at]) for one in found]) for at in (1, 0))
  return Nearest(row_nk.astype(np.int64), score_nk)


def _finite(embedding_nd: np.ndarray, start: int, rows: int, what: str) -> np.ndarray:
  part = np.asarray(embedding_nd[start : start + rows], np.float32)
  bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
  if bad.size:
    raise ValueError(f"{what} row {start + bad[0]} is not finite: it has no nearest neighbours")
  return part


def _nothing(count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
  return np.full((count, k), -np.inf, np.float32), np.zeros((count, k), np.int32)


@partial(jax.jit, static_argnums=(0, 1))
def _step(
  mesh: Mesh, k: int, found: tuple[Array, Array], probe_nd: Array, block_gd: Array, start: Array | int, live: Array | int
) -> tuple[Array, Array]:
  """The nearest so far and those of one block, merged."""

  def local(probe_nd: Array, part_gd: Array, start: Any, live: Any) -> tuple[Array, Array]:
    first = lax.axis_index("gallery") * len(part_gd)
    score_ng = jnp.where(first + jnp.arange(len(part_gd)) < live, probe_nd @ part_gd.T, -jnp.inf)
    score_nk, row_nk = _largest(score_ng, k)
    return score_nk, row_nk + first + start

  run = jax.shard_map(
    local, mesh=mesh, in_specs=(P(), P("gallery"), P(), P()), out_specs=(P(None, "gallery"), P(None, "gallery")), check_vma=False
  )
  score_nk, row_nk = (
    jnp.concatenate(pair, axis=1) for pair in zip(found, run(probe_nd, block_gd, jnp.asarray(start), jnp.asarray(live)))
  )
  # Earlier rows stand first, and of equal scores the first is taken.
  best_nk, at_nk = lax.top_k(score_nk, found[0].shape[1])
  return best_nk, jnp.take_along_axis(row_nk, at_nk, axis=1)


def _largest(score_ng: Array, k: int) -> tuple[Array, Array]:
  """The k largest scores of each row and their columns, the lower column first if equal."""
  count, columns = score_ng.shape
  if columns <= k * GROUP:
    return lax.top_k(score_ng, k)
  groups = score_ng.reshape(count, columns // GROUP, GROUP)
  # In ascending order, so that equal scores keep the order of their columns.
  group_nk = jnp.sort(lax.top_k(groups.max(axis=2), k)[1], axis=1)
  few = jnp.take_along_axis(groups, group_nk[:, :, None], axis=1).reshape(count, k * GROUP)
  best_nk, at_nk = lax.top_k(few, k)
  return best_nk, jnp.take_along_axis(group_nk, at_nk // GROUP, axis=1) * GROUP + at_nk % GROUP


__all__ = ["Nearest", "nearest"]
