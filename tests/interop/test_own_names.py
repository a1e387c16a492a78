"""Every registered network leaves as safetensors and comes back bit for bit, under PyTorch's names or our own."""

import flax.traverse_util
import numpy as np
import pytest

from jaxface.interop.own_names import LAYOUT
from jaxface.interop.safetensors_file import read_metadata, read_safetensors, write_safetensors
from jaxface.interop.state_dict import export_state_dict, import_state_dict
from jaxface.interop.weights import WrongWeights
from jaxface.models.registry import create, list_models, model_options
from jaxface.models.saved import SavedModel, variable_shapes

# Options that make a network small enough for a test; others take an eighth of their channels.
SMALL = {
  "smallresnet": {"widths": (8, 16), "units": (1, 1)},
  "projected": {"backbone_options": {"widths": (8, 16), "units": (1, 0), "embedding_size": 12}},
  "deepid_ensemble": {"regions": ("face", "left_eye"), "scales": (1.0,), "colours": ("rgb",)},
  "deepid2_ensemble": {"patches": ("row0_column1_100_rgb",)},
  "vit": {"depth": 2, "heads": 2},
  "iresnet": {"units": (1, 1, 0, 0)},
}
PYTORCH = ("iresnet", "mobilefacenet")


def small(name):
  options = {**SMALL.get(name, {}), "embedding_size": 8, **({"width": 0.125} if "width" in model_options(name) else {})}
  convention = create(name, **options).convention
  draw = np.random.default_rng(0)
  leaves = {
    place: draw.normal(size=leaf.shape).astype(leaf.dtype)
    for place, leaf in flax.traverse_util.flatten_dict(variable_shapes(name, options, convention)).items()
  }
  lineage = [{"kind": "images", "name": "faces", "licence": "CC0-1.0", "origin": "the moon"}]
  return SavedModel(name, options, convention, flax.traverse_util.unflatten_dict(leaves), {"lineage": lineage})


# Larger ones of the same kinds, which take most of the time.
LARGE = ("iresnet50", "iresnet100", "iresnet200", "mobilefacenet512_large", "sphereface64", "vit_l")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.sweep) if name in LARGE else name for name in list_models()])
def test_every_network_comes_back_bit_for_bit(name, tmp_path):
  saved = small(name)
  export_state_dict(saved, tmp_path / "net.safetensors")
  again = import_state_dict(tmp_path / "net.safetensors")
  assert again.name == name and again.preprocess == saved.preprocess
  before, after = (flax.traverse_util.flatten_dict(model.variables) for model in (saved, again))
  assert before.keys() == after.keys()
  for place, array in before.items():
    assert after[place].dtype == array.dtype and after[place].tobytes() == array.tobytes(), place
  assert again.meta["lineage"] == saved.meta["lineage"]
  said = read_metadata(tmp_path / "net.safetensors")
  assert said[LAYOUT] == ("pytorch" if name.startswith(PYTORCH) else "jaxface")
  assert said["jaxface.licence"] == "CC0-1.0" and said["jaxface.origin"] == "the moon"


def test_our_names_are_the_paths_of_the_variables(tmp_path):
  saved = small("smallresnet")
  export_state_dict(saved, tmp_path / "net.safetensors")
  arrays = read_safetensors(tmp_path / "net.safetensors")
  kernel = saved.variables["params"]["stem"]["conv"]["kernel"]
  np.testing.assert_array_equal(arrays["params.stem.conv.kernel"], kernel)
  assert "batch_stats.embedding_norm.mean" in arrays


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda state: state.pop("params.head_dense.kernel"), r"'params.head_dense.kernel' is missing"),
    (lambda state: state.update(more=np.zeros(2, np.float32)), r"'more' \(of 1 more\)"),
    (lambda state: state.update({"params.head_dense.kernel": np.zeros(3, np.float32)}), r"float32 \(3,\), expected float32"),
    (lambda state: state.update({"params.head_dense.kernel": state["params.head_dense.kernel"].astype(np.float16)}), "float16"),
  ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
  path = tmp_path / "net.safetensors"
  export_state_dict(small("smallresnet"), path)
  state, said = dict(read_safetensors(path)), read_metadata(path)
  change(state)
  with path.open("wb") as file:
    write_safetensors(file, state, said)
  with pytest.raises(WrongWeights, match=message):
    import_state_dict(path)
