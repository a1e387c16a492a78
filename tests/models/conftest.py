"""Small networks with numbers that did not cost a compilation."""

import jax
import numpy as np
import pytest

from jaxface.models.preprocess import get_preprocess
from jaxface.models.saved import SavedModel, variable_shapes


@pytest.fixture(scope="session")
def random_model():
  """Function (name, size, preprocess, **options) to a SavedModel whose numbers keep the signal's size."""

  def make(name: str, *, size: int = 16, preprocess: str = "unit", **options) -> SavedModel:
    rng = np.random.default_rng(0)

    def leaf(path, shape):
      key = path[-1].key
      if key == "kernel":
        return rng.normal(0, np.sqrt(2 / np.prod(shape.shape[:-1])), shape.shape).astype(np.float32)
      centre = {"scale": 1.0, "var": 1.0, "alpha": 0.25}.get(key, 0.0)
      return (centre + rng.uniform(-0.2, 0.2, shape.shape)).astype(np.float32)

    convention = get_preprocess(preprocess, size=size)
    shapes = variable_shapes(name, options, convention)
    variables = jax.tree_util.tree_map_with_path(leaf, shapes)
    return SavedModel(name, options, convention, variables, {"source": "a test"})

  return make
