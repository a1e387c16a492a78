"""A margin or a term of one's own is told what it lacks, with the line to add; ours keep their contract."""

from dataclasses import dataclass

import jax.numpy as jnp
import pytest

from jaxface import losses
from jaxface.heads.classification import Classification
from jaxface.heads.per_member import PerMember
from jaxface.losses.contract import CENTERS, MARGIN_MEMBERS, TERM_MEMBERS, check_margin, check_term
from jaxface.losses.own_part import WrongPart
from jaxface.training.choices import MARGINS, TERMS
from jaxface.training.config import Experiment


@dataclass(frozen=True)
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
  with pytest.raises(WrongPart, match=r"terms\.0: .*Mine lacks members of a term\. Add:") as caught:
    check_term(without(Own, name), "terms.0")
  assert str(caught.value).endswith(f"\n  {TERM_MEMBERS[name]}")


@pytest.mark.parametrize("name", MARGIN_MEMBERS)
def test_a_margin_is_told_the_line_to_add(name):
  with pytest.raises(WrongPart, match=r"Mine lacks members of a margin\. Add:") as caught:
    check_margin(without(OwnMargin, name))
  assert str(caught.value).endswith(f"\n  {MARGIN_MEMBERS[name]}")


def term_with(**members):
  return type("Mine", (Own,), members)()


@pytest.mark.parametrize(
  "part, message",
  [
    (Own, "is a class: give an instance, Own()"),
    (lambda embedding_bd: 0, r"<lambda> is a function: write a class with weight, init, __call__, under the line\n  @dataclass"),
    (type("Mine", (), dict(weight=1.0, init=Own.init, __call__=Own.__call__))(), r"Mine is not a frozen dataclass\. Put above `class Mine`:\n  @dataclass\(frozen=True\)"),
    (dataclass(type("Mine", (), dict(weight=1.0, init=Own.init, __call__=Own.__call__)))(), "Mine is not a frozen dataclass"),
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
      r"fails on a batch of 48 rows: line \d+: KeyError: 'labels'",
    ),
    (
      term_with(init=lambda self, key, size, classes: ({"kernel": jnp.zeros((size, classes))}, {})),
      r"parameter 'kernel' has shape \(512, 100\) for 100 classes and embeddings of 512: a matrix with a row for each class",
    ),
    (
      term_with(init=lambda self, key, size, classes: ({"proxy_cd": jnp.zeros((classes, size))}, {})),
      r"parameter 'proxy_cd' .*a matrix with a row for each class, and no other, has a name that begins with 'center'",
    ),
    (
      term_with(init=lambda self, key, size, classes: ({"center_dd": jnp.zeros((size, size))}, {})),
      r"parameter 'center_dd' has shape \(512, 512\)",
    ),
    (
      term_with(init=lambda self, key, size, classes: ({}, {"center": {"cov_dd": jnp.zeros((size, size))}})),
      r"state 'center/cov_dd' has shape",
    ),
  ],
)
def test_what_is_wrong_is_said(part, message):
  with pytest.raises(WrongPart, match=message):
    check_term(part)


def test_matrices_with_a_row_per_class_and_others_pass():
  check_term(term_with(init=lambda self, key, size, classes: (
    {"center_cd": jnp.zeros((classes * 3, size)), "bias_c": jnp.zeros(classes), "mix_dd": jnp.zeros((size, size))},
    {"center_n": jnp.zeros(classes), "confusion_cc": jnp.zeros((classes, classes)), "members_0_5": {"center_cd": jnp.zeros((5, classes, 4))}},
  )))
  with pytest.raises(WrongPart) as caught:
    check_term(term_with(init=lambda self, key, size, classes: ({"kernel": jnp.zeros((size, classes))}, {})))
  assert str(caught.value).endswith(f"\n  {CENTERS}")


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
  with pytest.raises(WrongPart, match=r"terms\.1: .*Mine lacks members of a term"):
    Experiment(terms=(right, without(Own, "weight")))
  with pytest.raises(WrongPart, match=r"terms\.0\.margin: .*Mine lacks members of a margin"):
    Experiment(terms=(Classification(margin=without(OwnMargin, "target")),))
  with pytest.raises(WrongPart, match=r"terms\.0\.margin\.margin: .*Mine lacks members of a margin"):
    Experiment(terms=(Classification(margin=losses.Filtered(without(OwnMargin, "target"))),))
  with pytest.raises(WrongPart, match=r"terms\.0\.term: .*Mine lacks members of a term"):
    Experiment(terms=(PerMember(term=without(Own, "init"), members=2),))
