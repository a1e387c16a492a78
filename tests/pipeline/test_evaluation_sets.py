"""The images and lists of an evaluation set: resized as packed ones, and on real faces."""

import jax
import numpy as np
import pytest

from jaxface.data.config import open_records
from jaxface.data.folder import FolderSource
from jaxface.evaluation import evaluate
from jaxface.evaluation.config import VerificationConfig
from jaxface.formats import Embeddings
from jaxface.formats.images import decode_image, encode_jpeg
from jaxface.formats.packing import pack
from jaxface.models.config import ModelConfig
from jaxface.pipeline.evaluation_sets import make_hook
from jaxface.training.workdir import Workdir

MODEL = ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125})


def closed_set(path, people):
  lines = [f"{name} {who} {'gallery' if at < 2 else 'probe'}" for who, names in people.items() for at, name in enumerate(names)]
  path.write_text("\n".join(lines) + "\n")
  return path


def test_images_of_a_folder_are_resized_as_those_that_are_packed(make_folder, tmp_path):
  faces = make_folder([3, 3, 3], height=40, width=30)
  people = {f"person{who:02d}": [f"person{who:02d}/{number:04d}" for number in range(3)] for who in range(3)}
  lists = closed_set(tmp_path / "closed_set.txt", people)
  config = VerificationConfig("set", images=str(faces), protocol="closed-set", pairs=str(lists))
  source = make_hook(config, MODEL, None, Workdir(tmp_path / "run"), threads=1, devices=1, size=16).source
  pack(faces, tmp_path / "packed", size=16)
  packed = open_records(str(tmp_path / "packed"), 1)
  found, expected = (np.zeros((9, 16, 16, 3), np.uint8) for _ in range(2))
  assert not source.read(np.arange(9), found)
  record_of = {name: record for record, name in enumerate(packed.names())}
  packed.read(np.array([record_of[name] for name in source.names()]), expected)
  again = np.stack([decode_image(encode_jpeg(image_hwc), where="here") for image_hwc in found])  # packing encodes resized images
  np.testing.assert_array_equal(again, expected)


@pytest.mark.real_data
def test_a_hook_on_real_faces_has_the_figures_of_their_embeddings(face_data, tmp_path):
  """Twenty people of LFW by their pixels: far better than the one in twenty of chance."""
  images = face_data / "lfw_aligned112"
  many = sorted(folder.name for folder in images.iterdir() if (folder / f"{folder.name}_0020.jpg").is_file())[:20]
  people = {who: [f"{who}/{who}_{number:04d}.jpg" for number in range(1, 7)] for who in many}
  lists = closed_set(tmp_path / "closed_set.txt", people)
  config = VerificationConfig("lfw", images=str(images), template="arcface112", protocol="closed-set", pairs=str(lists))
  hook = make_hook(config, MODEL, None, Workdir(tmp_path / "run"), threads=0, devices=1, size=16)
  hook._embed = jax.jit(lambda variables, image_bhwc: image_bhwc.reshape(len(image_bhwc), -1) / 255.0 - 0.5)
  row = hook(1, {})
  source = FolderSource(images, size=(16, 16), resize=True)
  record_of = {name: record for record, name in enumerate(source.names())}
  names = [name.removesuffix(".jpg") for who in many for name in people[who]]
  image_nhwc = np.zeros((len(names), 16, 16, 3), np.uint8)
  assert not source.read(np.array([record_of[name] for name in names]), image_nhwc)
  embedding_nd = (image_nhwc.reshape(len(names), -1) / np.float32(255) - np.float32(0.5)).astype(np.float32)
  expected = evaluate(Embeddings(embedding_nd, names), lists, protocol="closed-set").figures
  assert row["lfw/accuracy"] == expected["accuracy"] > 0.15
  assert row["score"] == row["lfw/accuracy"] and expected["probes"] == 80
