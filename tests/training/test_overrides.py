"""Any field of a nested frozen config can be set from text, and a wrong name says what is right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from jaxface.evaluation.config import VerificationConfig
from jaxface.losses.margins import CosFace
from jaxface.training.config import Experiment
from jaxface.training.overrides import UnknownField, field_values, override


@dataclass(frozen=True)
class Small:
  m: float = 0.5
  guard: str = "hard"

  def __post_init__(self):
    if self.m < 0:
      raise ValueError(f"m is {self.m}: needs m >= 0")


@dataclass(frozen=True)
class Other:
  scale: float = 30.0


@dataclass(frozen=True)
class Term:
  margin: Any = Small()
  weight: float = 1.0


@dataclass(frozen=True)
class Config:
  steps: int = 10
  flag: bool = False
  size: tuple[int, ...] = (1, 2)
  maybe: float | None = None
  terms: tuple[Term, ...] = (Term(), Term(margin=Other()))
  options: Mapping[str, Any] = field(default_factory=dict)


CHOICES = {"margin": {"small": Small, "other": Other}}


@pytest.mark.parametrize(
  ("name", "text", "expected"),
  [
    ("steps", "7", 7),
    ("flag", "yes", True),
    ("flag", "off", False),
    ("size", "(3, 4)", (3, 4)),
    ("size", "5", (5,)),
    ("maybe", "0.5", 0.5),
    ("maybe", "none", None),
    ("terms.0.margin.m", "0.25", 0.25),
    ("terms.1.margin.scale", "64", 64.0),
    ("options.width", "32", 32),
    ("options.act", "relu", "relu"),
    ("options.regions", "face,nose", ("face", "nose")),
    ("options.regions", "['face']", ["face"]),
  ],
)
def test_every_kind_of_field_is_set(name, text, expected):
  assert field_values(override(Config(), name, text, CHOICES))[name] == expected


def test_one_name_replaces_a_list_of_options():
  config = Config(options={"regions": ("face", "nose"), "act": "relu"})
  assert override(config, "options.regions", "nose").options == {"regions": ("nose",), "act": "relu"}


def test_only_the_named_field_changes():
  before, after = field_values(Config()), field_values(override(Config(), "terms.1.weight", "2"))
  assert {name for name in before if before[name] != after[name]} == {"terms.1.weight"}


def test_options_may_come_in_any_order():
  changed = Experiment().with_overrides({"terms.0.margin.m": "0.3", "terms.0.margin": "cosface"})
  assert changed.terms[0].margin == CosFace(m=0.3)
  scored = Experiment(evaluation=(VerificationConfig(),))
  changed = scored.with_overrides({"use": "best", "evaluation.0.every": "5"})
  assert changed.use == "best" and changed.evaluation[0].every == 5
  with pytest.raises(UnknownField, match=r"evaluation\.0\.every is 0"):
    scored.with_overrides({"use": "best", "steps": "9"})


def test_a_kind_is_chosen_by_name():
  assert override(Config(), "terms.0.margin", "other", CHOICES).terms[0].margin == Other()


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("stps", "7", "Did you mean 'steps'.*Fields: steps, flag"),
    ("steps", "many", "type int, such as 10"),
    ("flag", "perhaps", "type bool"),
    ("terms.5.weight", "1", "2 entries"),
    ("terms.0.margin", "arcfase", "one of small, other"),
    ("terms.0.margin.m", "-1", "needs m >= 0"),
    ("steps.more", "1", "there are no fields below 'steps'"),
  ],
)
def test_a_wrong_name_or_value_says_what_would_be_right(name, text, message):
  with pytest.raises(UnknownField, match=message):
    override(Config(), name, text, CHOICES)
