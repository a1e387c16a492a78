"""The library stands on its own: one import, nothing else of jaxface loaded, and a margin is one call from a loss."""

import inspect
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxface import heads, losses
from jaxface.training.choices import CHOICES


def test_importing_the_losses_loads_no_other_room_and_no_framework():
  code = "import sys; from jaxface import losses; print(sorted({m.split('.')[1] for m in sys.modules if m.startswith('jaxface.')}))"
  code += "; print([m for m in ('flax', 'optax', 'orbax', 'tensorflow', 'torch') if m in sys.modules])"
  out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
  assert out == ["['losses']", "[]"]


def test_everything_an_experiment_can_name_is_public():
  kinds = {kind.__name__ for group in CHOICES.values() for kind in group.values()}
  # What stands on losses stands a floor higher.
  assert kinds - set(losses.__all__) == {"Classification", "PerMember"} <= set(heads.__all__)


@pytest.mark.parametrize("name", losses.__all__)
def test_a_public_name_is_documented(name):
  assert len(inspect.getdoc(getattr(losses, name)) or "") > 20


def test_a_margin_is_one_call_from_its_loss():
  rng = np.random.default_rng(0)
  x_bd, center_cd, y_b = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), np.array([0, 4, 2, 2], np.int32)
  loss_b = jax.jit(lambda *a: heads.margin_softmax(*a, margin=losses.CosFace(m=0.2, scale=8.0)))(x_bd, y_b, center_cd)
  cosine_bc = (x_bd / np.linalg.norm(x_bd, axis=1)[:, None]) @ (center_cd / np.linalg.norm(center_cd, axis=1)[:, None]).T
  logit_bc = 8.0 * (cosine_bc - 0.2 * (y_b[:, None] == np.arange(5)))
  expected_b = np.log(np.exp(logit_bc).sum(1)) - logit_bc[np.arange(4), y_b]
  np.testing.assert_allclose(loss_b, expected_b, rtol=1e-5)
  plain_b = heads.margin_softmax(x_bd, y_b, center_cd, margin=losses.Softmax(), bias_c=np.arange(5.0))
  logit_bc = x_bd @ center_cd.T + np.arange(5)
  np.testing.assert_allclose(plain_b, np.log(np.exp(logit_bc).sum(1)) - logit_bc[np.arange(4), y_b], rtol=1e-5)
  with pytest.raises(TypeError):
    heads.margin_softmax(x_bd, y_b.astype(float), center_cd, margin=losses.Softmax())
