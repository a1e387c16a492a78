"""The digits in a plane: the script's own functions on a short training."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: the picture of the digits is not tested")


@pytest.fixture(scope="module")
def script():
  path = Path(__file__).parents[2] / "docs" / "make_digits_picture.py"
  spec = importlib.util.spec_from_file_location("make_digits_picture", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_a_short_training_tells_most_digits_apart_and_draws_them(script):
  data = script.digits()
  assert len(data.train_n) + len(data.test_n) == 1797
  terms = script.OBJECTIVES["softmax + center loss"]
  params = script.train(terms, data, steps=400)
  embedding_nd = script.embed(params, data.test_nk)
  assert (script.classify(terms, params, embedding_nd) == data.test_n).mean() > 0.6
  image = script.panel("title", embedding_nd, data.test_n)
  assert image.size == (script.SIZE, script.SIZE + script.TITLE)
  assert len(set(image.resize((60, 60)).getdata())) > 20
