"""A model and a folder become a file of embeddings in one call; what cannot be done is said before the work."""

import numpy as np
import pytest

from jaxface.formats import pack, read_embeddings
from jaxface.inference import Model, embed_faces


@pytest.fixture(scope="module")
def model(random_model):
  return Model(random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=8))


def test_a_folder_is_embedded_and_what_cannot_be_read_is_named(model, make_folder, tmp_path):
  folder = make_folder((3, 2), height=16, width=16)
  (folder / "person01" / "torn.jpg").write_bytes(b"\xff\xd8")
  said = []
  found = embed_faces(model, folder, tmp_path / "new" / "faces.npz", template="arcface112", say=said.append)
  assert found.embedding_nd.shape == (5, 8) and found.meta["unreadable"] == ["person01/torn"]
  assert any("1 of 6 images cannot be used" in line for line in said)
  read = read_embeddings(tmp_path / "new" / "faces.npz")
  np.testing.assert_array_equal(read.embedding_nd, found.embedding_nd)
  assert read.names == found.names and read.meta == found.meta


def test_packed_records_carry_their_template(model, make_folder, tmp_path):
  pack(make_folder((2, 2), height=16, width=16), tmp_path / "packed", template="arcface112")
  assert embed_faces(model, tmp_path / "packed").meta["template"] == "arcface112"
  with pytest.raises(ValueError, match="packed records have their own"):
    embed_faces(model, tmp_path / "packed", template="arcface112")


@pytest.mark.parametrize(
  ("more", "message"),
  [
    ({"out": "faces.csv"}, "stored in .npz, .parquet, .npy or .faiss, not .csv"), ({"batch_size": 0}, "batch_size is 0: at least 1"),
    ({"template": "arcface"}, "template is 'arcface', should be one of arcface112"), ({"mirror": "twice"}, "choose one of sum"),
    ({"template": "lightcnn128"}, "aligned to template 'lightcnn128'"),
  ],
)
def test_wrong_words_are_named(model, make_folder, more, message):
  with pytest.raises(ValueError, match=message):
    embed_faces(model, make_folder((1,), height=16, width=16), **more)


def test_the_projector_gets_a_picture_of_each_face(model, make_folder, tmp_path):
  from PIL import Image

  folder, said = make_folder((2, 2), height=16, width=16), []
  embed_faces(model, folder, template="arcface112", projector=tmp_path / "p", say=said.append)
  with Image.open(tmp_path / "p" / "sprite.png") as sprite:
    assert sprite.size == (96, 96) and len(set(sprite.resize((2, 2), Image.Resampling.BOX).get_flattened_data())) == 4
  assert any("4 of 4 embeddings for tensorboard" in line for line in said)
  with pytest.raises(FileExistsError, match="choose another name"):
    embed_faces(model, folder, projector=tmp_path / "p")
