"""FaceNet's networks: the tables that the paper prints, layer by layer, PyTorch's arithmetic, training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.models.facenet import PUBLISHED
from jaxface.models.facenet_inception import NN2_ROWS, NN4_ROWS, Inception, scaled
from jaxface.models.layer_table import layer_table
from jaxface.models.registry import create, list_models
from jaxface.models.watch import watch

NAMES = ("facenet_nn1", "facenet_nn2", "facenet_nn3", "facenet_nn4", "facenet_nns1", "facenet_nns2")

# As printed: layer, height and width of the result, its channels, parameters, FLOPs. Pools, norms and "concat" have none.
NN1_PRINTED = """
conv1   110 64   9K   115M
conv2a  55  64   4K   13M
conv2   55  192  111K 335M
conv3a  28  192  37K  29M
conv3   28  384  664K 521M
conv4a  14  384  148K 29M
conv4   14  256  885K 173M
conv5a  14  256  66K  13M
conv5   14  256  590K 116M
conv6a  14  256  66K  13M
conv6   14  256  590K 116M
fc1     1   4096 103M 103M
fc2     1   4096 34M  34M
fc7128  1   128  524K 0.5M
total   -   -    140M 1.6B
"""
# "fc1 1×32×128" are 4096 numbers, each the largest of p = 2: 12544·8192 + 8192 parameters, and as many FLOPs.
NN2_PRINTED = """
conv1  112 64   9K   119M
2      56  192  115K 360M
3a     28  256  164K 128M
3b     28  320  228K 179M
3c     14  640  398K 108M
4a     14  640  545K 107M
4b     14  640  595K 117M
4c     14  640  654K 128M
4d     14  640  722K 142M
4e     7   1024 717K 56M
5a     7   1024 1.6M 78M
5b     7   1024 1.6M 78M
fc     1   128  131K 0.1M
total  -   -    7.5M 1.6B
"""
# Printed numbers that are not the rounded count, and the count. 4a: 164,096 (1×1) + 61,536 + 166,080 (3×3) + 20,512 + 51,264
# (5×5) + 82,048 (pool) = 545,536, which rounds to 546K; the paper prints 545K. All other numbers of both tables are rounded.
NOT_ROUNDED = {("4a", "parameters"): 545_536}


def within(printed):
  """The numbers that round to what is printed."""
  unit = {"K": 1e3, "M": 1e6, "B": 1e9}[printed[-1]]
  half = 0.5 * 10.0 ** -len(printed[:-1].partition(".")[2])
  return (float(printed[:-1]) - half) * unit, (float(printed[:-1]) + half) * unit


def watched(name):
  network = create(name)
  return watch(network, (1, *network.convention.size, 3))


def sums(name):
  """Parameters and FLOPs, biases in both, by layer of the printed table; FLOPs are (k²·Cin + 1)·Cout·H·W."""
  found = {"total": [0, 0]}
  for row in layer_table(watched(name)):
    layer = "2" if row.path.startswith("2_") else row.path.partition("/")[0]
    for key in (layer, "total"):
      parameters, flops = found.get(key, (0, 0))
      found[key] = [parameters + row.parameters, flops + row.with_bias]
  return found


def numbers(name, size=32, rows=None, **options):
  """A network, with other blocks if asked, variables that keep the signal's size, two images."""
  rng = np.random.default_rng(0)
  network = create(name, **options) if rows is None else create(name, **options).clone(rows=rows)
  image = jnp.asarray(rng.uniform(-1, 1, (2, size, size, 3)), jnp.float32)

  def leaf(path, shape):
    if path[-1].key == "kernel":
      return jnp.asarray(rng.normal(0, np.sqrt(2 / np.prod(shape.shape[:-1])), shape.shape), jnp.float32)
    centre = 1.0 if path[-1].key in ("scale", "var") else 0.0
    return jnp.asarray(centre + rng.uniform(-0.1, 0.1, shape.shape), jnp.float32)

  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), image, train=False))
  return network, jax.tree_util.tree_map_with_path(leaf, shapes), image


@pytest.mark.parametrize("name,table", [("facenet_nn1", NN1_PRINTED), ("facenet_nn2", NN2_PRINTED)])
def test_every_layer_has_the_printed_parameters_and_flops(name, table):
  found = sums(name)
  lines = [line.split() for line in table.strip().splitlines()]
  assert {line[0] for line in lines} == set(found)
  for layer, _, _, *printed in lines:
    for what, count, text in zip(("parameters", "flops"), found[layer], printed):
      low, high = within(text)
      if (layer, what) in NOT_ROUNDED:
        assert count == NOT_ROUNDED[layer, what] and not low <= count <= high, (layer, what, count, text)
      else:
        assert low <= count <= high, (layer, what, count, text)


