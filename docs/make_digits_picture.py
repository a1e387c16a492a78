"""Writes docs/digits.png, the embeddings of ten digits in two dimensions under five losses, and prints confusion matrices.

Scikit-learn's 1,797 digits of 8×8 pixels, four fifths for training; a network with two small hidden layers and a two-dimensional
embedding, which can be drawn without projection. Ten classes in a plane are 36° apart: margins are smaller here than for faces.

Needs scikit-learn. Command: python docs/make_digits_picture.py
Takes under a minute on one core.
"""

import time
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

from jaxface import losses
from jaxface.evaluation import class_accuracy, confusion_matrix
from jaxface.heads import Classification
from jaxface.losses.scores import prepare_rows, scores

CLASSES, BATCH, STEPS, RATE = 10, 128, 3000, 3e-3
SIZE, EDGE, TITLE = 300, 14, 48
COLOURS = (
  "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#4d4d4d", "#bcbd22", "#17becf",
)

# Name of the panel: the terms of its objective, as in an experiment.
OBJECTIVES = {
  "softmax": (Classification(losses.Softmax()),),
  "softmax + center loss": (Classification(losses.Softmax()), losses.CenterLoss(weight=0.1)),
  "SphereFace (m = 4)": (Classification(losses.ASoftmax(m=4, least=1.0)),),
  "CosFace (m = 0.1)": (Classification(losses.CosFace(m=0.1, scale=30.0, warmup_steps=STEPS // 3)),),
  "ArcFace (m = 0.15)": (Classification(losses.ArcFace(m=0.15, scale=30.0, warmup_steps=STEPS // 3)),),
}


class Net(nn.Module):
  """64 pixels to two numbers."""

  @nn.compact
  def __call__(self, pixel_bn):
    x_bn = nn.relu(nn.Dense(128)(pixel_bn))
    x_bn = nn.relu(nn.Dense(64)(x_bn))
    return nn.Dense(2)(x_bn)


class Digits(NamedTuple):
  """Pixels in 0..1 and labels, for training and test."""

  train_nk: np.ndarray
  train_n: np.ndarray
  test_nk: np.ndarray
  test_n: np.ndarray


def digits() -> Digits:
  """Scikit-learn's digits, with a random fifth for the test."""
  pixel_nk, label_n = load_digits(return_X_y=True)
  pixel_nk, label_n = (pixel_nk / 16.0).astype(np.float32), label_n.astype(np.int32)
  order_n = np.random.default_rng(0).permutation(len(label_n))
  test_n, train_n = np.split(order_n, [len(label_n) // 5])
  return Digits(pixel_nk[train_n], label_n[train_n], pixel_nk[test_n], label_n[test_n])


def train(terms, data: Digits, steps: int = STEPS, seed: int = 0):
  """Parameters of network and terms after so many steps of Adam."""
  net, key = Net(), jax.random.key(seed)
  net_key, *term_keys = jax.random.split(key, 1 + len(terms))
  initial = [term.init(term_key, 2, CLASSES) for term, term_key in zip(terms, term_keys)]
  params = {"net": net.init(net_key, data.train_nk[:1]), "terms": [term_params for term_params, _ in initial]}
  optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))

  def objective(params, states, pixel_bk, label_b, step):
    inputs = {"embedding_bd": net.apply(params["net"], pixel_bk), "label_b": label_b, "weight_b": jnp.ones(len(label_b))}
    total, moved = 0.0, []
    for term, term_params, state in zip(terms, params["terms"], states):
      loss_b, state, _ = term(term_params, inputs, state=state, step=step, key=None)
      total, moved = total + term.weight * loss_b.mean(), [*moved, state]
    return total, moved

  def advance(carry, step):
    params, states, moments = carry
    row_b = jax.random.randint(jax.random.fold_in(key, step), (BATCH,), 0, len(data.train_n))
    grads, states = jax.grad(objective, has_aux=True)(params, states, train_nk[row_b], train_n[row_b], step)
    updates, moments = optimizer.update(grads, moments)
    return (optax.apply_updates(params, updates), states, moments), None

  train_nk, train_n = jnp.asarray(data.train_nk), jnp.asarray(data.train_n)
  carry = (params, [state for _, state in initial], optimizer.init(params))
  (params, _, _), _ = jax.jit(lambda carry: jax.lax.scan(advance, carry, jnp.arange(steps)))(carry)
  return params


def embed(params, pixel_nk: np.ndarray) -> np.ndarray:
  """[N, 2]."""
  return np.asarray(Net().apply(params["net"], pixel_nk))


def classify(terms, params, embedding_nd: np.ndarray) -> np.ndarray:
  """[N] the class with the highest score, before any margin."""
  geometry = terms[0].margin.geometry
  rows_nd, _ = prepare_rows(jnp.asarray(embedding_nd), geometry)
  return np.asarray(scores(rows_nd, params["terms"][0], geometry)).argmax(1)


def panel(title: str, embedding_nd: np.ndarray, label_n: np.ndarray) -> Image.Image:
  """Embeddings as dots around the origin, drawn at twice the size."""
  scale = 2
  image = Image.new("RGB", (scale * SIZE, scale * (SIZE + TITLE)), "white")
  draw = ImageDraw.Draw(image)
  font = ImageFont.load_default(scale * 14)
  for row, line in enumerate(title.split("\n")):
    draw.text((scale * EDGE, scale * (6 + 19 * row)), line, fill="black", font=font)
  reach = np.quantile(np.abs(embedding_nd).max(1), 0.995) * 1.05
  middle, half = scale * np.array([SIZE / 2, SIZE / 2 + TITLE]), scale * (SIZE / 2 - EDGE)
  draw.line([(middle[0] - half, middle[1]), (middle[0] + half, middle[1])], fill="#dddddd", width=scale)
  draw.line([(middle[0], middle[1] - half), (middle[0], middle[1] + half)], fill="#dddddd", width=scale)
  dot = 1.5 * scale
  for point, label in zip(embedding_nd, label_n):
    x, y = middle + half * point / reach * np.array([1.0, -1.0])
    draw.ellipse([x - dot, y - dot, x + dot, y + dot], fill=COLOURS[label])
  for label in range(CLASSES):
    x, y = middle + half * np.median(embedding_nd[label_n == label], 0) / reach * np.array([1.0, -1.0])
    draw.text((x, y), str(label), fill="black", font=font, anchor="mm", stroke_width=3 * scale, stroke_fill="white")
  return image.resize((SIZE, SIZE + TITLE), Image.Resampling.LANCZOS)


def main() -> None:
  """Train, print, draw."""
  data, panels = digits(), []
  for name, terms in OBJECTIVES.items():
    start = time.perf_counter()
    params = train(terms, data)
    test_nd = embed(params, data.test_nk)
    found_n = classify(terms, params, test_nd)
    right = class_accuracy(data.test_n, found_n).accuracy
    print(f"\n{name}: {100 * right:.1f} % of {len(found_n)} test digits, {time.perf_counter() - start:.1f} s")
    print(confusion_matrix(data.test_n, found_n).table())
    title = f"{name}\n{100 * right:.1f} % of the test digits"
    pixel_nk, label_n = np.concatenate([data.train_nk, data.test_nk]), np.concatenate([data.train_n, data.test_n])
    panels.append(panel(title, embed(params, pixel_nk), label_n))
  sheet = Image.new("RGB", (SIZE * len(panels), SIZE + TITLE), "white")
  for column, image in enumerate(panels):
    sheet.paste(image, (column * SIZE, 0))
  sheet.quantize(128).save(Path(__file__).with_name("digits.png"), optimize=True)


if __name__ == "__main__":
  main()
