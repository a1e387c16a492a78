"""The scene of an image: traits that vary between images of one identity."""

import dataclasses
from typing import NamedTuple

import numpy as np

from jaxface.data.synthetic_draw import Array, Draw
from jaxface.losses.ranges import check_range


@dataclasses.dataclass(frozen=True)
class Nuisance:
  """Strength of the variation between images of one identity; 1 is the default of each, 0 turns it off.

  Attributes:
    pose: yaw (a deviation of 17 degrees at 1), pitch (9), and the errors of the alignment.
    light: direction, strength and colour of the light, exposure and white balance.
    expression: mouth, lids, brows, gaze.
    background: contrast of the background.
    occlusion: probabilities of glasses, bars, hands and hats.
    sensor: blur and noise.
  """

  pose: float = 1.0
  light: float = 1.0
  expression: float = 1.0
  background: float = 1.0
  occlusion: float = 1.0
  sensor: float = 1.0

  def __post_init__(self):
    for field in dataclasses.fields(self):
      check_range(self, field.name, 0, 2)


class Scene(NamedTuple):
  """The scene of one image."""

  yaw: Array
  pitch: Array
  roll: Array
  zoom: Array
  shift: Array
  light: Array
  light_colour: Array
  ambient_colour: Array
  gain: Array
  gamma: Array
  smile: Array
  open_mouth: Array
  open_eyes: Array
  brow_raise: Array
  frown: Array
  gaze: Array
  back: Array
  back_wave: Array
  back_place: Array
  cloth: Array
  hair_light: Array
  glasses: Array
  glasses_size: Array
  glasses_dark: Array
  glasses_colour: Array
  hat: Array
  hat_line: Array
  hat_colour: Array
  bar: Array
  bar_place: Array
  bar_colour: Array
  hand: Array
  hand_place: Array
  blur: Array
  noise: Array
  grain: Array


def draw_scene(seed: int, identity_n: Array, occurrence_n: Array, nuisance: Nuisance) -> Scene:
  """Samples the scenes of images.

  Args:
    seed: seed of a population.
    identity_n: numbers of the identities.
    occurrence_n: number of each image within its identity.
    nuisance: strengths.
  Returns:
    Arrays; angles in radians; colours [3] in 0..255, gains and light colours [3] about 1.
  """
  rows = [(int(o), 1) for o in occurrence_n]
  draw = Draw([(seed, int(i)) for i in identity_n], rows, 110)
  pose, light, face, occlusion = nuisance.pose, nuisance.light, nuisance.expression, nuisance.occlusion
  warmth = draw.normal(0.0, 0.08, count=1) * light * np.float32([1.0, 0.1, -1.0])
  azimuth, height = draw.normal(0.0, 0.8) * light, draw.normal(-0.45, 0.4 * light)
  ambient = 0.5 + draw.uniform(-0.25, 0.2, count=1) * light
  tint = draw.normal(0.0, 0.06, count=3) * light
  direction = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], 1)
  contrast = nuisance.background
  return Scene(
    yaw=draw.normal(0.0, 0.29) * pose,
    pitch=draw.normal(0.0, 0.16) * pose,
    roll=draw.normal(0.0, 0.07) * pose,
    zoom=1 + draw.normal(0.0, 0.05) * pose,
    shift=draw.normal(0.0, 0.045, count=2) * pose,
    light=direction,
    light_colour=(1.25 - ambient) * (1 + warmth + tint),
    ambient_colour=ambient * (1 - 0.6 * warmth),
    gain=(1 + draw.normal(0.0, 0.2, count=1) * light) * (1 + draw.normal(0.0, 0.06, count=3) * light),
    gamma=np.exp(draw.normal(0.0, 0.17) * light),
    smile=draw.normal(0.25, 0.55) * face,
    open_mouth=draw.chance(0.35) * draw.uniform(0.1, 1.0) * face,
    open_eyes=1 - draw.uniform(-0.15, 0.45) * face - 0.55 * draw.chance(0.07) * face,
    brow_raise=draw.normal(0.0, 0.06) * face,
    frown=draw.normal(0.0, 0.1) * face,
    gaze=draw.normal(0.0, 0.045, count=2) * np.float32([1.2, 0.5]) * face,
    back=128 + draw.uniform(-118, 118, count=6).reshape(-1, 2, 3) * contrast,
    back_wave=draw.uniform(-5.0, 5.0, count=4),
    back_place=draw.uniform(-1.6, 1.6, count=4),
    cloth=draw.uniform(15, 240, count=3),
    hair_light=1 + draw.normal(0.0, 0.15) * light,
    glasses=draw.chance(0.12 * occlusion),
    glasses_size=draw.uniforms((0.3, 0.44), (0.2, 0.36), (0.02, 0.055), (0.0, 1.0)),
    glasses_dark=np.where(draw.chance(0.25) > 0, draw.uniform(0.6, 0.95), 0.08),
    glasses_colour=draw.uniform(5, 120, count=3),
    hat=draw.chance(0.05 * occlusion),
    hat_line=draw.uniform(-0.95, -0.55),
    hat_colour=draw.uniform(10, 230, count=3),
    bar=draw.chance(0.05 * occlusion),
    bar_place=draw.uniforms((-1.7, 1.9), (-1.6, 1.6), (0.12, 0.3)),
    bar_colour=draw.uniform(0, 255, count=3),
    hand=draw.chance(0.05 * occlusion),
    hand_place=draw.uniforms((-1.3, 1.3), (0.7, 1.9), (-0.7, 0.7), (0.3, 0.5)),
    blur=np.abs(draw.normal(0.0, 0.0065)) * nuisance.sensor,
    noise=(1.0 + np.abs(draw.normal(0.0, 4.5))) * nuisance.sensor,
    grain=draw.uniform(),
  )