@pytest.mark.parametrize("name,table", [("facenet_nn1", NN1_PRINTED), ("facenet_nn2", NN2_PRINTED)])
def test_every_layer_has_the_printed_size(name, table):
  shape = {call.path: call.output_shape[1:] for call in watched(name).calls}
  for layer, side, channels, *_ in (line.split() for line in table.strip().splitlines()[:-1]):
    expected = (int(side), int(side), int(channels)) if int(side) > 1 else (int(channels),)
    assert shape["2_3x3" if layer == "2" else layer,] == expected, layer


def test_counts_of_whole_networks():
  counts = {name: sums(name)["total"] for name in NAMES}
  assert [counts[name][0] for name in NAMES] == [140_025_664, 7_456_304, 7_456_304, 6_607_888, 25_790_824, 4_336_700]
  assert list_models("facenet*") == sorted(NAMES) == sorted(PUBLISHED)
  for name in ("facenet_nns1", "facenet_nns2"):
    assert counts[name] == pytest.approx([PUBLISHED[name].parameters, PUBLISHED[name].multiply_adds], rel=0.05)
  # "6.6 M", "285 M FLOPS": met as printed, which settles where the 5×5 convolutions are missing.
  low, high = within("6.6M")
  assert low <= counts["facenet_nn4"][0] <= high and round(counts["facenet_nn4"][1] / 1e6) == 285


def test_mini_and_tiny_are_within_five_percent_also_without_the_biases():
  for name in ("facenet_nns1", "facenet_nns2"):
    products = sum(row.multiply_adds for row in layer_table(watched(name)))
    assert products == pytest.approx(PUBLISHED[name].multiply_adds, rel=0.05)


