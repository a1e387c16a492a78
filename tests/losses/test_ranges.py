"""Hyper-parameters out of range are refused by field, value and interval."""

import math

import pytest

from jaxface.losses.margins import ArcFace, CombinedMargin, CosFace, NormSoftmax


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: ArcFace(m=2.0), ["ArcFace.m = 2.0", "[0, 1.5708]", "radians"]),
    (lambda: ArcFace(m=-0.1), ["ArcFace.m", "[0, 1.5708]"]),
    (lambda: ArcFace(m=math.nan), ["ArcFace.m = nan"]),
    (lambda: CosFace(m=1.5), ["CosFace.m = 1.5", "[0, 1]"]),
    (lambda: CombinedMargin(m1=0.9), ["CombinedMargin.m1 = 0.9", "[1, 8]"]),
    (lambda: CombinedMargin(m2=4.0), ["CombinedMargin.m2"]),
    (lambda: CombinedMargin(m3=-1.0), ["CombinedMargin.m3"]),
    (lambda: NormSoftmax(scale=0.0), ["NormSoftmax.scale = 0.0", "(0, inf)"]),
    (lambda: ArcFace(scale=math.inf), ["ArcFace.scale", "(0, inf)"]),
    (lambda: ArcFace(warmup_steps=-1), ["ArcFace.warmup_steps", "[0, inf)"]),
    (lambda: ArcFace(subcenters=0), ["ArcFace.subcenters", "[1, inf)"]),
    (lambda: ArcFace(gradient="both"), ["ArcFace.gradient = 'both'", "exact, detached"]),
    (lambda: ArcFace(guard="soft"), ["ArcFace.guard = 'soft'", "hard, hold, easy, none"]),
  ],
)
def test_message_names_field_value_and_what_would_be_right(make, words):
  with pytest.raises(ValueError) as error:
    make()
  for word in words:
    assert word in str(error.value)


def test_ends_of_intervals_are_allowed():
  CombinedMargin(m1=1.0, m2=math.pi / 2, m3=1.0)
  CombinedMargin(m1=8.0, m2=0.0, m3=0.0)
