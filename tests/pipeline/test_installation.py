"""What is here, by name."""

import jax

from jaxface.layers.explain import convolution
from jaxface.pipeline import describe_experiments, describe_installation
from jaxface.training import list_experiments


def test_every_experiment_says_what_it_is():
  found = describe_experiments()
  assert list(found) == list_experiments() and all(len(text) > 20 for text in found.values())


def test_versions_devices_and_what_is_not_set(monkeypatch):
  monkeypatch.delenv("JAXFACE_DATA", raising=False)
  found = describe_installation()
  assert found["jax"] == jax.__version__ and found["convolution"] == convolution()
  assert str(jax.devices()[0]) in found["devices"] and "not set" in found["JAXFACE_DATA"]
