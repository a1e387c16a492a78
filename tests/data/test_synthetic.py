"""Laws of the synthetic faces: what an image depends on, that people differ, that scenes do what they say."""

import numpy as np
import pytest

from jaxface.data.synthetic import CHUNK, SyntheticSource, render
from jaxface.data.synthetic_draw import Draw, pack, palette, unpack
from jaxface.data.synthetic_identity import draw_identity
from jaxface.data.synthetic_scene import Nuisance, draw_scene
from jaxface.data.synthetic_solid import TEMPLATE, solid

SIZE = 32
STILL = Nuisance(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_an_image_depends_on_its_numbers_alone():
  """Not on the batch, its size, its order or what was rendered before."""
  identity_n, occurrence_n = np.arange(CHUNK + 5) % 7, np.arange(CHUNK + 5)
  whole = render(identity_n, occurrence_n, size=SIZE)
  assert whole.shape == (CHUNK + 5, SIZE, SIZE, 3) and whole.dtype == np.uint8
  order = np.random.default_rng(0).permutation(CHUNK + 5)
  np.testing.assert_array_equal(render(identity_n[order], occurrence_n[order], size=SIZE), whole[order])
  for row in (0, 3, CHUNK + 4):
    np.testing.assert_array_equal(render(identity_n[[row]], occurrence_n[[row]], size=SIZE)[0], whole[row])


def test_seed_identity_and_occurrence_each_change_the_image():
  base = render([3], [5], size=SIZE)
  for other in (render([4], [5], size=SIZE), render([3], [6], size=SIZE), render([3], [5], size=SIZE, seed=1)):
    assert np.abs(other.astype(int) - base).mean() > 3


def test_large_numbers_are_people_of_their_own():
  images = render([0, 2**31, 2**40], [0, 0, 0], size=SIZE)
  assert len(np.unique(images.reshape(3, -1), axis=0)) == 3


def test_nothing_rendered():
  assert render([], [], size=SIZE).shape == (0, SIZE, SIZE, 3)


def test_without_nuisance_an_identity_always_looks_the_same():
  """Only what hangs from the neck (cloth) and the backdrop's shape remain of a scene."""
  images = render([2, 2, 9], [0, 1, 0], size=SIZE, nuisance=STILL).astype(int)
  face = np.s_[:, SIZE // 3 : SIZE * 3 // 4, SIZE // 4 : SIZE * 3 // 4]
  same, other = (np.abs(images[0] - images[k])[face[1:]].mean() for k in (1, 2))
  assert same < 1 < other


def test_a_resolution_is_the_same_picture_in_more_pixels():
  quiet = Nuisance(sensor=0.0)
  small, large = (render([5, 6], [1, 2], size=size, nuisance=quiet).astype(float) for size in (32, 64))
  means = large.reshape(2, 32, 2, 32, 2, 3).mean((2, 4))
  assert np.abs(means - small).mean() < 6


def test_pictures_are_neither_black_nor_flat():
  images = render(np.arange(48), np.zeros(48, int), size=SIZE).astype(float)
  assert (images.std((1, 2, 3)) > 8).all()
  assert 60 < images.mean() < 190
  assert len(np.unique(images.reshape(48, -1), axis=0)) == 48


def test_the_five_points_come_to_lie_on_the_template():
  """The alignment undoes a frontal pose exactly up to the person's own proportions, any pose to a tenth of the side."""
  identity_n, occurrence_n = np.arange(40), np.arange(40)
  who, scene = draw_identity(0, identity_n), draw_scene(0, identity_n, occurrence_n, Nuisance(pose=0.0))
  shape = solid(who, scene)
  re, im, left, top = shape.grid.T
  for sign, k in ((-1, 0), (1, 1)):
    # The grid maps shares of the side to the viewer's frame; invert it for the eyes.
    seen = sign * who.features.eye_x + 0j
    share = (seen - (left + 1j * top)) / (re + 1j * im)
    assert np.abs(share - (TEMPLATE[k, 0] + 1j * TEMPLATE[k, 1])).max() < 0.1


def test_turn_is_a_rotation():
  identity_n = np.arange(20)
  turn = solid(draw_identity(0, identity_n), draw_scene(0, identity_n, identity_n, Nuisance())).turn
  np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-5)
  np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-5)


