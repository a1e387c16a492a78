"""A network of two matrix products, and the plan of its step."""

import jax
import pytest

from jaxface.models.own import load_networks
from jaxface.planning.worker import facts_of
from jaxface.training.config import load_experiment

NETWORK = '''
"""Two matrix products."""
from typing import ClassVar

import flax.linen as nn

from jaxface.models.preprocess import Preprocess, get_preprocess
from jaxface.models.registry import register


class Two(nn.Module):
  embedding_size: int = 8
  convention: ClassVar[Preprocess] = get_preprocess("unit", size=4)

  @nn.compact
  def __call__(self, image_bhwc, train=False):
    x = nn.relu(nn.Dense(16, use_bias=False)(image_bhwc.reshape(len(image_bhwc), -1)))
    return nn.Dense(self.embedding_size, use_bias=False)(x)


@register
def two_products(embedding_size: int = 8) -> nn.Module:
  """Two matrix products."""
  return Two(embedding_size)
'''
EXPERIMENT = '''
"""A tiny run."""
from jaxface.data import AugmentConfig, DataConfig, SyntheticConfig
from jaxface.heads import Classification
from jaxface.losses import CosFace
from jaxface.models import ModelConfig
from jaxface.training import Experiment, OptimizerConfig

EXPERIMENT = Experiment(
  name="tiny", batch_size=16, data=DataConfig(synthetic=SyntheticConfig(identities=600, images_per_identity=5, size=16), holdout=0.2),
  augment=AugmentConfig(mirror=0.0, shift=0, jitter=0.0), model=ModelConfig("two_products", size=4, embedding_size=8),
  terms=(Classification(CosFace()),), optimizer=OptimizerConfig(weight_decay=0.0),
)
'''


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> tuple[str, str]:
  """Files of an experiment and of its network."""
  folder = tmp_path_factory.mktemp("tiny")
  (folder / "tiny.py").write_text(EXPERIMENT)
  (folder / "net.py").write_text(NETWORK)
  load_networks(folder / "net.py")
  return str(folder / "tiny.py"), str(folder / "net.py")


@pytest.fixture(scope="session")
def experiment(tiny):
  return load_experiment(tiny[0])[0]


@pytest.fixture(scope="session")
def compiled(experiment):
  """What the compiler says of the step on 2 and on 8 forced devices of this process."""
  return {count: facts_of(experiment, 480, jax.devices("cpu")[:count]) for count in (2, 8)}
