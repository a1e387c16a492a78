"""What tests of networks of a user share."""

import contextlib

import pytest

from jaxface.models import registry


@contextlib.contextmanager
def _kept():
  registry.network_modules()
  before = dict(registry._BUILDERS)
  yield
  registry._BUILDERS.clear()
  registry._BUILDERS.update(before)


@pytest.fixture(scope="session")
def kept_registry():
  """A context after which the registry is as it was before."""
  return _kept


@pytest.fixture
def clean():
  """The registry as it was."""
  with _kept():
    yield
