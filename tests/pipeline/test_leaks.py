"""Images and identities of a test set in a training set."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxface.commands.main import main
from jaxface.data import synthesize
from jaxface.pipeline.leaks.find import find_leaks
from jaxface.pipeline.leaks.names import IdentityLeak, plain_name


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
  """A training and a test set of different people, with four planted images."""
  folder = tmp_path_factory.mktemp("leaks")
  train, test = folder / "train", folder / "test"
  synthesize(train, identities=4, images=3, size=64, seed=1)
  synthesize(test, identities=3, images=3, size=64, seed=2)
  files = sorted(test.rglob("*.*g"))
  images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
  planted = train / "Zoë_Ångström"
  planted.mkdir()
  (planted / "bytes.jpg").write_bytes(files[0].read_bytes())
  Image.fromarray(images[4]).save(planted / "again.jpg", quality=60)
  Image.fromarray(images[5]).resize((90, 90), Image.Resampling.BICUBIC).save(planted / "larger.png")
  Image.fromarray(images[7][:, ::-1]).save(planted / "mirror.png")
  other = test / "Angstrom, Zoe"
  other.mkdir()
  synthesize(folder / "more", identities=1, images=1, size=64, seed=3)
  next((folder / "more").rglob("*.*g")).rename(other / "0.jpg")
  names = [str(file.relative_to(test).with_suffix("")) for file in files]
  return train, test, names


def test_planted_images_and_names_are_found_and_nothing_else(sets):
  train, test, names = sets
  found = find_leaks(train, test)
  assert found and found.train_images == 16 and found.test_images == 10
  kinds = {(leak.train.rsplit("/", 1)[1], leak.test): leak.kind for leak in found.images}
  assert kinds == {
    ("bytes", names[0]): "same pixels", ("again", names[4]): "near-identical", ("larger", names[5]): "near-identical",
    ("mirror", names[7]): "mirrored",
  }
  assert [leak.bits for leak in found.images] == sorted(leak.bits for leak in found.images)
  assert found.identities == (IdentityLeak("Zoë_Ångström", "Angstrom, Zoe"),)
  assert "are numbers" in found.notes[0]


def test_the_roles_may_be_exchanged(sets):
  train, test, _ = sets
  there, back = find_leaks(train, test), find_leaks(test, train)
  assert {(leak.kind, leak.train, leak.test) for leak in there.images} == {(leak.kind, leak.test, leak.train) for leak in back.images}


def test_the_command_writes_pictures_and_ends_with_1_where_something_is_found(sets, tmp_path, capsys):
  train, test, names = sets
  arguments = ["leaks", "--train", str(train), "--test", str(test), "--page", str(tmp_path / "a.html"), "--json", str(tmp_path / "a.json")]
  assert main(arguments) == 1
  out = capsys.readouterr().out
  assert f"train Zoë_Ångström/bytes  test {names[0]}" in out and "4 test images and 1 test identities" in out
  page = (tmp_path / "a.html").read_text()
  assert page.count("data:image/jpeg") == 8 and "<script" not in page
  assert len(json.loads((tmp_path / "a.json").read_text())["images"]) == 4
  clean = next(folder for folder in sorted(train.iterdir()) if folder.name != "Zoë_Ångström")
  assert main(["leaks", "--train", str(clean), "--test", str(test)]) == 0
  assert "no image and no identity name" in capsys.readouterr().out


def test_an_unreadable_image_is_named_and_a_wrong_distance_refused(sets, tmp_path):
  _, test, _ = sets
  (tmp_path / "a").mkdir()
  Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a" / "sound.png")
  (tmp_path / "a" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
  found = find_leaks(tmp_path, test)
  assert found.train_images == 1 and "1 images cannot be read" in found.notes[0] and "a/torn" in found.notes[0]
  with pytest.raises(ValueError, match="distance is 129"):
    find_leaks(tmp_path, test, distance=129)


@pytest.mark.parametrize(("one", "other"), [
  ("George_W_Bush", "Bush, George W."), ("Zoë Ångström", "zoe_angstrom"), ("O'Brien_Pat", "pat o brien"),
])
def test_spellings_of_a_name(one, other):
  assert plain_name(one) == plain_name(other) != plain_name(one + " Jr")


@pytest.mark.real_data
def test_a_photo_that_lfw_has_under_two_names_is_found(face_data, tmp_path):
  lfw = face_data / "lfw_aligned112"
  for name, people in {"train": ("Bart_Hendricks", "Aaron_Eckhart", "Abba_Eban"), "test": ("Ricky_Ray", "Abel_Pacheco")}.items():
    for person in people:
      (tmp_path / name / person).mkdir(parents=True)
      for file in lfw.rglob(f"{person}_0*.jpg"):
        (tmp_path / name / person / file.name).write_bytes(file.read_bytes())
  found = find_leaks(tmp_path / "train", tmp_path / "test")
  assert [(leak.train, leak.test) for leak in found.images] == [("Bart_Hendricks/Bart_Hendricks_0001", "Ricky_Ray/Ricky_Ray_0001")]
  assert not found.identities
