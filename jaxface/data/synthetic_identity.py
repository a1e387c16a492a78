"""The fixed traits of a synthetic identity.

Lengths are in units of the mean distance between the eyes. The origin of the head's frame is midway between the eyes at the
depth of the ears; x points to the right of the image, y down, z to the viewer.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxface.data.synthetic_draw import Array, Draw, palette

SKIN = ((255, 222, 204), (240, 196, 168), (222, 166, 128), (186, 128, 90), (138, 88, 58), (92, 58, 42))
HAIR = ((22, 19, 20), (46, 32, 26), (84, 56, 38), (134, 92, 54), (160, 78, 36), (212, 172, 108), (232, 214, 168))
IRIS = ((52, 32, 22), (84, 54, 32), (112, 90, 48), (82, 110, 66), (96, 128, 146), (82, 128, 176))


class Skull(NamedTuple):
  """Solid shape; all fields are lengths."""

  width: Array
  length: Array
  jaw_width: Array
  jaw_drop: Array
  chin_width: Array
  chin_length: Array
  chin_out: Array
  cheek_out: Array
  cheek_height: Array
  brow_ridge: Array
  forehead: Array
  nose_width: Array
  nose_length: Array
  nose_out: Array
  nose_bridge: Array
  nose_tip: Array
  nose_tilt: Array
  ear_size: Array
  ear_out: Array


class Features(NamedTuple):
  """Features painted on the skull: positions and sizes as lengths, shares in 0..1."""

  eye_x: Array
  eye_width: Array
  eye_height: Array
  eye_tilt: Array
  lid_fold: Array
  lid_dark: Array
  iris_size: Array
  iris: Array
  brow_y: Array
  brow_thick: Array
  brow_arch: Array
  brow_tilt: Array
  brow_width: Array
  brow_gap: Array
  mouth_y: Array
  mouth_width: Array
  lip_upper: Array
  lip_lower: Array
  lip_bow: Array
  mouth_curve: Array
  lip: Array


class Hair(NamedTuple):
  """Shape of the hair on the head; shares in 0..1."""

  colour: Array
  brow_colour: Array
  bald: Array
  volume: Array
  top: Array
  line: Array
  line_curve: Array
  line_slant: Array
  parting: Array
  parting_depth: Array
  side: Array
  length: Array
  back_width: Array
  curl: Array
  curl_count: Array
  strand: Array


class Marks(NamedTuple):
  """Skin and marks on it."""

  skin: Array
  blush: Array
  freckles: Array
  freckle_phase: Array
  mole_x: Array
  mole_y: Array
  mole_size: Array
  scar: Array
  scar_place: Array
  age: Array
  beard: Array
  beard_line: Array
  moustache: Array
  moustache_width: Array
  goatee: Array


class Identity(NamedTuple):
  """All fixed traits of one person."""

  skull: Skull
  features: Features
  hair: Hair
  marks: Marks


def draw_identity(seed: int, identity_n: Array) -> Identity:
  """The traits of identities.

  A few latent traits (heaviness, maturity, melanin, age) correlate the visible ones, which makes the people plausible.

  Args:
    key: a typed PRNG key, made from the data's seed and the identity's number.
  Returns:
    Arrays, and colours [3] in 0..255.
  """
  draw = Draw([(seed, int(i)) for i in identity_n], [(0, 0)] * len(identity_n), 120)
  heavy, male, melanin, age = draw.normal(), draw.chance(0.5), draw.uniform(), draw.uniform() ** 1.5
  skull = Skull(
    width=draw.normal(1.0, 0.055) + 0.03 * heavy,
    length=draw.normal(1.0, 0.05),
    jaw_width=draw.normal(0.94, 0.09) + 0.05 * heavy + 0.06 * male,
    jaw_drop=draw.normal(0.0, 0.09),
    chin_width=draw.normal(0.36, 0.07) + 0.05 * male,
    chin_length=draw.normal(0.0, 0.09) + 0.04 * male,
    chin_out=draw.normal(0.0, 0.07),
    cheek_out=draw.normal(-0.03, 0.04) + 0.015 * heavy,
    cheek_height=draw.normal(0.45, 0.1),
    brow_ridge=draw.normal(0.0, 0.05) + 0.05 * male,
    forehead=draw.normal(0.0, 0.09),
    nose_width=draw.normal(0.205, 0.052) + 0.05 * (melanin - 0.5),
    nose_length=draw.normal(0.58, 0.095),
    nose_out=draw.normal(0.2, 0.07),
    nose_bridge=draw.normal(0.12, 0.03),
    nose_tip=draw.normal(0.17, 0.035),
    nose_tilt=draw.normal(0.0, 0.05),
    ear_size=draw.normal(1.0, 0.13),
    ear_out=draw.normal(0.03, 0.04),
  )
  skin = palette(melanin, SKIN) * (1 + draw.normal(0.0, 0.05, count=1))
  skin = skin + draw.normal(count=1) * np.float32([6.0, -1.0, -7.0])
  shade = draw.uniform() ** (1.0 + 2.2 * melanin)
  grey = np.clip(2.5 * age - 1.5 + draw.normal(0.0, 0.3), 0.0, 1.0)
  natural = palette(shade, HAIR)
  colour = natural + grey[:, None] * (palette(draw.uniform(), ((120, 120, 122), (205, 203, 200))) - natural)
  eye = draw.uniform() ** (0.8 + 2.0 * melanin)
  lip_red = draw.uniform(0.15, 0.75, count=1)
  features = Features(
    eye_x=draw.normal(0.5, 0.035),
    eye_width=draw.normal(0.255, 0.037),
    eye_height=draw.normal(0.118, 0.032),
    eye_tilt=draw.normal(0.05, 0.16),
    lid_fold=draw.uniform(0.0, 0.9),
    lid_dark=draw.uniform(0.25, 0.9) * (1 - 0.4 * male),
    iris_size=draw.normal(0.115, 0.01),
    iris=palette(eye, IRIS),
    brow_y=draw.normal(-0.35, 0.065),
    brow_thick=draw.normal(0.062, 0.022) + 0.018 * male,
    brow_arch=draw.normal(0.1, 0.06),
    brow_tilt=draw.normal(-0.26, 0.17),
    brow_width=draw.normal(0.36, 0.045),
    brow_gap=draw.normal(0.5, 0.045),
    mouth_y=draw.normal(1.14, 0.07),
    mouth_width=draw.normal(0.42, 0.075),
    lip_upper=draw.normal(0.09, 0.034) + 0.03 * (melanin - 0.5),
    lip_lower=draw.normal(0.12, 0.04) + 0.03 * (melanin - 0.5),
    lip_bow=draw.uniform(0.0, 0.6),
    mouth_curve=draw.normal(0.0, 0.035),
    lip=skin * (1 - 0.35 * lip_red) + lip_red * 0.5 * (np.float32([170.0, 50.0, 62.0]) - 0.3 * skin),
  )
  short = draw.chance(0.25 + 0.6 * male)
  fringe = draw.chance(0.3) * draw.uniform(0.15, 0.75)
  hair = Hair(
    colour=colour,
    brow_colour=0.72 * (natural + 0.5 * grey[:, None] * (colour - natural)),
    bald=male * draw.chance(0.08 + 0.25 * age),
    volume=draw.uniform(0.03, 0.2),
    top=draw.uniform(-0.05, 0.3),
    line=-0.95 + draw.normal(0.0, 0.13) + fringe - 0.22 * male * age,
    line_curve=draw.uniform(-0.15, 0.75),
    line_slant=draw.normal(0.0, 0.25),
    parting=draw.uniform(-0.5, 0.5),
    parting_depth=draw.chance(0.5) * draw.uniform(0.1, 0.35),
    side=short * draw.uniform(-0.4, 0.35) + (1 - short) * draw.uniform(0.6, 2.2),
    length=(1 - short) * draw.uniform(0.4, 1.0),
    back_width=draw.uniform(0.0, 0.3),
    curl=draw.chance(0.35) * draw.uniform(0.02, 0.07),
    curl_count=draw.uniform(8.0, 22.0),
    strand=draw.uniform(0.05, 0.3),
  )
  bearded = male * draw.chance(0.5) * np.minimum(1.0, 0.4 + 2 * age)
  marks = Marks(
    skin=np.clip(skin, 25.0, 255.0),
    blush=draw.uniform(0.0, 0.5),
    freckles=draw.chance(0.2) * draw.uniform(0.3, 0.9) * (1 - 0.6 * melanin),
    freckle_phase=draw.uniform(0.0, 6.28, count=2),
    mole_x=draw.uniform(-0.9, 0.9, count=2),
    mole_y=draw.uniform(-0.7, 1.5, count=2),
    mole_size=(draw.uniform(count=2) < np.float32([0.45, 0.2])) * draw.uniform(0.025, 0.055, count=2),
    scar=draw.chance(0.1),
    scar_place=draw.uniforms((-0.8, 0.8), (-0.7, 1.2), (-1.5, 1.5), (0.1, 0.28)),
    age=age,
    beard=bearded * draw.uniform(0.2, 1.0),
    beard_line=draw.uniform(0.45, 0.95),
    moustache=male * draw.chance(0.35) * draw.uniform(0.5, 1.0),
    moustache_width=draw.uniform(0.3, 0.5),
    goatee=male * draw.chance(0.25) * draw.uniform(0.4, 1.0),
  )
  return Identity(skull, features, hair, marks)


def mean_identity(count: int = 256, seed: int = 0) -> Identity:
  """The mean of the traits of the first identities of a population, as one identity: arrays [1] and [1, k].

  Args:
    count: how many.
    seed: of the population.
  """
  def mean(trait: Any) -> Any:
    return type(trait)(*map(mean, trait)) if isinstance(trait, tuple) else np.mean(trait, 0, keepdims=True).astype(np.float32)

  return mean(draw_identity(seed, np.arange(count)))
