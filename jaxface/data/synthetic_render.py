"""Renders one image of one identity: solid head, paint, light, background, occluders, lens and sensor."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data import synthetic_paint as paint
from jaxface.data.synthetic_identity import Identity
from jaxface.data.synthetic_paint import cover, length, wave
from jaxface.data.synthetic_scene import Scene
from jaxface.data.synthetic_solid import Solid, Surface, front, union

Layers = list[tuple[jax.Array, jax.Array, float]]
FLAT = 0.55


class Group(NamedTuple):
  """Layers on one surface, front to back.

  Attributes:
    lamp: light from the lamp, [h, w] or a number.
    everywhere: light from all sides, [h, w] or a number.
    layers: coverage [h, w] in 0..1, colour [3], share of the lamp's shading.
  """

  lamp: jax.Array | float
  everywhere: jax.Array | float
  layers: Layers


def own_frame(surface: Surface, turn: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Points of a surface in the head's frame."""
  z = surface.depth
  return tuple(turn[0, i] * x + turn[1, i] * y + turn[2, i] * z for i in range(3))


def lit(surface: Surface, scene: Scene) -> jax.Array:
  """Diffuse light from the lamp on a surface, with a soft terminator."""
  slope = jnp.minimum(surface.slope_x**2 + surface.slope_y**2, 60.0)
  towards = (scene.light[2] - scene.light[0] * surface.slope_x - scene.light[1] * surface.slope_y) * jax.lax.rsqrt(1 + slope)
  return jnp.clip((towards + 0.25) / 1.25, 0.0, 1.1)


def backdrop(scene: Scene, x: jax.Array, y: jax.Array, soft: float) -> Layers:
  """A gradient between two colours, modulated by waves and a disc."""
  a, b, c, d = scene.back_wave
  waves = 0.5 + 0.3 * wave(a * x + b * y + c) + 0.25 * wave(d * x - c * y + a)
  px, py, radius, darkness = scene.back_place
  disc = cover(jnp.abs(radius) - length(x - px, y - py), soft) * jnp.abs(darkness) * 0.6
  return [(disc, scene.back[1] * 0.4, 1.0), (jnp.clip(waves, 0, 1), scene.back[0], 1.0), (jnp.ones_like(x), scene.back[1], 1.0)]


def occluders(scene: Scene, skin: jax.Array, x: jax.Array, y: jax.Array, soft: float) -> Layers:
  """A hand with three fingers and a straight bar in front of the face, in the viewer's plane."""
  px, py, angle, size = scene.hand_place
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  u, v = (x - px) * cos + (y - py) * sin, (y - py) * cos - (x - px) * sin
  palm = size - length(u, v - 0.2)
  finger = jnp.minimum(0.16 * size / 0.4 - jnp.abs(jnp.abs(u) - 0.17 * size / 0.4), v + 2.1 * size)
  finger = jnp.minimum(finger, 0.3 - v)
  edge = jnp.maximum(palm, finger)
  hand = scene.hand * cover(edge, soft)
  rim = hand * cover(0.05 - edge, 0.1) * 0.5
  offset, slope, width = scene.bar_place
  bar = scene.bar * cover(width - jnp.abs(x * jnp.cos(slope) + y * jnp.sin(slope) - offset), soft)
  return [(bar, scene.bar_colour, 1.0), (rim, 0.45 * skin, 1.0), (hand, 0.92 * skin, 1.0)]


def glasses(scene: Scene, eye_x: jax.Array, x: jax.Array, y: jax.Array, z: jax.Array, soft: float) -> Layers:
  """Rims, lenses and bridge in the head's frame: super-ellipses around the eyes."""
  wide, high, rim, power = scene.glasses_size
  ax = jnp.abs(x)
  u2, v2 = ((ax - eye_x - 0.02) / wide) ** 2, ((y - 0.04) / high) ** 2
  round_, square = jnp.sqrt(u2 + v2 + 1e-6), jnp.sqrt(jnp.sqrt(u2 * u2 + v2 * v2 + 1e-6))
  edge = (1 - round_ - power * (square - round_)) * high
  bridge = jnp.minimum(rim - jnp.abs(y + 0.03), eye_x - wide + 0.04 - ax)
  arm = jnp.minimum(rim - jnp.abs(y + 0.05), ax - eye_x - wide)
  frame = jnp.maximum(jnp.maximum(rim - jnp.abs(edge), bridge), arm)
  on = scene.glasses * (z > 0.1)
  return [(on * cover(frame, soft), scene.glasses_colour, 1.0), (on * cover(edge, soft) * scene.glasses_dark, 0.3 * scene.glasses_colour, 1.0)]


class View(NamedTuple):
  """The solid head as input of the layers, each [h, w].

  Attributes:
    x, y: viewer's coordinates.
    face: points of the face in the head's frame: x, y, z.
    cap: points of the cap of hair in the head's frame.
    lights: light from the lamp on face, cap and rest.
    inside: distances to the outlines of face, cap, rest and the hair behind.
    over: depth of the cap over the face.
  """

  x: jax.Array
  y: jax.Array
  face: tuple[jax.Array, ...]
  cap: tuple[jax.Array, ...]
  lights: tuple[jax.Array, ...]
  inside: tuple[jax.Array, ...]
  over: jax.Array


def view(scene: Scene, shape: Solid, size: int) -> View:
  """The solid head of one image at each of size × size pixels."""
  ticks = (np.arange(size, dtype=np.float32) + 0.5) / size
  tx, ty = jnp.broadcast_to(ticks[None, :], (size, size)), jnp.broadcast_to(ticks[:, None], (size, size))
  re, im, left, top = shape.grid
  x, y = re * tx - im * ty + left, im * tx + re * ty + top
  face, rest = union(shape.face, x, y), union(shape.rest, x, y)
  cap, behind = front(shape.hair[0], x, y), front(shape.hair[1], x, y)
  return View(
    x,
    y,
    own_frame(face, shape.turn, x, y),
    own_frame(cap, shape.turn, x, y),
    (lit(face, scene), lit(cap, scene), lit(rest, scene)),
    (face.inside, cap.inside, rest.inside, behind.inside),
    cap.depth - face.depth,
  )


