"""The serving example: what it answers equals the model, and what it cannot use is refused with a reason."""

import asyncio
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from jaxface.formats.images import decode_image
from jaxface.inference import Model
from jaxface.interop import export_onnx

for package in ("fastapi", "httpx", "multipart"):
  pytest.importorskip(package, reason=f"EXTRA ABSENT: {package} (extra serve) is not installed: the serving example was not tested here")

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "serving"


def example(name):
  spec = importlib.util.spec_from_file_location(f"serving_{name}", FOLDER / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


serve, load_test = example("serve"), example("load_test")


@pytest.fixture(scope="module")
def saved(random_model):
  return random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4)


@pytest.fixture(scope="module")
def onnx(saved, tmp_path_factory):
  path = tmp_path_factory.mktemp("onnx") / "face.onnx"
  export_onnx(saved, path, normalize=True, mirror="sum")
  return path


@pytest.fixture
def client(onnx):
  from fastapi.testclient import TestClient

  with TestClient(serve.make_app(onnx, threshold=0.5)) as client:
    yield client


def test_embeddings_are_those_of_the_model(client, saved, make_jpeg):
  model, photos = Model(saved), [make_jpeg(seed, 16, 16) for seed in range(6)]
  expected = model.embed(np.stack([decode_image(photo, where="photo") for photo in photos]))
  for photo, expected_d in zip(photos, expected):
    answer = client.post("/embed", files={"photo": ("a.jpg", photo)}).json()
    np.testing.assert_allclose(answer["embedding"], expected_d, atol=1e-5)
  answer = client.post("/compare", files={"first": ("a.jpg", photos[0]), "second": ("b.jpg", photos[1])}).json()
  assert abs(answer["cosine"] - expected[0] @ expected[1]) < 1e-5
  assert answer["same"] == (answer["cosine"] >= 0.5) and answer["threshold"] == 0.5
  same = client.post("/compare", files={"first": ("a.jpg", photos[0]), "second": ("a.jpg", photos[0])}).json()
  assert same["same"] and abs(same["cosine"] - 1) < 1e-5
  said = client.get("/health").json()
  assert said["model"] == "smallresnet" and said["size"] == [16, 16] and said["sha256"] == answer["model_sha256"]


def test_requests_that_come_together_are_answered_each_with_its_own(client, saved, make_jpeg):
  # Two sizes: they cannot be in one batch.
  photos = [make_jpeg(seed, side, side) for seed in range(12) for side in (16, 24)]
  model = Model(saved)
  expected = [model.embed(decode_image(photo, where="photo")) for photo in photos]
  with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(lambda photo: client.post("/embed", files={"photo": ("a.jpg", photo)}).json(), photos))
  for answer, expected_d in zip(answers, expected):
    np.testing.assert_allclose(answer["embedding"], np.ravel(expected_d), atol=1e-5)


@pytest.mark.parametrize(("data", "status", "words"), [
  (b"not an image", 400, "a.jpg"), (b"", 400, "a.jpg"), (b"\xff\xd8\xff" + b"0" * 50, 400, "a.jpg"), (b"0" * ((10 << 20) + 1), 413, "more than 10 MB"),
])
def test_what_is_no_photo_is_refused_and_the_service_goes_on(client, make_jpeg, data, status, words):
  answer = client.post("/embed", files={"photo": ("a.jpg", data)})
  assert answer.status_code == status and words in answer.json()["detail"]
  assert client.post("/compare", files={"first": ("a.jpg", data), "second": ("b.jpg", make_jpeg(0, 16, 16))}).status_code == status
  assert client.post("/embed", files={"photo": ("b.jpg", make_jpeg(0, 16, 16))}).status_code == 200
  assert client.post("/embed").status_code == 422


def test_an_image_that_the_model_does_not_take_is_refused(client, make_jpeg):
  answer = client.post("/embed", files={"photo": ("a.jpg", make_jpeg(0, 8, 8))})
  assert answer.status_code == 422 and "takes no image of 8x8 pixels" in answer.json()["detail"]
  assert client.post("/embed", files={"photo": ("b.jpg", make_jpeg(0, 16, 16))}).status_code == 200


def test_huge_images_are_refused_before_they_are_decoded(client, make_jpeg, monkeypatch):
  monkeypatch.setattr(serve, "PIXELS", 100)
  answer = client.post("/embed", files={"photo": ("a.jpg", make_jpeg(0, 16, 16))})
  assert answer.status_code == 400 and "huge image" in answer.json()["detail"]


def test_a_face_is_found_and_aligned_first(onnx, saved, make_jpeg, monkeypatch):
  """With a stand-in for the detector."""
  from types import SimpleNamespace

  from fastapi.testclient import TestClient

  import jaxface.pipeline

  photo = decode_image(make_jpeg(0, 40, 40), where="photo")

  def find_faces(files, template, detector):
    assert template == "arcface112" and detector == "a detector" and decode_image(files[0].read_bytes(), where="photo").shape == photo.shape
    return [SimpleNamespace(faces=(SimpleNamespace(image_hwc=photo[:16, :16]),))]

  monkeypatch.setattr(serve, "detector", lambda: "a detector")
  monkeypatch.setattr(jaxface.pipeline, "find_faces", find_faces)
  with TestClient(serve.make_app(onnx, align=True)) as client:
    answer = client.post("/embed", files={"photo": ("a.jpg", make_jpeg(0, 40, 40))})
    np.testing.assert_allclose(answer.json()["embedding"], np.ravel(Model(saved).embed(photo[:16, :16])), atol=1e-5)
    monkeypatch.setattr(jaxface.pipeline, "find_faces", lambda *_, **__: [SimpleNamespace(faces=())])
    answer = client.post("/embed", files={"photo": ("a.jpg", make_jpeg(0, 40, 40))})
    assert answer.status_code == 422 and "no face was found" in answer.json()["detail"]


def test_alignment_needs_a_known_template(saved, tmp_path):
  from dataclasses import replace

  unknown = replace(saved, preprocess=replace(saved.preprocess, template="unknown"))
  export_onnx(unknown, tmp_path / "face.onnx")
  with pytest.raises(ValueError, match="does not say to which template"):
    serve.make_app(tmp_path / "face.onnx", align=True)


def test_the_load_test_counts_what_is_answered(onnx, make_jpeg):
  import httpx

  app = serve.make_app(onnx)

  async def go(photos):
    async with app.router.lifespan_context(app):
      return await load_test.load("http://service", photos, clients=3, requests=10, transport=httpx.ASGITransport(app))

  found = asyncio.run(go([make_jpeg(0, 16, 16), b"no image"]))
  assert found["requests"] == 10 and found["failed"] == 5 and found["per_second"] > 0 and found["p99_ms"] >= found["median_ms"] > 0
