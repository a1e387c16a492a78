"""Synthetic faces as a source: any number of identities, rendered on reading.

An image is a function of (seed, identity, occurrence) only: identities and scenes are sampled with a counter-based generator, and
rendering works in chunks of one fixed size, so that it compiles once and no image depends on its neighbours.
"""

import functools
from typing import Any

import jax
import numpy as np

from jaxface.data.source import UnreadableRow
from jaxface.data.synthetic_draw import pack, unpack
from jaxface.data.synthetic_identity import draw_identity
from jaxface.data.synthetic_render import compose, develop, draw_layers, view
from jaxface.data.synthetic_scene import Nuisance, draw_scene
from jaxface.data.synthetic_solid import solid

CHUNK = 16


def render(
  identity_n: np.ndarray, occurrence_n: np.ndarray, *, size: int = 64, seed: int = 0, nuisance: Nuisance | None = None
) -> np.ndarray:
  """Renders faces on the host CPU.

  Args:
    identity_n: [n] int, at least 0: identities.
    occurrence_n: [n] int, at least 0: number of the image within its identity.
    size: side length of the images in pixels.
    seed: another seed gives other people.
    nuisance: how strongly the images of one identity differ.
  Returns:
    [n, size, size, 3] uint8, RGB, aligned to `arcface112` scaled to the size, with simulated alignment errors.
  Raises:
    ValueError: negative numbers, or different numbers of occurrences and identities.
  """
  identity_n, occurrence_n = np.asarray(identity_n, np.int64), np.asarray(occurrence_n, np.int64)
  if identity_n.ndim != 1 or identity_n.shape != occurrence_n.shape:
    raise ValueError(f"identities of shape {identity_n.shape}, occurrences of {occurrence_n.shape}: both should be [n]")
  if len(identity_n) and min(identity_n.min(), occurrence_n.min()) < 0:
    raise ValueError("identities and occurrences are numbered from 0: got a negative number")
  out = np.empty((len(identity_n), size, size, 3), np.uint8)
  pending: tuple[slice, tuple] | None = None
  for start in range(0, len(out), CHUNK):
    rows = slice(start, min(start + CHUNK, len(out)))
    # Dispatch is asynchronous: the next chunk's traits are sampled while this one is rendered.
    planes = _render_chunk(seed, _fill(identity_n[rows]), _fill(occurrence_n[rows]), size, nuisance or Nuisance())
    if pending:
      _collect(out, *pending)
    pending = rows, planes
  if pending:
    _collect(out, *pending)
  return out


