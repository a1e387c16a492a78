"""Calibration on a folder says what it passes over and what it does not know."""

from dataclasses import replace

import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxface.commands.main import main
from jaxface.data.folder import FolderSource
from jaxface.inference.calibrate import calibrate_on
from jaxface.interop.state_dict import export_state_dict
from jaxface.models.saved import load_model


@pytest.fixture(scope="module")
def folded(random_model):
  saved = random_model("smallresnet", size=16, patch=2, widths=(8,), units=(1,), embedding_size=4)
  flat = flatten_dict(saved.variables)
  for path in [path for path in flat if path[-1] == "var"]:
    flat[path], flat[(*path[:-1], "mean")] = np.ones_like(flat[path]), np.zeros_like(flat[path])
  return replace(saved, variables=unflatten_dict(flat))


def test_a_folder_is_not_said_to_be_aligned_as_the_model_and_what_is_lost_is_told(folded, make_folder, tmp_path, capsys):
  export_state_dict(folded, tmp_path / "net.safetensors")
  faces = make_folder()
  (faces / "person00" / "0000.jpg").write_bytes(b"no image")
  (faces / "person00" / "film.mp4").write_bytes(b"")
  command = ["import", str(tmp_path / "net.safetensors"), "--calibrate", str(faces), "--out", str(tmp_path / "model")]
  assert main(command) == 0
  lines = capsys.readouterr().out.splitlines()
  notes = "\n".join(line for line in lines if line.startswith("note: "))
  assert "takes faces aligned to template 'arcface112'; the alignment of these images is unknown" in notes
  assert "film.mp4" in notes and "1 of 10 images cannot be used and are skipped" in notes
  assert load_model(tmp_path / "model").meta["norms"] == {"calibrated_on_images": 9}


def test_a_folder_of_nothing_usable_is_refused_by_its_first_image(folded, make_folder):
  source = FolderSource(make_folder(height=8, width=8), size=(16, 16))
  with pytest.raises(ValueError, match=r"none of the 10 images .* the first: .*0000.jpg: image is 8x8 pixels"):
    calibrate_on(folded, source)
