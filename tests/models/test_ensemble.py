"""The ensemble is its networks side by side: each sees its own patch with its own parameters."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.geometry.patches import boxes, crop, deepid2_patches, deepid_patches
from jaxface.geometry.templates import template
from jaxface.models.deepid import DeepIDNet, patch_convention
from jaxface.models.preprocess import LUMA
from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes

FACE = template("arcface112")
SMALL = {"regions": ("face", "left_eye", "right_eye"), "scales": (1.0,), "width": 0.2, "embedding_size": 6}


def faces(count=2, seed=0):
  return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (count, 112, 112, 3)), jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def apply(net, variables, image_bhwc):
  return net.apply(variables, image_bhwc, train=False)


@pytest.fixture(scope="module")
def small():
  net = create("deepid_ensemble", **SMALL)
  return net, jax.jit(lambda key: net.init(key, faces(), train=False))(jax.random.key(0))


def test_the_sixty_networks_of_the_paper():
  ensemble = create("deepid_ensemble")
  assert ensemble.members == 60
  shapes = variable_shapes("deepid_ensemble", {}, ensemble.convention)["params"]
  assert sorted(shapes) == [
    "31x31x1_members_45_60", "31x31x3_members_30_45", "39x31x1_members_15_30", "39x31x3_members_0_15"
  ]
  alone = 0
  for height, width, channels in ((39, 31, 3), (39, 31, 1), (31, 31, 3), (31, 31, 1)):
    image = jnp.zeros((1, height, width, channels))
    net = DeepIDNet(patch_convention(height, width, "rgb" if channels == 3 else "grey"))
    alone += count_parameters(jax.eval_shape(lambda: net.init(jax.random.key(0), image, train=False)))  # noqa: B023
  assert count_parameters(shapes) == 15 * alone
  size = jax.eval_shape(lambda v: ensemble.apply(v, faces(1), train=False), {"params": shapes}).shape
  # With the mirrored face 19,200.
  assert size == (1, 9600)


def test_the_two_hundred_networks_of_deepid2_and_a_choice_of_them():
  ensemble = create("deepid2_ensemble")
  shapes = variable_shapes("deepid2_ensemble", {}, ensemble.convention)["params"]
  assert sorted(shapes) == ["55x47x1_members_100_200", "55x47x3_members_0_100"]
  # The first layer of a grey network has a third of the weights.
  assert count_parameters(shapes) == 200 * 1_018_540 - 100 * 2 * 4 * 4 * 20
  size = jax.eval_shape(lambda v: ensemble.apply(v, faces(1), train=False), {"params": shapes}).shape
  # With the mirrored face its 400 crops.
  assert size == (1, 200 * 160)
  names = [patch.name for patch in deepid2_patches(FACE)]
  # The order is that of all patches, whatever that of the choice.
  chosen = create("deepid2_ensemble", patches=[names[150], names[7], names[3]])
  assert [patch.name for patch in chosen.patches] == [names[3], names[7], names[150]]
  with pytest.raises(ValueError, match="row2_column2_100_grey"):
    create("deepid2_ensemble", patches=["row2_column2_100_gray"])
  with pytest.raises(ValueError, match="must be distinct"):
    create("deepid2_ensemble", patches=[names[0], names[0]])
  # Smaller inputs have DeepID's positions: 2 × 1 of the fourth layer instead of 4 × 3, and boxes of their own aspect.
  smaller = create("deepid2_ensemble", patches=names[:2], input_size=(39, 31))
  assert {patch.input_size for patch in smaller.patches} == {(39, 31)} and smaller.patches[0].size[1] == pytest.approx(smaller.patches[0].size[0] * 31 / 39)
  size = jax.eval_shape(lambda image: smaller.init(jax.random.key(0), image, train=False), faces(1))["params"]
  assert list(size) == ["39x31x3_members_0_2"] and size["39x31x3_members_0_2"]["conv4"]["kernel"].shape[:3] == (2, 2, 1)
  with pytest.raises(ValueError, match="at least 31 each"):
    create("deepid2_ensemble", input_size=(39, 30))


def test_every_member_is_a_network_alone_on_its_patch(small):
  net, variables = small
  image_bhwc = faces()
  found = apply(net, variables, image_bhwc)
  patches = deepid_patches(FACE, regions=SMALL["regions"], scales=SMALL["scales"])
  assert [patch.name for patch in patches] == [patch.name for patch in net.patches]
  box_n4 = boxes(patches, FACE, (112, 112))
  stacks = {int(name.split("_")[-2]): tree for name, tree in variables["params"].items()}
  for member, patch in enumerate(patches):
    first = max(start for start in stacks if start <= member)
    params = jax.tree.map(lambda leaf, at=member - first: leaf[at], stacks[first])
    seen = image_bhwc if patch.colour == "rgb" else jnp.tensordot(image_bhwc, jnp.asarray(LUMA), 1)[..., None]
    cut = crop(seen, box_n4[member : member + 1], patch.input_size)[0]
    alone = apply(DeepIDNet(patch_convention(*patch.input_size, patch.colour), embedding_size=6, width=0.2), {"params": params}, cut)
    np.testing.assert_allclose(found[:, 6 * member : 6 * member + 6], alone, rtol=1e-4, atol=1e-5)


def test_members_begin_different_and_all_learn(small):
  net, variables = small
  grads = jax.jit(jax.grad(lambda v, x: jnp.sum(net.apply(v, x, train=True) ** 2)))(variables, faces(8))
  grads, variables = jax.device_get((grads, variables))
  chex.assert_tree_all_finite(grads)
  for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
    name = jax.tree_util.keystr(path)
    for member in range(leaf.shape[0]):
      assert np.any(leaf[member]), f"{name} of member {member} gets no gradient"
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    if path[-1].key == "kernel" and len(leaf) > 1:
      assert np.abs(leaf[0] - leaf[1]).max() > 1e-3


def test_the_mirrored_face_gives_each_eye_the_mirror_of_the_other(small):
  """With one network in both eyes' places, the mirrored face swaps what symmetric networks say; here: what they see."""
  net, _ = small
  image_bhwc = faces()
  names = [patch.name for patch in net.patches]
  box_n4 = boxes(net.patches, FACE, (112, 112))
  left, right = names.index("left_eye_100_rgb"), names.index("right_eye_100_rgb")
  mirrored = crop(image_bhwc[:, :, ::-1], box_n4[[left]], (31, 31))
  np.testing.assert_allclose(mirrored[0], crop(image_bhwc, box_n4[[right]], (31, 31))[0, :, :, ::-1], atol=1e-5)
  assert net.patches[left].partner == names[right]


