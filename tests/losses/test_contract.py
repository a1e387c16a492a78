"""A margin or a term of one's own is told what it lacks, with the line to add; ours keep their contract."""

from dataclasses import dataclass

import jax.numpy as jnp
import pytest

from jaxface import losses
from jaxface.heads.classification import Classification
from jaxface.losses.contract import MARGIN_MEMBERS, TERM_MEMBERS, WrongPart, check_margin, check_term
from jaxface.training.choices import MARGINS, TERMS
from jaxface.training.config import Experiment


class Own:
  """A term with all that is needed, and nothing more."""

  weight = 1.0

  def init(self, key, embedding_size, num_classes):
    return {}, {}

  def __call__(self, params, inputs, *, state, step, key):
    return inputs["weight_b"] * (inputs["embedding_bd"] ** 2).sum(1), state, {"length": inputs["embedding_bd"].mean()}


@dataclass(frozen=True)
class OwnMargin:
  m: float = 0.2
  scale: float = 8.0
  geometry = losses.Geometry(unit_x=True, unit_w=True)

  def init_state(self):
    return {}

  def prepare(self, target_b, norm_b, weight_b, *, state, step, key, reduce):
    return losses.Prep((), state, 0 * target_b)

  def target(self, target_b, ctx):
    return self.scale * (target_b - self.m)

  def others(self, score_bk, ctx):
    return self.scale * score_bk


def test_what_keeps_the_contract_passes():
  check_term(Own())
  check_margin(OwnMargin())


@pytest.mark.parametrize("kind", [*MARGINS.values()], ids=lambda kind: kind.__name__)
def test_our_margins_keep_it(kind):
  check_margin(kind())


@pytest.mark.parametrize("kind", [kind for name, kind in TERMS.items() if name != "permember"], ids=lambda kind: kind.__name__)
def test_our_terms_keep_it(kind):
  check_term(kind())


def without(kind, name):
  return type("Mine", (), {key: value for key, value in vars(kind).items() if key != name and not key.startswith("__dict")})()


@pytest.mark.parametrize("name", TERM_MEMBERS)
def test_a_term_is_told_the_line_to_add(name):
  with pytest.raises(WrongPart, match=r"terms\.0: .*Mine is no term yet\. Add:") as caught:
    check_term(without(Own, name), "terms.0")
  assert str(caught.value).endswith(f"\n  {TERM_MEMBERS[name]}")


@pytest.mark.parametrize("name", MARGIN_MEMBERS)
def test_a_margin_is_told_the_line_to_add(name):
  with pytest.raises(WrongPart, match=r"Mine is no margin yet\. Add:") as caught:
    check_margin(without(OwnMargin, name))
  assert str(caught.value).endswith(f"\n  {MARGIN_MEMBERS[name]}")


def term_with(**members):
  return type("Mine", (Own,), members)()


@pytest.mark.parametrize(
  "part, message",
  [
    (Own, "is a class: give an object of it, Own()"),
    (term_with(scope="rows"), "scope is 'rows'; it must be one of row, batch, pairs"),
    (term_with(init=lambda self, key: ({}, {})), r"init takes \(key\), but too many positional arguments"),
    (term_with(init=lambda self, key, size, classes: {}), r"init must return \(parameters, state\)"),
    (term_with(__call__=lambda self, params, inputs, *, state, step, key: inputs["weight_b"]), r"a call must return \(loss_b"),
    (
      term_with(__call__=lambda self, params, inputs, *, state, step, key: (inputs["weight_b"].sum(), state, {})),
      r"the loss has shape \(\) for 48 rows and 100 classes; expected \(48,\)",
    ),
    (
      term_with(__call__=lambda self, params, inputs, *, state, step, key: (inputs["weight_b"], {"n": jnp.zeros(2)}, {})),
      "turns the state",
    ),
    (
      term_with(__call__=lambda self, params, inputs, *, state, step, key: (inputs["weight_b"], state, inputs)),
      r"metric 'embedding_bd' has shape \(48, 512\)",
    ),
    (
      term_with(__call__=lambda self, params, inputs, *, state, step, key: inputs["labels"]),
      "fails on a batch of 48 rows: KeyError: 'labels'",
    ),
  ],
)
def test_what_is_wrong_is_said(part, message):
  with pytest.raises(WrongPart, match=message):
    check_term(part)


def test_a_margin_with_wrong_results_is_told():
  wrong = type("Mine", (OwnMargin,), {"others": lambda self, score_bk, ctx: score_bk.sum(1)})()
  with pytest.raises(WrongPart, match=r"others has shape \(48,\) for 48 rows and 100 classes; expected \(48, 100\)"):
    check_margin(wrong)
  wrong = type("Mine", (OwnMargin,), {"geometry": "cosine"})()
  with pytest.raises(WrongPart, match=r"geometry is 'cosine'; it must be a losses\.Geometry"):
    check_margin(wrong)


def test_an_experiment_tries_parts_of_its_own():
  right = Classification(margin=OwnMargin())
  assert Experiment(terms=(Own(), right)).terms[1] is right
  with pytest.raises(WrongPart, match=r"terms\.1: .*Mine is no term yet"):
    Experiment(terms=(right, without(Own, "weight")))
  with pytest.raises(WrongPart, match=r"terms\.0\.margin: .*Mine is no margin yet"):
    Experiment(terms=(Classification(margin=without(OwnMargin, "target")),))