def draw_layers(who: Identity, scene: Scene, seen: View) -> list[Group]:
  """All layers of one image, front to back."""
  x, y, (fx, fy, fz), (hx, hy, hz) = seen.x, seen.y, seen.face, seen.cap
  face_light, cap_light, rest_light = seen.lights
  face_inside, cap_inside, rest_inside, behind_inside = seen.inside
  soft = 3.4 / x.shape[0]
  f, skin, hair = who.features, who.marks.skin, who.hair

  ripple = hair.curl * wave(hair.curl_count * 0.8 * (x + y)) * wave(hair.curl_count * 0.8 * (x - y))
  on_cap = cover(cap_inside + ripple, soft * 1.5) * cover(seen.over + 0.1, 0.1)
  hair_mask, hat_mask = paint.hair_cover(hair, scene.hat, scene.hat_line, hx, hy, hz, soft)
  strand = 1 - hair.strand * (0.5 + 0.5 * wave(26 * hx + 5 * hz + 4 * hy * hx))
  on_face = cover(face_inside, soft)
  in_front = on_face * cover(fz - 0.25, 0.2)
  shine = jnp.maximum(face_light - 0.8, 0.0) ** 2 * 2.0
  painted = paint.brows(f, hair, scene, fx, fy, soft) + paint.eyes(f, scene, fx, fy, soft)
  painted += paint.mouth(f, scene, fx, fy, soft)
  painted += paint.folds(who.marks, f, who.skull.nose_length, scene, fx, fy, soft) + paint.skin_marks(who, fx, fy, soft)
  shoulder = cover(y - 1.75 - 0.25 * x * x, soft)
  locks = cover(behind_inside + ripple, soft * 1.5) * cover(hair.side - y, 0.3) * (1 - hair.bald)
  return [
    Group(FLAT, 0.9, occluders(scene, skin, x, y, soft)),
    Group(cap_light, 1.0, [(on_cap * hat_mask, scene.hat_colour, 1.0)]),
    Group(FLAT, 0.9, [(m * on_face, c, s) for m, c, s in glasses(scene, f.eye_x, fx, fy, fz, soft)]),
    Group((0.1 + cap_light) * strand, strand, [(on_cap * hair_mask, hair.colour * scene.hair_light, 1.0)]),
    Group(face_light, 0.2, [(in_front * shine, np.float32([255, 250, 240]), 1.0)]),
    Group(face_light, 1.0, [(in_front * m, c, s) for m, c, s in painted] + [(on_face, skin, 1.0)]),
    Group(rest_light, 1.0, [(cover(rest_inside, soft), skin * 0.8, 1.0)]),
    Group(FLAT, 0.9, [(shoulder, scene.cloth, 1.0)]),
    Group(0.35 + 0.3 * strand, 0.8, [(locks, hair.colour * 0.8, 1.0)]),
    Group(FLAT, 0.6, backdrop(scene, x, y, soft)),
  ]


def compose(groups: list[Group], scene: Scene) -> list[jax.Array]:
  """Three colour planes [h, w], about 0..255, from layers front to back."""
  through, planes = 1.0, [0.0, 0.0, 0.0]
  for group in groups:
    for coverage, colour, share in group.layers:
      weight = through * coverage
      through = through * (1 - coverage)
      lamp = share * group.lamp + (1 - share) * 0.8
      for i in range(3):
        light = lamp * scene.light_colour[i] + group.everywhere * scene.ambient_colour[i]
        planes[i] = planes[i] + weight * light * colour[i]
  return planes


def _hash(index: jax.Array, salt: jax.Array) -> jax.Array:
  """A 32-bit hash of each number: sensor noise needs many cheap random bits."""
  value = index * jnp.uint32(0x9E3779B1) ^ salt
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
    value = (value ^ (value >> shift)) * jnp.uint32(factor)
  return value ^ (value >> 16)


def _blur_matrix(deviation: jax.Array, size: int) -> jax.Array:
  """Row-stochastic [size, size] Gaussian band, the deviation in pixels."""
  offset = jnp.arange(size)[:, None] - jnp.arange(size)[None, :]
  weight = jnp.exp(-0.5 * (offset / jnp.maximum(deviation, 0.05)) ** 2)
  return weight / weight.sum(1, keepdims=True)


def develop(planes: list[jax.Array], scene: Scene, salt: jax.Array) -> list[jax.Array]:
  """Exposure, lens blur, gamma and sensor noise: three uint8 planes [h, w]."""
  size = planes[0].shape[0]
  lens = _blur_matrix(scene.blur * size, size)
  developed = []
  for channel, plane in enumerate(planes):
    exposed = jnp.clip(lens @ plane @ lens.T * (scene.gain[channel] / 255), 1e-3, 1.0)
    image = 255 * jnp.exp(scene.gamma * jnp.log(exposed))
    bits = _hash(jnp.arange(size * size, dtype=jnp.uint32).reshape(size, size), salt + np.uint32(channel))
    # The sum of four bytes is nearly normal, with mean 510 and deviation 147.8.
    total = sum(((bits >> s) & 255).astype(jnp.float32) for s in (0, 8, 16, 24))
    image = image + (total - 510) * (scene.noise / 147.8)
    developed.append(jnp.round(jnp.clip(image, 0, 255)).astype(jnp.uint8))
  return developed
