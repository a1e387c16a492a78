"""The published MobileFaceNet on real faces: imported, and exported again."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
import onnxruntime
import pytest

from jaxface.commands.main import main
from jaxface.formats.images import decode_image
from jaxface.interop.compare import compare, report
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.onnx_import import import_onnx
from jaxface.interop.state_dict import import_state_dict
from jaxface.models.saved import count_parameters, load_model, save_model

FACES = 64


def _faces(root: Path) -> np.ndarray:
  return np.stack([decode_image(file.read_bytes(), where=str(file)) for file in _files(root)])


def _files(root: Path) -> list[Path]:
  files = sorted((root / "lfw_aligned112").glob("*/*.jpg"))
  return files[:: len(files) // FACES][:FACES]


def _unit(embedding_bd: np.ndarray) -> np.ndarray:
  wide = embedding_bd.astype(np.float64)
  return wide / np.linalg.norm(wide, axis=-1, keepdims=True)


def _original(pretrained_onnx: Path, image_bhwc: np.ndarray) -> np.ndarray:
  """Embeddings of the published graph, by ONNX Runtime, with the preprocessing that its authors give."""
  x_bhwc = (image_bhwc / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  x_bchw = x_bhwc.transpose(0, 3, 1, 2).astype(np.float32)
  session = onnxruntime.InferenceSession(str(pretrained_onnx), providers=["CPUExecutionProvider"])
  return _unit(np.concatenate([session.run(None, {"input0": x[None]})[0] for x in x_bchw]))


@pytest.mark.real_data
def test_import_and_re_export_agree_with_the_original(face_data, pretrained_onnx, tmp_path):
  image_bhwc = _faces(face_data)
  expected_bd = _original(pretrained_onnx, image_bhwc)

  saved = import_onnx(pretrained_onnx, "mobilefacenet", "imagenet")
  assert saved.options == {"activation": "relu6", "variant": "separable", "embedding_size": 128}
  assert count_parameters(saved.variables["params"]) == 999_936
  save_model(tmp_path / "net", saved)
  saved = load_model(tmp_path / "net")
  embedding_bd = _unit(np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc)))
  assert (embedding_bd * expected_bd).sum(-1).min() >= 0.99999

  done = export_onnx(saved, tmp_path / "again.onnx")
  again = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
  again_bd = _unit(again.run(None, {"image": image_bhwc})[0])
  assert np.abs(again_bd - expected_bd).max() <= 1e-4


@pytest.mark.real_data
def test_imported_weights_are_calibrated_on_faces_and_then_train_as_they_infer(face_data, pretrained_onnx, tmp_path, capsys):
  faces = tmp_path / "faces"
  chosen = _files(face_data)
  for file in chosen:
    (faces / file.parent.name).mkdir(parents=True, exist_ok=True)
    (faces / file.parent.name / file.name).symlink_to(file)
  arguments = ["import", str(pretrained_onnx), "--model", "mobilefacenet", "--preprocess", "imagenet"]
  assert main([*arguments, "--out", str(tmp_path / "plain")]) == 0
  assert "51 are folded into convolutions and have no statistics" in capsys.readouterr().out
  assert main([*arguments, "--calibrate", str(faces), "--out", str(tmp_path / "net")]) == 0
  assert f"51 calibrated on {len(chosen)} images" in capsys.readouterr().out
  plain, saved = load_model(tmp_path / "plain"), load_model(tmp_path / "net")
  assert plain.meta["norms"] == {"folded": 51} and saved.meta["norms"] == {"calibrated_on_images": len(chosen)}

  image_bhwc = _faces(face_data)
  expected_bd = _unit(np.asarray(jax.jit(plain.embed)(plain.variables, image_bhwc)))
  assert np.abs(_unit(np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc))) - expected_bd).max() <= 1e-4

  @jax.jit
  def in_training(variables, image):
    return saved.module.apply(variables, saved.preprocess.apply(image), train=True, mutable=["batch_stats"])[0]

  # The statistics are those of these very faces: normalising by the batch changes nothing, and much without calibration.
  near, far = ((_unit(np.asarray(in_training(m.variables, image_bhwc))) * expected_bd).sum(-1).mean() for m in (saved, plain))
  assert near > 0.999 and far < 0.8


@pytest.mark.real_data
@pytest.mark.parametrize("named", [True, False])
def test_the_state_dict_embeds_as_its_graph_does(named, face_data, pretrained_onnx, pretrained_torch, monkeypatch, tmp_path):
  """By its authors' names, and by order and shape, where one of its modules is made last and runs in the middle."""
  image_bhwc = _faces(face_data)
  options = {} if named else {"activation": "relu6"}
  if not named:
    monkeypatch.setattr("jaxface.interop.state_dict.find_prefix", lambda *arguments: None)
  saved = import_state_dict(pretrained_torch, "mobilefacenet", "imagenet", options)
  assert saved.meta["pairing"]["by"] == ("names" if named else "order and shape")
  embedding_bd = _unit(np.asarray(jax.jit(saved.embed)(saved.variables, image_bhwc)))
  assert np.abs(embedding_bd - _original(pretrained_onnx, image_bhwc)).max() <= 1e-4


@pytest.mark.real_data
def test_the_convention_of_the_published_weights_is_found_on_real_people(face_data, pretrained_torch):
  saved = import_state_dict(pretrained_torch, "mobilefacenet", options={"activation": "relu6"})
  with TemporaryDirectory() as folder:
    people = [person for person in sorted((face_data / "lfw_aligned112").iterdir()) if len(list(person.iterdir())) >= 4][:40]
    for person in people:
      shutil.copytree(person, Path(folder) / person.name)
    candidates = compare([("", saved)], folder)
  said: list[str] = []
  assert report(candidates, said.append), said
  assert candidates[0].name == "imagenet" and candidates[0].auc >= 0.999
