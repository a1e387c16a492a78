"""Every option of every experiment says what it means."""

import dataclasses
from dataclasses import dataclass

import pytest

from jaxface.training.choices import CHOICES
from jaxface.training.config import list_experiments, load_any_experiment
from jaxface.training.field_help import documented, groups
from jaxface.training.overrides import field_values


@dataclass(frozen=True)
class Inner:
  """Inner things.

  Attributes:
    deep: how deep.
  """

  deep: int = 1


@dataclass(frozen=True)
class Outer:
  """Outer things, in a line.

  More about them.

  Attributes:
    one: the first
      of them.
    rows: several.

  Source: nobody.
  """

  one: int = 1
  rows: tuple = (Inner(), Inner(2))
  inner: Inner = Inner(3)
  silent: int = 0


def test_docstrings_are_read_into_groups():
  outer, first, second, inner = groups(Outer())
  assert (outer.name, outer.kind, outer.title) == ("", "Outer", "Outer things, in a line")
  assert outer.fields == [("one", 1, "the first of them."), ("silent", 0, "")]
  assert [group.name for group in (first, second, inner)] == ["rows.0", "rows.1", "inner"]
  assert second.fields == [("rows.1.deep", 2, "how deep.")]


@pytest.mark.parametrize("name", list_experiments())
def test_every_option_is_there_and_explained(name):
  experiment, _ = load_any_experiment(name)
  fields = [field for group in groups(experiment) for field in group.fields]
  assert {field.name: field.value for field in fields} == field_values(experiment)
  assert [field.name for field in fields if not field.text] == []


def test_every_kind_that_can_be_chosen_explains_its_fields():
  kinds = {kind for choice in CHOICES.values() for kind in choice.values()}
  silent = [
    f"{kind.__name__}.{field.name}" for kind in kinds for field in dataclasses.fields(kind)
    if field.name not in documented(kind)
  ]
  assert sorted(silent) == []