def test_half_of_the_bits_give_nearly_the_same(small):
  net, variables = small
  exact = apply(net, variables, faces())
  coarse = apply(create("deepid_ensemble", **SMALL, dtype="bfloat16"), variables, faces())
  assert coarse.dtype == jnp.float32
  cosine = jnp.sum(exact * coarse, 1) / jnp.linalg.norm(exact, axis=1) / jnp.linalg.norm(coarse, axis=1)
  assert cosine.min() > 0.999


def test_options_choose_the_patches():
  net = create("deepid_ensemble", regions=["nose"], scales=[0.8, 1.25], colours=["grey"])
  assert [patch.name for patch in net.patches] == ["nose_080_grey", "nose_125_grey"]
  with pytest.raises(ValueError, match="takes some of face, upper"):
    create("deepid_ensemble", regions=["ear"])
  with pytest.raises(ValueError, match=r"needs a list, such as \['face'\]"):
    create("deepid_ensemble", regions="face")
  assert create("deepid_ensemble", template="sphereface96x112").convention.size == (112, 96)


def test_a_wrong_image_names_the_convention(small):
  net, variables = small
  with pytest.raises(ValueError, match="template 'arcface112'"):
    net.apply(variables, jnp.zeros((1, 112, 112, 1)), train=False)
