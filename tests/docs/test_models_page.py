"""The page of the networks is what was measured, and says of each that it trains."""

import importlib.util
import sys
from pathlib import Path

import pytest

from jaxface.models.registry import list_models

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script(request):
  sys.path.insert(0, str(DOCS))
  request.addfinalizer(lambda: sys.path.remove(str(DOCS)))
  spec = importlib.util.spec_from_file_location("make_models_page", DOCS / "make_models_page.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_page_is_current(script):
  results = script.read_all()
  text = script.PAGE.read_text(encoding="utf-8")
  assert script.page(results) == text, "docs/models.md is not of docs/models.json: python docs/make_models_page.py"


def test_every_network_is_there_and_every_run_went_well(script):
  results = script.read_all()
  assert sorted(results) == list_models()
  for name, result in results.items():
    assert "figures" in result, name
    assert "sweep" not in result or script.verdict(result["sweep"]) == "ok", name


def test_a_bad_run_is_called_so(script):
  good = {"unmoved": [], "loss": [2.0, 1.0], "auc": [0.6, 0.7], "bad_steps": 0}
  assert script.verdict(good) == "ok"
  assert "loss" in script.verdict({**good, "loss": [1.0, 1.0]})
  assert "AUC" in script.verdict({**good, "auc": [0.6, 0.6]})
  assert "3 steps" in script.verdict({**good, "bad_steps": 3})
  assert "stem/kernel" in script.verdict({**good, "unmoved": ["embedding_norm/scale", "stem/kernel"]})
