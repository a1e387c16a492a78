"""The page of errors quotes messages that the code has."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"


def texts():
  """Every string of the sources, with … for what is filled in."""
  for folder in ("jaxface", "tfrecords_tools"):
    for path in (ROOT / folder).rglob("*.py"):
      for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
          yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
          yield node.value


def quoted():
  """Messages in the first column."""
  for line in PAGE.read_text(encoding="utf-8").splitlines():
    if line.startswith("| ") and not line.startswith("| message"):
      yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


MESSAGES = [message for message in quoted() if message != "collapsed"]


def matches(message, text):
  at = 0
  for part in filter(None, (part.strip() for part in message.split("…"))):
    at = text.find(part, at)
    if at < 0:
      return False
    at += len(part)
  return True


@pytest.fixture(scope="module")
def sources():
  return "\0".join(texts()).split("\0")


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_in_the_code(message, sources):
  assert any(matches(message, text) for text in sources), f"docs/errors.md quotes {message!r}, which no message says"


def test_a_message_that_nothing_says_is_found_out(sources):
  assert len(MESSAGES) > 50
  assert not any(matches("holds a run with … greener values", text) for text in sources)