def torch_network(torch, params, image, maxout):
  """NN1 or NN2's blocks written with PyTorch's functions; `maxout` names the layers of such units."""
  functional = torch.nn.functional

  def conv(x, leaves, stride=1):
    kernel = torch.tensor(np.asarray(leaves["kernel"])).permute(3, 2, 0, 1)
    x = functional.conv2d(x, kernel, torch.tensor(np.asarray(leaves["bias"])), stride, kernel.shape[-1] // 2)
    return functional.relu(x)

  def pool(x, stride, length=False):
    total = [max(0, (-(-n // stride) - 1) * stride + 3 - n) for n in x.shape[2:]]
    low = [n // 2 for n in total]
    edges = (low[1], total[1] - low[1], low[0], total[0] - low[0])
    if length:
      return functional.lp_pool2d(functional.pad(x, edges), 2.0, 3, stride)
    return functional.max_pool2d(functional.pad(x, edges, value=-torch.inf), 3, stride)

  def norm(x):
    return functional.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)

  def block(x, leaves, row):
    parts = [conv(x, leaves["1x1"])] if row.one else []
    parts += [conv(conv(x, leaves[f"{k}x{k}_reduce"]), leaves[f"{k}x{k}"], row.stride) for k in (3, 5)]
    pooled = pool(x, row.stride, row.pool == "l2")
    return torch.cat([*parts, conv(pooled, leaves["pool_proj"]) if row.project else pooled], 1)

  def dense(x, leaves):
    return x @ torch.tensor(np.asarray(leaves["kernel"])) + torch.tensor(np.asarray(leaves["bias"]))

  def largest(x, leaves):
    return dense(x, leaves).unflatten(1, (2, -1)).amax(1)

  inception = "3a" in params
  x = torch.tensor(np.asarray(image)).permute(0, 3, 1, 2)
  x = norm(pool(conv(x, params["conv1"], 2), 2))
  names = ("2_3x3_reduce", "2_3x3") if inception else ("conv2a", "conv2")
  x = pool(norm(conv(conv(x, params[names[0]]), params[names[1]])), 2)
  if inception:
    for row in NN2_ROWS:
      x = block(x, params[row.name], row)
  else:
    for stage in (("3a", "3"), ("4a", "4", "5a", "5", "6a", "6")):
      for layer in stage:
        x = conv(x, params[f"conv{layer}"])
      x = pool(x, 2)
  x = x.permute(0, 2, 3, 1).flatten(1) if maxout else x.mean((2, 3))
  for layer in maxout:
    x = largest(x, params[layer])
  return functional.normalize(dense(x, params["fc" if inception else "fc7128"])).numpy()


@pytest.mark.parametrize(
  "name,width,maxout", [("facenet_nn1", 1 / 32, ("fc1", "fc2")), ("facenet_nn2", 1 / 16, ()), ("facenet_nns2", 0.5, ("fc1",))]
)
def test_embeddings_are_pytorchs(name, width, maxout):
  torch = pytest.importorskip("torch")
  network, variables, image = numbers(name, 40, width=width, embedding_size=16)
  ours = jax.jit(lambda v, x: network.apply(v, x, train=False))(variables, image)
  np.testing.assert_allclose(ours, torch_network(torch, variables["params"], image, maxout), atol=2e-4)


@pytest.mark.parametrize("name,options", [
  pytest.param("facenet_nn1", {"width": 1 / 16, "remat": True}, marks=pytest.mark.sweep),
  ("facenet_nn4", {"rows": NN4_ROWS[6:], "width": 1 / 8, "norm": True, "dropout": 0.1}),
  pytest.param("facenet_nns1", {"rows": NN2_ROWS[1:3], "width": 1 / 2, "remat": True}, marks=pytest.mark.sweep),
])
def test_every_parameter_gets_a_finite_gradient(name, options):
  network, variables, image = numbers(name, embedding_size=8, **options)
  target = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8)), jnp.float32)

  @jax.jit
  def gradient(params, image):
    def loss(params):
      embedding, _ = network.apply(
        variables | {"params": params}, image, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
      )
      return (embedding * target).sum(), embedding

    return jax.grad(loss, has_aux=True)(params)

  slope, embedding = gradient(variables["params"], image)
  assert embedding.dtype == jnp.float32
  np.testing.assert_allclose(jnp.linalg.norm(embedding, axis=1), 1, rtol=1e-5)
  for path, leaf in jax.tree_util.tree_leaves_with_path(slope):
    assert jnp.isfinite(leaf).all() and jnp.any(leaf != 0), jax.tree_util.keystr(path)
  # Without light and weights the embedding is zero, and nothing divides by it.
  nothing = jax.tree.map(jnp.zeros_like, variables["params"])
  slope, embedding = gradient(nothing, jnp.zeros_like(image))
  assert not embedding.any() and all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_remat_and_bfloat16_change_only_how_it_is_computed():
  network, variables, image = numbers("facenet_nn4", width=1 / 8, embedding_size=16)
  whole = jax.jit(lambda v, x: network.apply(v, x, train=False))(variables, image)
  for options, tolerance in (({"remat": True}, 1e-6), ({"dtype": "bfloat16"}, 0.05)):
    other = create("facenet_nn4", width=1 / 8, embedding_size=16, **options)
    embedding = jax.jit(lambda v, x, other=other: other.apply(v, x, train=False))(variables, image)
    assert embedding.dtype == jnp.float32
    np.testing.assert_allclose(embedding, whole, atol=tolerance)


def test_lengths_leave_the_size_of_the_numbers_as_it_is():
  x = jnp.asarray(np.abs(np.random.default_rng(2).normal(size=(2, 12, 12, 128))), jnp.float32)
  block = Inception(NN2_ROWS[3])
  y, _ = jax.jit(lambda x: block.init_with_output(jax.random.key(0), x, train=False))(x)
  by_length, others = (jnp.sqrt((part**2).mean()) for part in (y[..., -128:], y[..., :-128]))
  assert 0.5 < float(by_length / others) < 2


def test_widths_are_multiples_of_four_and_the_papers_stay():
  assert scaled(145, 1.0) == 145
  assert [scaled(64, width) for width in (0.5, 0.43, 0.15, 0.001)] == [32, 28, 8, 4]


def test_another_convention_is_named():
  network, variables, image = numbers("facenet_nn1", width=1 / 64, embedding_size=8)
  with pytest.raises(ValueError, match=r"FaceNetZF.*another image size.*'unit': 220x220"):
    jax.eval_shape(lambda: network.apply(variables, jnp.zeros((1, 64, 64, 3)), train=False))
  with pytest.raises(ValueError, match=r"\[B, H, W, 3\].*got shape \(1, 32, 32, 1\)"):
    network.apply(variables, image[:1, ..., :1], train=False)
