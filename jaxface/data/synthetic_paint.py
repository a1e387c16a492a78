"""Layers painted on the head, in the head's frame: eyes, brows, mouth, marks, beard, hair line.

A layer is (coverage [h, w] in 0..1, colour [3], share of the light's shading). Layers are ordered front to back.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.synthetic_identity import Features, Hair, Identity, Marks
from jaxface.data.synthetic_scene import Scene

Layer = tuple[jax.Array, jax.Array, float]


def cover(inside: jax.Array, soft: float | jax.Array) -> jax.Array:
  """Coverage of a pixel by a shape: 0 outside, 1 inside, with a ramp of the given length at its edge."""
  return jnp.clip(inside / soft + 0.5, 0.0, 1.0)


def _bell(t: jax.Array) -> jax.Array:
  """Smooth bump: 1 at 0, 0 at ±1."""
  rest = jnp.maximum(1 - t * t, 0.0)
  return rest * rest


def length(x: jax.Array, y: jax.Array) -> jax.Array:
  """Distance from the origin (`hypot`, with its overflow guard, is ten times slower)."""
  return jnp.sqrt(x * x + y * y)


def wave(t: jax.Array) -> jax.Array:
  """Approximation of sin(t) by two parabolas, sufficient for patterns."""
  turn = t * (1 / (2 * np.pi))
  part = 2 * (turn - jnp.floor(turn)) - 1
  return 4 * part * (jnp.abs(part) - 1)


def eyes(f: Features, scene: Scene, x: jax.Array, y: jax.Array, soft: float) -> list[Layer]:
  """Both eyes, mirrored at x = 0; the gaze is not mirrored."""
  side = jnp.where(x < 0, -1.0, 1.0)
  u = (jnp.abs(x) - f.eye_x) / f.eye_width
  v = y + f.eye_tilt * (jnp.abs(x) - f.eye_x)
  arch = jnp.maximum(1 - u * u, -0.6)
  upper = f.eye_height * scene.open_eyes * (0.12 + arch) - 0.01
  lower = f.eye_height * 0.7 * (0.1 + arch)
  opened = jnp.minimum(jnp.minimum(v + upper, lower - v), (1.1 - jnp.abs(u)) * f.eye_width * 0.6)
  ball = cover(opened, soft)
  ix, iy = (u * f.eye_width - side * scene.gaze[0]), v - scene.gaze[1] + 0.02
  radius = jnp.sqrt(ix * ix + iy * iy)
  lid = cover(0.028 + 0.022 * f.lid_dark - jnp.abs(v + upper), soft) * cover(1.15 - jnp.abs(u), 0.3)
  fold = cover(0.012 - jnp.abs(v + upper * 1.1 + 0.075), soft * 1.5) * cover(1.05 - jnp.abs(u), 0.4)
  glint = cover(0.03 - length(u * f.eye_width + 0.03, v + 0.045), soft)
  white, black = np.float32([236.0, 233.0, 228.0]), np.float32([18.0, 14.0, 14.0])
  socket = _bell(u / 1.7) * _bell((v + 0.03) / 0.3)
  return [
    (lid * (0.4 + 0.6 * f.lid_dark), black + 12, 0.6),
    (ball * glint * 0.9, white + 15, 0.2),
    (ball * cover(0.45 * f.iris_size - radius, soft), black, 0.4),
    (ball * cover(f.iris_size - 0.02 - radius, soft), f.iris, 0.5),
    (ball * cover(f.iris_size - radius, soft), 0.4 * f.iris, 0.5),
    (ball, white, 0.7),
    (fold * f.lid_fold, np.float32([70.0, 40.0, 34.0]), 0.8),
    (socket * 0.28 * (1 - ball), np.float32([70.0, 40.0, 40.0]), 0.9),
  ]


def brows(f: Features, hair: Hair, scene: Scene, x: jax.Array, y: jax.Array, soft: float) -> list[Layer]:
  """Both brows: a parabola that becomes thinner outwards."""
  along = (jnp.abs(x) - f.brow_gap) / f.brow_width
  middle = f.brow_y - scene.brow_raise - f.brow_arch * (0.6 - (along - 0.15) ** 2) - (f.brow_tilt + scene.frown) * 0.35 * along
  thick = f.brow_thick * (1.0 - 0.45 * jnp.maximum(along, -0.4))
  inside = jnp.minimum(thick - jnp.abs(y - middle), (1 - jnp.abs(along)) * 0.25)
  return [(cover(inside, soft * 1.4) * 0.88, hair.brow_colour, 0.9)]


def mouth(f: Features, scene: Scene, x: jax.Array, y: jax.Array, soft: float) -> list[Layer]:
  """Lips, the gap between them, teeth, and folds from the nose to the corners."""
  width = f.mouth_width * (1 + 0.13 * scene.smile - 0.1 * scene.open_mouth)
  u = x / width
  u2 = u * u
  arch = jnp.maximum(1 - u2, 0.0)
  seam = f.mouth_y - (0.11 * scene.smile + f.mouth_curve) * (u2 - 0.35)
  gap = 0.17 * scene.open_mouth * arch
  bow = 1 - f.lip_bow * _bell(u / 0.28)
  ends = (1 - jnp.abs(u)) * width * 0.5
  v = y - seam
  top, bottom = v + 0.35 * gap, v - gap
  between = jnp.minimum(jnp.minimum(top, -bottom), ends)
  upper = jnp.minimum(jnp.minimum(top + f.lip_upper * arch * bow, -top), ends)
  lower = jnp.minimum(jnp.minimum(bottom, f.lip_lower * arch - bottom), ends)
  line = cover(0.016 - jnp.abs(v + 0.3 * gap), soft) * cover(ends + 0.02, soft)
  teeth = cover(jnp.minimum(between - 0.01, 0.09 - top), soft)
  shadow = _bell(u / 0.8) * _bell((bottom - f.lip_lower - 0.08) / 0.09)
  return [
    (teeth * cover(scene.open_mouth - 0.2, 0.2), np.float32([232.0, 226.0, 214.0]), 0.8),
    (cover(between, soft), np.float32([70.0, 22.0, 26.0]), 0.9),
    (line * 0.7, 0.35 * f.lip, 0.9),
    (cover(upper, soft), 0.86 * f.lip, 1.0),
    (cover(lower, soft), f.lip, 1.0),
    (shadow * 0.18, np.float32([60.0, 30.0, 26.0]), 1.0),
  ]


def folds(marks: Marks, f: Features, skull_nose: jax.Array, scene: Scene, x: jax.Array, y: jax.Array, soft: float) -> list[Layer]:
  """Nostrils, nose-to-mouth folds, wrinkles and bags, the last three increase with age."""
  ax = jnp.abs(x)
  nostril = cover(1 - length((ax - 0.1) / 0.065, (y - skull_nose - 0.125) / 0.032), soft * 18)
  t = (y - skull_nose) / (f.mouth_y - skull_nose)
  crease = cover(0.016 - jnp.abs(ax - 0.24 - (0.22 + 0.05 * scene.smile) * t), soft * 2) * _bell((t - 0.5) / 0.75)
  lines = cover(0.3 - jnp.abs(wave(16.0 * y + 1.5 * x * x)), 0.6) * _bell((y + 0.72) / 0.28) * _bell(x / 0.75)
  bags = cover(0.018 - jnp.abs(y - 0.17 - 0.1 * (1 - ((ax - f.eye_x) / 0.25) ** 2)), soft * 2) * _bell((ax - f.eye_x) / 0.27)
  dark = 0.35 * marks.skin
  return [
    (nostril * 0.75, 0.25 * marks.skin, 1.0),
    (crease * jnp.clip(0.1 + 0.5 * marks.age + 0.25 * scene.smile, 0.0, 0.7), dark, 1.0),
    ((lines * jnp.maximum(marks.age - 0.35, 0.0) + bags * 0.6 * marks.age) * 0.7, dark, 1.0),
  ]


def skin_marks(who: Identity, x: jax.Array, y: jax.Array, soft: float) -> list[Layer]:
  """Moles, a scar, freckles, blush and beard."""
  m, f = who.marks, who.features
  skin = m.skin
  mole = jnp.maximum(
    cover(m.mole_size[0] - length(x - m.mole_x[0], y - m.mole_y[0]), soft) * (m.mole_size[0] > 0),
    cover(m.mole_size[1] - length(x - m.mole_x[1], y - m.mole_y[1]), soft) * (m.mole_size[1] > 0),
  )
  cos, sin = jnp.cos(m.scar_place[2]), jnp.sin(m.scar_place[2])
  dx, dy = x - m.scar_place[0], y - m.scar_place[1]
  scar = m.scar * cover(0.02 - jnp.abs(dy * cos - dx * sin), soft) * cover(m.scar_place[3] - jnp.abs(dx * cos + dy * sin), soft)
  p, q = m.freckle_phase[0], m.freckle_phase[1]
  spots = wave(23 * x + 9 * y + p) * wave(21 * y - 7 * x + q) + 0.5 * wave(37 * x - 5 * y + q) * wave(33 * y + p)
  freckles = cover(spots - 0.62, 0.5) * _bell(x / 1.05) * _bell((y - 0.4) / 0.6) * m.freckles
  ax = jnp.abs(x)
  blush = _bell((ax - 0.62) / 0.42) * _bell((y - 0.5) / 0.36) * m.blush * 0.35
  stubble = 0.86 + 0.14 * wave(61 * x + 17 * y) * wave(53 * y - 13 * x)
  mouth_clear = cover(length(x / 0.5, (y - f.mouth_y) / 0.17) - 1, 0.5)
  chin_line = jnp.maximum(1.02 - m.beard_line * 0.55 * jnp.maximum(ax - 0.3, 0.0) ** 2 * 2, 0.4)
  beard = cover(y - chin_line, 0.22) * m.beard
  goatee = cover(0.42 - length(x, 0.9 * (y - 1.5)), 0.2) * m.goatee
  lip = y - f.mouth_y + f.lip_upper + 0.1
  moustache = cover(jnp.minimum(0.075 - jnp.abs(lip - 0.12 * x * x), m.moustache_width - ax), 0.07) * m.moustache
  hairy = jnp.maximum(jnp.maximum(beard, goatee) * mouth_clear, moustache) * stubble
  return [
    (hairy, 0.85 * who.hair.colour, 1.0),
    (mole * 0.85, 0.3 * skin + 8, 1.0),
    (scar * 0.75, 0.7 * skin + np.float32([75.0, 35.0, 35.0]), 1.0),
    (freckles * 0.6, 0.55 * skin + np.float32([16.0, 0.0, -4.0]), 1.0),
    (blush, skin * 0.75 + np.float32([62.0, 5.0, 12.0]), 1.0),
  ]


def hair_cover(hair: Hair, hat: jax.Array, hat_line: jax.Array, x: jax.Array, y: jax.Array, z: jax.Array, soft: float) -> tuple[jax.Array, jax.Array]:
  """Coverage of the shell of hair by hair and by a hat, at points of the shell in the head's frame."""
  from_part = jnp.abs(x - hair.parting)
  line = hair.line + hair.line_curve * x * x + hair.line_slant * x - hair.parting_depth * _bell(from_part / 0.5)
  line = line + 0.7 * hair.curl * wave(hair.curl_count * 1.1 * x)
  front = line - y
  sides = jnp.minimum(0.32 - z, hair.side - y)
  bald_top = hair.bald * cover(-0.1 - y, 0.2)
  return cover(jnp.maximum(front, sides), soft * 1.5) * (1 - bald_top), hat * cover(hat_line - y + 0.1 * x * x, soft)
