"""StableHLO files: run by JAX without jaxface, for any batch, with metadata that belong to them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

from jaxface.interop import stablehlo
from jaxface.interop.export_file import export_model
from jaxface.interop.stablehlo import export_stablehlo, image_size
from jaxface.interop.traced import ParityError
from jaxface.models.preprocess import get_preprocess

ALONE = """
import sys
class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ('jaxface', 'flax', 'optax', 'orbax'):
      raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
from jax import export
net = export.deserialize(bytearray(open(sys.argv[1], 'rb').read()))
np.save(sys.argv[3], net.call(np.load(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def saved(random_model):
  return random_model(
    "mobilefacenet", preprocess="imagenet", size=32, units=(1, 0, 1, 0, 0), width=0.125, embedding_size=8, activation="prelu"
  )


def test_a_process_without_jaxface_gets_the_models_embeddings(saved, tmp_path):
  out = tmp_path / "net.stablehlo"
  assert export_stablehlo(saved, out, normalize=True, mirror="sum") < 1e-5
  image_bhwc = np.random.default_rng(3).integers(0, 256, (5, *image_size(saved.preprocess), 3)).astype(np.uint8)
  np.save(tmp_path / "images.npy", image_bhwc)
  names = [str(tmp_path / name) for name in ("net.stablehlo", "images.npy", "embeddings.npy")]
  subprocess.run([sys.executable, "-c", ALONE, *names], check=True, timeout=300)
  both = jax.jit(saved.embed)
  expected_bd = np.asarray(both(saved.variables, image_bhwc)) + np.asarray(both(saved.variables, image_bhwc[:, :, ::-1]))
  expected_bd /= np.linalg.norm(expected_bd, axis=-1, keepdims=True)
  np.testing.assert_allclose(np.load(names[2]), expected_bd, atol=2e-5)


def test_the_metadata_name_the_file_and_the_export(saved, tmp_path):
  assert export_model_of(saved, tmp_path / "net.stablehlo") == tmp_path / "net.stablehlo"
  said = json.loads((tmp_path / "net.stablehlo.json").read_text())
  content = (tmp_path / "net.stablehlo").read_bytes()
  assert said["jaxface.sha256"] == hashlib.sha256(content).hexdigest()
  assert said["jaxface.model"] == "mobilefacenet" and json.loads(said["jaxface.normalized"]) is False
  assert json.loads(said["jaxface.platforms"]) == ["cpu", "cuda", "tpu"]
  exported = export.deserialize(bytearray(content))
  assert exported.platforms == ("cpu", "cuda", "tpu")
  calls = {line.split("@")[1].split("(")[0] for line in exported.mlir_module().splitlines() if "custom_call @" in line}
  assert calls <= {"shape_assertion"}  # nothing of this machine's libraries
  assert ".py" not in exported.mlir_module()  # nor of its paths
  assert str(exported.in_avals[0].shape[1:]) == "(112, 112, 3)"  # the template's size: the network takes the middle


def export_model_of(saved, out: Path) -> Path:
  from jaxface.inference.model import Model

  return export_model(Model(saved), out)


def test_images_of_a_convention_that_resizes_have_the_networks_size(random_model, tmp_path):
  saved = random_model("vggface_a", size=32, preprocess="vggface", width=0.125, embedding_size=8)
  assert image_size(saved.preprocess) == (32, 32)
  assert export_stablehlo(saved, tmp_path / "net.stablehlo", platforms=("cpu",)) < 1e-5


def test_a_graph_that_differs_is_not_written(saved, tmp_path, monkeypatch):
  monkeypatch.setattr(stablehlo, "traced_network", lambda saved, *_: lambda image: saved.embed(saved.variables, 255 - image))
  with pytest.raises(ParityError, match=r"net\.stablehlo: not written"):
    export_stablehlo(saved, tmp_path / "net.stablehlo", platforms=("cpu",))
  assert not list(tmp_path.iterdir())


def test_a_platform_without_support_is_refused(saved, tmp_path):
  with pytest.raises(ValueError, match="platform = 'metal' is unknown"):
    export_stablehlo(saved, tmp_path / "net.stablehlo", platforms=("metal",))


def test_the_image_is_the_templates_if_the_network_crops_it():
  assert image_size(get_preprocess("unit", size=96)) == (112, 112)
  assert image_size(get_preprocess("unit", size=128)) == (128, 128)
