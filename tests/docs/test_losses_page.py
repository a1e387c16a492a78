"""The page of the losses is what the classes say, and knows all of them."""

import importlib.util
import re
from pathlib import Path

import pytest

from jaxface.training.choices import CHOICES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
  spec = importlib.util.spec_from_file_location("make_loss_tables", DOCS / "make_loss_tables.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_tables_are_current(script):
  text = script.PAGE.read_text(encoding="utf-8")
  assert script.page(text) == text, "docs/losses.md is not what the classes say: python docs/make_loss_tables.py"


def test_the_written_part_speaks_of_every_choice(script):
  written = script.PAGE.read_text(encoding="utf-8").split(script.BEGIN)[0]
  for kinds in CHOICES.values():
    for name, kind in kinds.items():
      assert name in written or kind.__name__ in written, f"docs/losses.md has no word on {name}"


def test_every_picture_is_there():
  pictures = re.findall(r"!\[.*?\]\((.*?)\)", (DOCS / "losses.md").read_text(encoding="utf-8"))
  assert len(pictures) == 2 and all((DOCS / picture).is_file() for picture in pictures)