def test_an_identity_keeps_its_traits_among_others():
  alone, together = draw_identity(3, np.array([17])), draw_identity(3, np.arange(30))
  np.testing.assert_array_equal(pack(alone)[0], pack(together)[17])


def test_packing_is_undone_by_unpacking():
  who = draw_identity(0, np.arange(4))
  row, columns = unpack(pack(who)[2], who)
  assert columns == pack(who).shape[1]
  np.testing.assert_allclose(row.marks.skin, who.marks.skin[2], rtol=1e-6)
  np.testing.assert_allclose(row.hair.strand, who.hair.strand[2], rtol=1e-6)


def test_draws_have_their_distributions():
  draw = Draw([(0, i) for i in range(4000)], [(0, 0)] * 4000, 6)
  uniform, normal, chance, pair = draw.uniform(2, 4), draw.normal(1, 0.5), draw.chance(0.2), draw.uniforms((0, 1), (5, 9))
  assert uniform.min() >= 2 and uniform.max() <= 4 and abs(uniform.mean() - 3) < 0.05
  assert abs(normal.mean() - 1) < 0.05 and abs(normal.std() - 0.5) < 0.05
  assert abs(chance.mean() - 0.2) < 0.03
  np.testing.assert_allclose(pair.mean(0), (0.5, 7), atol=0.15)
  with pytest.raises(ValueError, match="raise it to 8"):
    draw.uniform(count=3)


def test_palette_meets_its_colours_and_the_middle_between():
  colours = ((0, 0, 0), (100, 200, 40), (255, 255, 255))
  np.testing.assert_allclose(palette(np.float32([0, 0.5, 1, 0.25]), colours), [*colours, (50, 100, 20)], rtol=1e-5)


def test_source():
  source = SyntheticSource(3, 4, SIZE, seed=2, first_identity=12)
  assert (source.num_records, source.num_identities, source.image_shape) == (12, 3, (SIZE, SIZE, 3))
  assert source.template == "arcface112" and source.label_n.dtype == np.int32
  np.testing.assert_array_equal(source.label_n, np.arange(12) // 4)
  names = source.names()
  assert len(set(names)) == 12 and names[3] == "synthetic_000012/synthetic_000012_0003"
  out = np.zeros((3, SIZE, SIZE, 3), np.uint8)
  assert source.read(np.array([11, 0, 5]), out) == []
  np.testing.assert_array_equal(out, render([14, 12, 13], [3, 0, 1], size=SIZE, seed=2))


def test_a_record_that_is_not_there():
  source = SyntheticSource(2, 2, SIZE)
  for record in (-1, 4):
    with pytest.raises(IndexError, match="of a source that has 4"):
      source.read(np.array([record]), np.empty((1, SIZE, SIZE, 3), np.uint8))


@pytest.mark.parametrize("arguments, name", [((0, 1), "num_identities"), ((1, 0), "images_per_identity"), ((1, 1, 0), "size")])
def test_numbers_that_are_too_small_are_named(arguments, name):
  with pytest.raises(ValueError, match=rf"SyntheticSource\.{name} is 0"):
    SyntheticSource(*arguments)


def test_wrong_numbers_to_render():
  with pytest.raises(ValueError, match="negative"):
    render([-1], [0], size=SIZE)
  with pytest.raises(ValueError, match="both should be"):
    render([1, 2], [0], size=SIZE)
  with pytest.raises(ValueError, match=r"Nuisance\.pose = 3 is out of range"):
    Nuisance(pose=3)
