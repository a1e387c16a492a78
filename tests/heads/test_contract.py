"""A head of one's own is a term with class centres: what it lacks is named, with the line to add; ours keep the contract."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from jaxface import heads, losses
from jaxface.heads.contract import check_head
from jaxface.losses.own_part import WrongPart
from jaxface.training.config import Experiment


@dataclass(frozen=True)
class Own:
  """A head with a margin of any kind."""

  margin: Any = field(default_factory=lambda: losses.SubcenterArcFace(subcenters=3))
  weight: float = 1.0

  def init(self, key, embedding_size, num_classes):
    return heads.init_centers(key, num_classes, embedding_size, self.margin.geometry), self.margin.init_state()

  def __call__(self, params, inputs, *, state, step, key):
    x_bd, label_b, weight_b = inputs["embedding_bd"], inputs["label_b"], inputs["weight_b"]
    found = heads.dense_head(params, x_bd, label_b, weight_b, margin=self.margin, state=state, step=step, key=key)
    return found.loss_b * weight_b, found.state, {}


def nothing(self, params, inputs, *, state, step, key):
  return inputs["weight_b"], state, {}


def with_init(init, **fields):
  return type("Mine", (Own,), {"init": init, "__call__": nothing})(**fields)


@pytest.mark.parametrize("head", [Own(), Own(losses.Softmax()), Own(losses.AdaFace()), heads.Classification(losses.Softmax())])
def test_what_keeps_the_contract_passes(head):
  check_head(head)
  assert Experiment(terms=(head,)).terms == (head,)


@pytest.mark.parametrize(
  ("head", "message"),
  [
    (
      with_init(lambda self, key, size, classes: ({}, {})),
      r"terms\.0: .*Mine: init gives no center_cd for 100 classes and embeddings of 512; a head keeps its class centres as center_cd"
      r" \(300, 512\), and biases of the classes, if any, as bias_c \(100,\):\n  def init\(self, key, embedding_size, num_classes\):"
      r" return heads\.init_centers\(key, num_classes, embedding_size, self\.margin\.geometry\), self\.margin\.init_state\(\)$",
    ),
    (
      with_init(lambda self, key, size, classes: (heads.init_centers(key, classes, size, losses.ArcFace().geometry), {})),
      r"init gives \{'center_cd': \(100, 512\)\} for 100 classes.*as center_cd \(300, 512\)",
    ),
    (
      with_init(lambda self, key, size, classes: ({"center_cd": jnp.zeros((classes, size)), "bias_c": jnp.zeros((classes, 1))}, {}), margin=0.5),
      r"'bias_c': \(100, 1\)\}",
    ),
    (
      with_init(lambda self, key, size, classes: ({"center_cd": jnp.zeros((classes, size)), "bias_c": jnp.zeros(())}, {}), margin=0.5),
      r"'bias_c': \(\)\}.*bias_c \(100,\):\n.*losses\.Geometry\(unit_x=True, unit_w=True\)\), \{\}$",
    ),
    (Own(margin=losses.ArcFace), r"terms\.0\.margin: .*ArcFace is a class: give an instance, ArcFace\(\)"),
  ],
)
def test_what_is_missing_is_said(head, message):
  with pytest.raises(WrongPart, match=f"(?s){message}"):
    Experiment(terms=(head,))


def test_the_contract_is_of_shapes_alone():
  """Nothing is computed: several hosts must not touch a device before they have joined."""
  code = """
from dataclasses import dataclass
from jax._src import xla_bridge
from jaxface import data, heads, losses, training
from tests.heads.test_contract import Own
from tests.data.test_augment_own import Fog
assert not xla_bridge.backends_are_initialized()
training.Experiment(terms=(Own(),), augment=data.AugmentConfig(own=(Fog(),)))
assert not xla_bridge.backends_are_initialized()
"""
  subprocess.run([sys.executable, "-c", code], check=True, timeout=200, cwd=Path(__file__).parents[2])
