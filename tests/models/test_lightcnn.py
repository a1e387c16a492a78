"""Light CNN: counts, PyTorch's arithmetic for all three, pixels of a face in the net's convention."""

import jax
import numpy as np
import pytest

from jaxface.models.lightcnn import PUBLISHED
from jaxface.models.registry import create
from jaxface.models.saved import count_parameters, variable_shapes


def by_hand(blocks, second):
  """Kernels and biases: each convolution makes twice its channels."""

  def mfm(before, features, side):
    return side * side * before * 2 * features + 2 * features

  total, before = mfm(1, 48, 5), 48
  for count, features in zip(blocks, (96, 192, 128, 128)):
    total += count * 2 * mfm(before, before, 3) + mfm(before, before, 1) + mfm(before, features, 3)
    before = features
  return total + (8 * 8 * 128 + 1) * (256 if second else 512)


@pytest.mark.parametrize(
  ("name", "blocks", "count"),
  [
    ("lightcnn9", (0, 0, 0, 0), 5_480_864),
    ("lightcnn29", (1, 2, 3, 4), 12_573_280),
    ("lightcnn29v2", (1, 2, 3, 4), 10_475_872),
  ],
)
def test_counts(name, blocks, count):
  assert by_hand(blocks, name.endswith("v2")) == count
  assert count_parameters(variable_shapes(name, {})["params"]) == count
  # The number in the name: convolutions.
  assert 1 + 8 + 2 * sum(blocks) == int(name.removeprefix("lightcnn").removesuffix("v2"))
  assert name in PUBLISHED


@pytest.mark.parametrize("name", ["lightcnn9", "lightcnn29", "lightcnn29v2"])
def test_embeddings_and_gradients_equal_pytorchs(name, random_model):
  torch = pytest.importorskip("torch")
  functional = torch.nn.functional
  second = name.endswith("v2")
  # 20 pixels halve to 10, 5, and 3 or, without the ceiling, 2.
  size = 32 if second else 20
  saved = random_model(name, width=1 / 24, embedding_size=6, dropout=0.0, preprocess="lightcnn", size=size)
  x_bhwc = np.random.default_rng(0).uniform(size=(2, size, size, 1)).astype(np.float32)
  weight_bd = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)

  params = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), saved.variables["params"])

  def mfm(x, p):
    kernel = p["conv"]["kernel"].permute(3, 2, 0, 1)
    one, other = functional.conv2d(x, kernel, p["conv"]["bias"], padding=kernel.shape[-1] // 2).chunk(2, 1)
    return torch.max(one, other)

  def pool(x):
    if second:
      return functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)
    return functional.max_pool2d(x, 2, ceil_mode=True)

  x = pool(mfm(torch.tensor(x_bhwc).permute(0, 3, 1, 2), params["conv1"]))
  for stage in range(1, 5):
    for index in range(1, (0 if name == "lightcnn9" else stage) + 1):
      p = params[f"block{stage}_{index}"]
      x = x + mfm(mfm(x, p["conv1"]), p["conv2"])
    p = params[f"group{stage}"]
    x = mfm(mfm(x, p["conv_a"]), p["conv"])
    x = x if stage == 3 else pool(x)
  x = x.permute(0, 2, 3, 1).flatten(1) @ params["fc"]["kernel"] + params["fc"]["bias"]
  x = x if second else torch.max(*x.chunk(2, 1))
  (x * torch.tensor(weight_bd)).sum().backward()

  def loss(p):
    out_bd = saved.module.apply({"params": p}, x_bhwc, train=False)
    return (out_bd * weight_bd).sum(), out_bd

  gradient, found = jax.jit(jax.grad(loss, has_aux=True))(saved.variables["params"])
  np.testing.assert_allclose(found, x.detach().numpy(), rtol=1e-4, atol=1e-4 * np.abs(found).max())
  for layer, *inner in (("conv1",), ("group2", "conv_a"), ("group4", "conv")):
    expected, kernel = params[layer], gradient[layer]
    for key in (*inner, "conv", "kernel"):
      expected, kernel = expected[key], kernel[key]
    expected = expected.grad.numpy()
    np.testing.assert_allclose(kernel, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_colour_face_becomes_128_grey_pixels_from_0_to_1():
  image_bhwc = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3)).astype(np.uint8)
  x_bhwc = create("lightcnn9").convention.apply(image_bhwc)
  assert x_bhwc.shape == (1, 128, 128, 1)
  assert 0 <= float(x_bhwc.min()) < 0.2 and 0.8 < float(x_bhwc.max()) <= 1
