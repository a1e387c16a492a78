"""Class centres: how they start, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.heads.centers import init_centers
from jaxface.losses.joint import Geometry
from jaxface.losses.margins import ArcFace


def test_centers_start_as_documented():
  params = init_centers(jax.random.key(0), 2_000, 64, Geometry(unit_x=False, unit_w=False, bias=True, subcenters=2))
  assert params["center_cd"].shape == (4_000, 64) and params["center_cd"].dtype == jnp.float32
  np.testing.assert_allclose(params["center_cd"].std(), 0.01, rtol=0.02)
  np.testing.assert_array_equal(params["bias_c"], np.zeros(2_000))
  with pytest.raises(ValueError, match="num_classes = 0"):
    init_centers(jax.random.key(0), 0, 64, ArcFace().geometry)
