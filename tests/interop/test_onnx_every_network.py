"""Every kind of network leaves as ONNX (and as StableHLO) and gives the same embeddings there, at any batch size."""

import pytest

from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.stablehlo import export_stablehlo
from jaxface.interop.traced import ParityError
from jaxface.models.registry import create, list_models, model_options

# Side of the image, and options, of the small form; others take their own size and an eighth of their channels.
FORMS = {
  "iresnet": (16, {"units": (1, 1, 0, 0)}),
  "mobilefacenet": (16, {"units": (1, 0, 1, 0, 0)}),
  "smallresnet": (16, {"widths": (8, 16), "units": (1, 1)}),
  "projected": (16, {"backbone_options": {"widths": (8, 16), "units": (1, 0), "embedding_size": 12}}),
  "vggface_a": (32, {}),
  "lightcnn29": (32, {}),
  "sphereface20": (32, {}),
  "facenet_nn1": (48, {}),
  "facenet_nn4": (48, {}),
  "deepid_ensemble": (0, {"regions": ("face", "left_eye"), "scales": (1.0,), "colours": ("rgb",)}),
  "vit": (18, {"depth": 2, "heads": 2}),
}
# One network of each kind: deeper ones repeat its layers. A kind that has no form here is tested by its first name.
KINDS = {type(create(name)): name for name in [*list_models()[::-1], *FORMS]}


@pytest.fixture(params=sorted(KINDS.values()))
def saved(request, random_model):
  name = request.param
  size, options = FORMS.get(name, (0, {}))
  options = {**options, "embedding_size": 8, **({"width": 0.125} if "width" in model_options(name) else {})}
  convention = create(name, **options).convention
  return random_model(name, size=size or convention.size, preprocess=convention.name, **options)


def test_onnx_runtime_gives_the_same_embeddings(saved, tmp_path):
  done = export_onnx(saved, tmp_path / "net.onnx")
  assert {batch for batch, _, _ in done.difference} == {1, 2, 3}
  assert max(done.difference.values()) < 1e-5


@pytest.mark.sweep
def test_stablehlo_gives_the_same_embeddings(saved, tmp_path):
  assert export_stablehlo(saved, tmp_path / "net.stablehlo") < 1e-5


@pytest.mark.sweep
def test_float16_gives_nearly_the_same_embeddings(saved, tmp_path):
  if saved.name.startswith("lightcnn"):  # without norms, activations of random weights leave the range of float16
    with pytest.raises(ParityError, match="not written"):
      export_onnx(saved, tmp_path / "net.onnx", precision="float16")
    return
  assert max(export_onnx(saved, tmp_path / "net.onnx", precision="float16").difference.values()) < 5e-3
