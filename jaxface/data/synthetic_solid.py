"""The head as a smooth union of ellipsoids, seen along parallel rays: depth, slope and outline in closed form.

The host turns each ellipsoid into a few coefficients; the device evaluates them for every pixel.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.synthetic_identity import Identity
from jaxface.data.synthetic_scene import Scene

# Left eye, right eye, tip of the nose, corners of the mouth: the template `arcface112` as shares of the side length.
TEMPLATE = np.float32([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) / 112


class Surface(NamedTuple):
  """A height field over the pixels [h, w].

  Attributes:
    depth: towards the viewer; meaningful inside the outline.
    slope_x: its derivative to the right.
    slope_y: its derivative downwards.
    inside: signed distance to the outline (approximately), positive inside.
  """

  depth: jax.Array
  slope_x: jax.Array
  slope_y: jax.Array
  inside: jax.Array


class Solid(NamedTuple):
  """Parameters of the shapes of n images, for the device.

  Attributes:
    turn: [n, 3, 3] rotations from the head's frame to the viewer's.
    grid: [n, 4] similarity from shares of the side length to the viewer's frame: real, imaginary part, shift x, y.
    face: [n, K, 13] coefficients of the ellipsoids of the face, each joined to the preceding ones.
    rest: [n, 3, 13] coefficients of the ears and the neck.
    hair: [n, 2, 13] coefficients of the cap of hair around the skull, and of the hair behind it.
  """

  turn: np.ndarray
  grid: np.ndarray
  face: np.ndarray
  rest: np.ndarray
  hair: np.ndarray


def solid(who: Identity, scene: Scene) -> Solid:
  """Shapes of n images: the identities, posed and aligned as in the scenes."""
  turn = _rotation(scene.yaw, scene.pitch)
  face, rest, hair = _parts(who, scene)
  return Solid(turn, _alignment(who, scene, turn), _forms(turn, face), _forms(turn, rest), _forms(turn, hair))


def _parts(who: Identity, scene: Scene) -> tuple[list, list, list]:
  """Ellipsoids of face, rest and hair: centre, half axes, tilt about the horizontal axis, width of the joint."""
  skull, hair = who.skull, who.hair
  w, drop = skull.width, skull.jaw_drop + skull.chin_length + 0.18 * scene.open_mouth
  nose_y, nose_z, wing = skull.nose_length, 1.0 + skull.nose_out, skull.nose_width
  cheek, cheek_out = skull.cheek_height - 0.04 * scene.smile, 0.52 + skull.cheek_out + 0.04 * scene.smile
  wing_z, ear = 0.96 + 0.5 * skull.nose_out, 1.13 * w + skull.ear_out
  face = [
    ((0, -0.5, -0.15), (1.18 * w, 1.22 + skull.forehead, 1.3), 0, 0.25),
    ((0, 0.3, 0.1), (1.1 * w, 1.25 * skull.length, 0.97), 0, 0.25),
    ((0, 0.92 + 0.5 * drop, 0.05), (0.92 * skull.jaw_width * w, 0.78, 0.92), 0, 0.25),
    ((0, 1.52 + drop, 0.52 + skull.chin_out), (skull.chin_width, 0.28, 0.38), 0, 0.4),
    ((0.5 * w, cheek, 0.34), (0.38, 0.4, cheek_out), 0, 0.3),
    ((-0.5 * w, cheek, 0.34), (0.38, 0.4, cheek_out), 0, 0.3),
    ((0, -0.3, 0.66 + skull.brow_ridge), (0.76, 0.2, 0.35), 0, 0.3),
    ((0, 1.12, 0.58), (0.46, 0.34, 0.42), 0, 0.3),
    ((0, nose_y - 0.38, 0.88 + 0.3 * skull.nose_out), (skull.nose_bridge, 0.46, 0.24), -0.3 - 0.5 * skull.nose_out, 0.3),
    ((0, nose_y + skull.nose_tilt, nose_z), (skull.nose_tip, 0.16, 0.22), 0, 0.18),
    ((0.8 * wing, nose_y + 0.06, wing_z), (0.6 * wing, 0.1, 0.15), 0, 0.1),
    ((-0.8 * wing, nose_y + 0.06, wing_z), (0.6 * wing, 0.1, 0.15), 0, 0.1),
  ]
  rest = [
    ((ear, 0.18, -0.2), (0.14, 0.33 * skull.ear_size, 0.24), 0, 0.05),
    ((-ear, 0.18, -0.2), (0.14, 0.33 * skull.ear_size, 0.24), 0, 0.05),
    ((0, 2.3, -0.45), (0.66 * w * (0.5 + 0.5 * skull.jaw_width), 1.3, 0.6), 0, 0.05),
  ]
  puff, long = hair.volume, hair.length
  locks = [
    ((0, -0.5 - 0.4 * hair.top, -0.25), (1.2 * w + puff, 1.27 + skull.forehead + 0.7 * puff + 0.5 * hair.top, 1.34 + 0.6 * puff), 0, 0),
    ((0, -0.35 + 0.75 * long, -0.6), (1.18 * w + puff + hair.back_width * long, 1.3 + long, 0.9), 0, 0),
  ]
  return face, rest, locks


def _rotation(yaw_n: np.ndarray, pitch_n: np.ndarray) -> np.ndarray:
  """[n, 3, 3]: yaw about the vertical, then pitch about the horizontal axis."""
  cy, sy, cp, sp = np.cos(yaw_n), np.sin(yaw_n), np.cos(pitch_n), np.sin(pitch_n)
  zero = np.zeros_like(cy)
  rows = [[cy, zero, sy], [sp * sy, cp, -sp * cy], [-cp * sy, sp, cp * cy]]
  return np.stack([np.stack(row, -1) for row in rows], -2)


def _table(rows: list, n: int) -> np.ndarray:
  """[n, K, columns] from rows of numbers and of arrays [n]."""
  return np.stack([np.stack([np.broadcast_to(np.float32(v), (n,)) for v in row], -1) for row in rows], 1)


def _forms(turn: np.ndarray, parts: list) -> np.ndarray:
  n = len(turn)
  centre, radius = _table([part[0] for part in parts], n), _table([part[1] for part in parts], n)
  tilt, width = np.moveaxis(_table([part[2:] for part in parts], n), -1, 0)
  c, s, one, zero = np.cos(tilt), np.sin(tilt), np.ones_like(tilt), np.zeros_like(tilt)
  own = np.stack([np.stack(row, -1) for row in ([one, zero, zero], [zero, c, -s], [zero, s, c])], -2)
  axes = turn[:, None] @ own
  form = (axes / radius[:, :, None, :] ** 2) @ axes.swapaxes(-1, -2)
  place = np.einsum("nij,nkj->nki", turn, centre)
  size = np.sqrt(radius[..., 0] * radius[..., 1])
  entries = [form[..., i, j] for i, j in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))]
  columns = [place[..., 0], place[..., 1], place[..., 2], *entries, 1 / form[..., 2, 2], 1.5 * radius[..., 2], size, width]
  return np.stack(columns, -1).astype(np.float32)


def _alignment(who: Identity, scene: Scene, turn: np.ndarray) -> np.ndarray:
  """Fits the five posed points to the template, as an aligner does, and adds jitter: [n, 4]."""
  f, skull = who.features, who.skull
  rows = [
    (-f.eye_x, 0, 0.82),
    (f.eye_x, 0, 0.82),
    (0, skull.nose_length, 1.2 + skull.nose_out),
    (-f.mouth_width, f.mouth_y, 0.85),
    (f.mouth_width, f.mouth_y, 0.85),
  ]
  seen = np.einsum("nij,nkj->nki", turn, _table(rows, len(turn)))
  seen = seen[..., 0] + 1j * seen[..., 1]
  want = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
  offset = want - want.mean()
  factor = (seen * offset.conj()).sum(1) / (np.abs(offset) ** 2).sum()
  factor = factor * np.exp(1j * scene.roll) / scene.zoom
  shift = seen.mean(1) - factor * want.mean() + scene.shift[:, 0] + 1j * scene.shift[:, 1]
  return np.stack([factor.real, factor.imag, shift.real, shift.imag], 1)


def front(form: jax.Array, x: jax.Array, y: jax.Array) -> Surface:
  """The front side of an ellipsoid, from its coefficients [13], at the viewer's coordinates x, y [h, w]."""
  px, py, pz, xx, xy, yy, xz, yz, zz, over_zz, thickness, size, _ = form
  dx, dy = x - px, y - py
  b = xz * dx + yz * dy
  disc = b * b - zz * ((xx * dx + 2 * xy * dy) * dx + yy * dy * dy - 1)
  # Outside the outline the surface falls off steeply backwards, so that surfaces in front hide it.
  root = jnp.sqrt(jnp.maximum(disc, 0.02 * zz))
  z = (root - b) * over_zz
  outline = 1 - disc * over_zz
  flat = -1 / root
  return Surface(
    pz + z - thickness * jnp.maximum(outline - 1, 0.0),
    (xx * dx + xy * dy + xz * z) * flat,
    (xy * dx + yy * dy + yz * z) * flat,
    (1 - jnp.sqrt(jnp.maximum(outline, 1e-6))) * size,
  )


def _join(first: Surface, second: Surface, width: jax.Array) -> Surface:
  """Smooth union: the nearer of two surfaces, rounded over a width in depth."""
  share = jnp.clip(0.5 + 0.5 * (first.depth - second.depth) / width, 0.0, 1.0)
  edge = jnp.clip(0.5 + 5.0 * (first.inside - second.inside), 0.0, 1.0)
  return Surface(
    second.depth + share * (first.depth - second.depth) + width * share * (1 - share),
    second.slope_x + share * (first.slope_x - second.slope_x),
    second.slope_y + share * (first.slope_y - second.slope_y),
    second.inside + edge * (first.inside - second.inside) + 0.1 * edge * (1 - edge),
  )


def union(form_k: jax.Array, x: jax.Array, y: jax.Array) -> Surface:
  """Smooth union of ellipsoids, from their coefficients [K, 13], at the viewer's coordinates x, y [h, w]."""
  def add(surface: Surface, form: jax.Array) -> tuple[Surface, None]:
    return _join(surface, front(form, x, y), form[12]), None

  return jax.lax.scan(add, front(form_k[0], x, y), form_k[1:])[0]
