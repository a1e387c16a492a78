"""People of a test set who stand in a training set under other names, found by their faces."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxface.commands.main import main
from jaxface.formats import Embeddings, write_embeddings
from jaxface.models import save_model
from jaxface.pipeline import find_leaks
from jaxface.pipeline.leaks.faces import same_faces


def people(prefix, centre_id, rng, images=3, noise=0.3):
  embedding_nd = np.repeat(centre_id, images, axis=0) + noise * rng.normal(size=(len(centre_id) * images, centre_id.shape[1]))
  names = [f"{prefix}{person}/{image}" for person in range(len(centre_id)) for image in range(images)]
  return Embeddings(embedding_nd.astype(np.float32), names, np.repeat(np.arange(len(centre_id)), images), {"model_digest": "a", "mirror": "sum"})


@pytest.fixture
def sets():
  """Training people a0 … a9, test people b0 … b5, of whom b0 is a3 and b1 is a7."""
  rng = np.random.default_rng(0)
  ours, theirs = rng.normal(size=(10, 24)), rng.normal(size=(6, 24))
  theirs[0], theirs[1] = ours[3], ours[7]
  return people("a", ours, rng), people("b", theirs, rng)


def slow_pairs(train, test, similarity):
  """Identities with two images, or with means, at or above the threshold, by loops."""
  def unit(vector):
    return vector / np.linalg.norm(vector)

  def of(given):
    groups = {}
    for name, row in zip(given.names, given.embedding_nd.astype(np.float64)):
      groups.setdefault(name.split("/")[0], []).append(unit(row))
    return groups

  found = {}
  for left, ours in of(train).items():
    for right, theirs in of(test).items():
      best = max(float(a @ b) for a in ours for b in theirs)
      centre = float(unit(sum(ours)) @ unit(sum(theirs)))
      if max(best, centre) >= similarity:
        found[left, right] = (best, centre)
  return found


@pytest.mark.parametrize("similarity", [-1.0, 0.2, 0.5, 0.7])
def test_planted_people_are_found_and_every_pair_agrees_with_loops(sets, similarity):
  train, test = sets
  found, slow = same_faces(train, test, similarity, nearest=30), slow_pairs(train, test, similarity)
  assert {(leak.train, leak.test) for leak in found} == set(slow) and len(found) == len(slow)
  for leak in found:
    np.testing.assert_allclose((leak.cosine, leak.centre), slow[leak.train, leak.test], atol=1e-12)
    assert leak.train_image.startswith(leak.train + "/") and leak.test_image.startswith(leak.test + "/")
  assert [leak.cosine for leak in found] == sorted((leak.cosine for leak in found), reverse=True)
  if similarity == 0.7:
    assert {(leak.train, leak.test) for leak in found} == {("a3", "b0"), ("a7", "b1")}


def test_the_names_are_compared_and_images_without_a_folder_are_their_own_person():
  rng = np.random.default_rng(1)
  row_d = rng.normal(size=8).astype(np.float32)
  train = Embeddings(np.stack([row_d, -row_d]), ["Zoë_Ångström/1", "x"])
  test = Embeddings(row_d[None], ["Angstrom, Zoe/2"])
  (leak,) = same_faces(train, test, 0.9)
  assert leak.same_name and leak.cosine == pytest.approx(1)
  opposite = Embeddings(np.stack([row_d, -row_d]), ["p/1", "p/2"])  # their mean has no direction
  assert same_faces(opposite, test, 0.9)[0].train_image == "p/1"


def test_what_does_not_fit_is_named(sets, tmp_path, random_model):
  train, test = sets
  with pytest.raises(ValueError, match="different models"):
    same_faces(train, Embeddings(test.embedding_nd[:, :5].copy(), test.names), 0.5)
  with pytest.raises(ValueError, match=r"similarity 1\.5"):
    same_faces(train, test, 1.5)
  write_embeddings(tmp_path / "a.npz", train)
  write_embeddings(tmp_path / "b.npz", Embeddings(test.embedding_nd, test.names, None, {"model_digest": "b", "mirror": "sum"}))
  with pytest.raises(ValueError, match="give a model with a threshold"):
    find_leaks(tmp_path, tmp_path, embeddings=(tmp_path / "a.npz", tmp_path / "b.npz"))
  with pytest.raises(ValueError, match="different models or mirror"):
    find_leaks(tmp_path, tmp_path, embeddings=(tmp_path / "a.npz", tmp_path / "b.npz"), similarity=0.5)
  with pytest.raises(ValueError, match="similarity is for faces"):
    find_leaks(tmp_path, tmp_path, similarity=0.5)
  save_model(tmp_path / "m", random_model("iresnet", units=[1, 1, 0, 0], width=0.0625, embedding_size=8))
  with pytest.raises(FileNotFoundError, match="jaxface threshold"):
    find_leaks(tmp_path, tmp_path, model=tmp_path / "m")


def test_the_command_embeds_both_sets_and_shows_the_suspects(tmp_path, make_folder, random_model, capsys):
  train, test = make_folder((2, 2, 2), name="train"), make_folder((1, 1), name="test")
  rng = np.random.default_rng(0)
  for file in test.rglob("*.jpg"):  # other people: noise, which no photo of the training set resembles
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(file)
  (test / "other_name").mkdir()
  source = next(train.rglob("*.jpg"))
  Image.open(source).save(test / "other_name" / "1.png")
  save_model(tmp_path / "m", random_model("iresnet", units=[1, 1, 0, 0], width=0.0625, embedding_size=8))
  line = ["leaks", "--train", str(train), "--test", str(test), "--model", str(tmp_path / "m"), "--similarity", "0.99999"]
  assert main([*line, "--json", str(tmp_path / "l.json"), "--page", str(tmp_path / "l.html")]) == 1
  out, err = capsys.readouterr()
  (face,) = json.loads((tmp_path / "l.json").read_text())["faces"]
  assert face["test"] == "other_name" and face["train"] == source.parent.name and face["cosine"] == pytest.approx(1, abs=1e-5)
  assert "similar face" in out and "1 test identities are suspected by their faces" in out and "cosine of 1.0000 or more" in err
  assert "faces that look alike" in (tmp_path / "l.html").read_text()


@pytest.mark.real_data
def test_a_person_under_another_name_and_a_photo_cropped_in_another_way_are_found(face_data, pretrained_onnx, tmp_path):
  from jaxface.interop import import_model

  model = import_model(pretrained_onnx, "mobilefacenet", tmp_path / "m", preprocess="imagenet", say=lambda line: None)
  lfw = face_data / "lfw_aligned112"
  strangers = {"train": ["Aaron_Eckhart", "Abba_Eban", "Abdel_Nasser_Assidi"], "test": ["Abel_Pacheco", "Adam_Sandler"]}
  for part, names in strangers.items():
    for name in names:
      (tmp_path / part / name).mkdir(parents=True)
      for file in (lfw / name).glob("*.jpg"):
        (tmp_path / part / name / file.name).write_bytes(file.read_bytes())
  for part, number in (("train", 1), ("test", 2)):  # other photos of one person
    (tmp_path / part / f"person_{part}").mkdir()
    (tmp_path / part / f"person_{part}" / "1.jpg").write_bytes((lfw / "Tony_Blair" / f"Tony_Blair_000{number}.jpg").read_bytes())
  (tmp_path / "test" / "recropped").mkdir()
  file = next((tmp_path / "train" / "Aaron_Eckhart").glob("*.jpg"))
  Image.open(file).crop((8, 6, 108, 106)).rotate(4).resize((112, 112), Image.Resampling.BICUBIC).save(tmp_path / "test" / "recropped" / "1.png")
  found = find_leaks(tmp_path / "train", tmp_path / "test", model=model, similarity=0.45)
  assert {(leak.train, leak.test) for leak in found.faces} == {("person_train", "person_test"), ("Aaron_Eckhart", "recropped")}
  assert not found.images  # their hashes differ