class SyntheticSource:
  """Synthetic identities as a source of faces (see `jaxface.data.source`).

  Args:
    num_identities: number of identities.
    images_per_identity: images of each; record r shows identity r // images_per_identity.
    size: side length of the images in pixels.
    seed: another seed gives other people.
    first_identity: number of the first one: sources of one seed with disjoint numbers have disjoint identities.
    nuisance: how strongly the images of one identity differ.
  Raises:
    ValueError: a number is too small.
  """

  template = "arcface112"

  def __init__(
    self,
    num_identities: int,
    images_per_identity: int,
    size: int = 64,
    seed: int = 0,
    first_identity: int = 0,
    nuisance: Nuisance | None = None,
  ):
    arguments = {"num_identities": num_identities, "images_per_identity": images_per_identity, "size": size}
    for name, value, least in [*((n, v, 1) for n, v in arguments.items()), ("first_identity", first_identity, 0), ("seed", seed, 0)]:
      if value < least:
        raise ValueError(f"SyntheticSource.{name} is {value}: must be at least {least}")
    self.num_identities = num_identities
    self.images_per_identity = images_per_identity
    self.num_records = num_identities * images_per_identity
    self.image_shape = (size, size, 3)
    self.seed = seed
    self.first_identity = first_identity
    self.nuisance = nuisance or Nuisance()
    self.label_n = np.repeat(np.arange(num_identities, dtype=np.int32), images_per_identity)

  def names(self) -> list[str]:
    """Name of each record, like `synthetic_000012/synthetic_000012_0003`."""
    return [
      f"synthetic_{identity:06d}/synthetic_{identity:06d}_{occurrence:04d}"
      for identity in range(self.first_identity, self.first_identity + self.num_identities)
      for occurrence in range(self.images_per_identity)
    ]

  def fingerprint(self) -> dict[str, Any]:
    """The parameters that determine the images."""
    return {
      "synthetic_seed": self.seed, "identities": self.num_identities, "images_per_identity": self.images_per_identity,
      "first_identity": self.first_identity, "image_shape": list(self.image_shape), "nuisance": repr(self.nuisance),
    }

  def identity_names(self) -> list[str]:
    """Name of each identity, by label; includes the seed, since another seed gives other people the same numbers."""
    past = self.first_identity + self.num_identities
    return [f"synthetic_{self.seed}_{identity:06d}" for identity in range(self.first_identity, past)]

  def read(self, record_n: np.ndarray, out: np.ndarray) -> list[UnreadableRow]:
    """Renders records into `out`.

    Args:
      record_n: [N] int, record numbers.
      out: [N, H, W, C] uint8.
    Returns:
      No errors.
    Raises:
      IndexError: no such record.
    """
    record_n = np.asarray(record_n, np.int64)
    if len(record_n) and not (record_n.min() >= 0 and record_n.max() < self.num_records):
      raise IndexError(f"records {record_n.min()}..{record_n.max()} of a source that has {self.num_records}")
    identity_n, occurrence_n = np.divmod(record_n, self.images_per_identity)
    out[...] = render(
      identity_n + self.first_identity, occurrence_n, size=self.image_shape[0], seed=self.seed, nuisance=self.nuisance
    )
    return []


def _fill(number_n: np.ndarray) -> np.ndarray:
  return np.concatenate([number_n, np.zeros(CHUNK - len(number_n), np.int64)])


def _collect(out: np.ndarray, rows: slice, planes: tuple) -> None:
  for channel, plane in enumerate(planes):
    out[rows, :, :, channel] = np.asarray(plane)[: rows.stop - rows.start]


def _traits(seed: int, identity_n: np.ndarray, occurrence_n: np.ndarray, nuisance: Nuisance) -> tuple:
  who, scene = draw_identity(seed, identity_n), draw_scene(seed, identity_n, occurrence_n, nuisance)
  return who, scene, solid(who, scene)


def _render_chunk(seed: int, identity_n: np.ndarray, occurrence_n: np.ndarray, size: int, nuisance: Nuisance) -> tuple:
  see, draw, finish = _stages(size)
  who, scene, shape = _traits(seed, identity_n, occurrence_n, nuisance)
  salt_n = (scene.grain * 2.0**32).astype(np.uint32)
  row_n, salt_n = jax.device_put((pack((who, scene, shape)), salt_n), jax.local_devices(backend="cpu")[0])
  return finish(row_n, draw(row_n, see(row_n)), salt_n)


@functools.cache
def _stages(size: int) -> tuple:
  """Three compiled functions of chunks: solid view, layers, finished planes.

  They are compiled separately because XLA would otherwise fuse the shapes into every use of them.
  """
  shapes = _traits(0, np.zeros(1, np.int64), np.zeros(1, np.int64), Nuisance())

  def see(row):
    _, scene, shape = unpack(row, shapes)[0]
    return view(scene, shape, size)

  def draw(row, seen):
    who, scene, _ = unpack(row, shapes)[0]
    return draw_layers(who, scene, seen)

  def finish(row, groups, salt):
    _, scene, _ = unpack(row, shapes)[0]
    return tuple(develop(compose(groups, scene), scene, salt))

  return tuple(jax.jit(jax.vmap(stage)) for stage in (see, draw, finish))
