"""What the documentation points at exists: pages, anchors, files, commands, experiments and make targets."""

import re
from pathlib import Path

import pytest

from jaxface.commands.main import COMMANDS
from jaxface.training.config import list_experiments
from tfrecords_tools.__main__ import COMMANDS as TOOLS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Text between a command and the thing it names, in a page that shows how an unknown thing is written.
PLACEHOLDERS = {"NAME", "EXPERIMENT", "COMMAND", "TARGET"}


def prose(text):
  """A page without its code blocks, in which brackets are no links."""
  return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def code(text):
  """The code of a page, a line for each line of a block and for each `inline` piece."""
  blocks = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
  return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose(text))])


def anchors(path):
  """Anchors of a page's headings, as MyST and code hosts make them."""
  found = set()
  for heading in re.findall(r"^#+ +(.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE):
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
  # A page that shows another one has its headings.
  for other in re.findall(r"```\{include\} (\S+)", path.read_text(encoding="utf-8")):
    found |= anchors(path.parent / other)
  return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
  for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
    if target.startswith(("http://", "https://", "mailto:")):
      continue
    name, _, anchor = target.partition("#")
    path = (page.parent / name) if name else page
    assert path.exists(), f"{page}: {target}: no such file"
    if anchor:
      assert anchor in anchors(path), f"{page}: {target}: no such heading, there are {sorted(anchors(path))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_commands_and_targets_exist(page):
  text = page.read_text(encoding="utf-8")
  targets = set(re.findall(r"^([\w-]+)(?: [\w -]+)?:(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
  folders = "jaxface|tests|docs|benchmarks|experiments|tfrecords_tools"
  for path in re.findall(rf"(?<![\w/.])((?:{folders})/[\w/]+\.(?:py|md|json|supp|svg|png|jpg))(?!\w)", text):
    assert (ROOT / path).exists(), f"{page} speaks of {path}, which does not exist"
  lines = code(text)
  for command in re.findall(r"^(?:\S*bin/|!|srun )?jaxface (?:--traceback )?([a-zA-Z]\w*)", lines, re.MULTILINE):
    assert command in COMMANDS or command in PLACEHOLDERS, f"{page}: no command jaxface {command}"
  for tool in re.findall(r"-m tfrecords_tools ([a-z]\w*)", lines):
    assert tool in TOOLS, f"{page}: no command tfrecords_tools {tool}"
  for name in re.findall(r"jaxface train ([\w/.]+)", lines):
    assert name in list_experiments() or name in PLACEHOLDERS or name.endswith(".py"), f"{page}: no experiment {name}"
  for target in re.findall(r"^make ([a-z][\w-]*)", lines, re.MULTILINE):
    assert target in targets, f"{page}: no target make {target}"


def test_the_rules_find_what_is_wrong(tmp_path):
  (tmp_path / "other.md").write_text("# A `code` heading, twice\n")
  assert anchors(tmp_path / "other.md") == {"a-code-heading-twice"}
  page = tmp_path / "page.md"
  for wrong in ("[a](absent.md)", "[a](other.md#absent)", "[a](#absent)"):
    page.write_text(wrong)
    with pytest.raises(AssertionError):
      test_links_lead_somewhere(page)
  page.write_text("jaxface absent, make absent, jaxface train absent")
  test_files_commands_and_targets_exist(page)
  for wrong in ("`jaxface/absent.py`", "`jaxface absent`", "`jaxface train absent`", "`make absent`", "```\njaxface absent\n```",
                "`python -m tfrecords_tools absent`"):
    page.write_text(wrong)
    with pytest.raises(AssertionError):
      test_files_commands_and_targets_exist(page)
