"""Every public package has an API page, and docstrings reach it as they are meant."""

import importlib.util
import inspect
from pathlib import Path

import pytest

import jaxface

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def convert():
  spec = importlib.util.spec_from_file_location("markdown_docstrings", DOCS / "ext" / "markdown_docstrings.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return lambda text: "\n".join(module.convert(text.split("\n")))


def test_every_public_package_and_function_has_a_page():
  listed = (DOCS / "api" / "index.md").read_text(encoding="utf-8").split("```{toctree}")[1].split()
  for name in jaxface.__all__:
    if inspect.ismodule(getattr(jaxface, name)):
      assert name in listed, f"docs/api/index.md does not list {name}"
      assert f".. automodule:: jaxface.{name}\n" in (DOCS / "api" / f"{name}.md").read_text(encoding="utf-8")
    else:
      assert f"jaxface.{name}\n" in (DOCS / "api" / "jaxface.md").read_text(encoding="utf-8"), f"no page for jaxface.{name}"


@pytest.mark.parametrize(
  ("written", "read"),
  [
    ("½‖x − c_y‖², |x| and 2*B", "½‖x − c_y‖², \\|x\\| and 2\\*B"),
    ("`Term`s of `jaxface.losses`", ":py:obj:`Term`\\ s of :py:obj:`jaxface.losses`"),
    ("`a * b` and ``c | d``", "``a * b`` and ``c | d``"),
    ("mean_ of x", "mean\\_ of x"),
    ("Example of use:\n  f(*x, `y`)\nThen more.", "Example of use:\n\n::\n\n  f(*x, `y`)\n\nThen more."),
    ("easy: one\n  and more.\nhard: two.\nText.", "- easy: one\n  and more.\n- hard: two.\n\nText."),
    ("Args:\n  x_bd: [B, D] float,\n    of any length.", "Args:\n  x_bd: [B, D] float,\n    of any length."),
    ("```\na * b\n```\nText.", "\n::\n\n  a * b\n\nText."),
  ],
)
def test_plain_text_becomes_what_sphinx_reads_as_such(convert, written, read):
  assert convert(written) == read
