"""The notebooks: all are executed by `make docs`; here the quickest one, and of the others that the names they use exist."""

import ast
import importlib
import re
import tempfile
from pathlib import Path

import pytest

import jaxface

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.stem != "index")
QUICKEST = "judge_embeddings"


def cells(path):
  """Code of a notebook, without the lines that go to a shell and without tags."""
  blocks = re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
  return "\n".join(re.sub(r"^(?:!|:tags:).*\n", "", block, flags=re.MULTILINE) for block in blocks)


def unknown_names(code):
  """Names that the code takes from jaxface and that are not there."""
  tree = ast.parse(code)
  packages, unknown = {"jaxface": jaxface}, []
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxface":
      module = importlib.import_module(node.module)
      for alias in node.names:
        if not hasattr(module, alias.name):
          unknown.append(f"{node.module}.{alias.name}")
        elif node.module == "jaxface":
          packages[alias.asname or alias.name] = getattr(module, alias.name)
  for node in ast.walk(tree):
    chain = _chain(node)
    if chain and chain[0] in packages:
      value = packages[chain[0]]
      for name in chain[1:]:
        if not hasattr(value, name):
          unknown.append(".".join(chain))
          break
        value = getattr(value, name)
        if not isinstance(value, type(jaxface)):
          break
  return unknown


def _chain(node):
  """`a.b.c` as ["a", "b", "c"]; [] for anything else."""
  names = []
  while isinstance(node, ast.Attribute):
    names.append(node.attr)
    node = node.value
  return [node.id, *reversed(names)] if names and isinstance(node, ast.Name) else []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_what_there_is(path):
  code = cells(path)
  assert "jaxface" in code
  assert unknown_names(code) == []


def test_the_quickest_notebook_runs(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  path = next(path for path in NOTEBOOKS if path.stem == QUICKEST)
  exec(compile(cells(path), str(path), "exec"), {"__name__": "notebook"})
  assert "AUC" in capsys.readouterr().out


def test_six_notebooks_and_a_name_that_is_not_there():
  assert len(NOTEBOOKS) == 6
  assert unknown_names("import jaxface\njaxface.losses.ArcFase()") == ["jaxface.losses.ArcFase"]
  assert unknown_names("from jaxface import data\ndata.nothing") == ["data.nothing"]
  assert unknown_names("from jaxface.models import nothing") == ["jaxface.models.nothing"]
