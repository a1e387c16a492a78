"""What tests of layers share."""

import pytest

from jaxface.layers.formulation import formulation


@pytest.fixture
def in_native_code():
  """What the test traces goes to native code where that knows it."""
  with formulation("onednn"):
    yield
