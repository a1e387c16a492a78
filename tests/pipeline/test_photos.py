"""From photos to aligned folders, comparisons, galleries and clusters, with painted faces."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from painted import PaintedDetector, photo, save, save_people

import jaxface
from jaxface.alignment import frontalise_faces, template_points
from jaxface.commands.main import main
from jaxface.detection import Detections
from jaxface.formats.aligned import folder_template, read_aligned
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image
from jaxface.formats.manifest import read_manifest
from jaxface.formats.packing import pack
from jaxface.formats.unaligned import unaligned_note
from jaxface.gallery import OtherMaker, read_gallery
from jaxface.models.saved import save_model
from jaxface.pipeline import (
  Decision,
  NoFace,
  OtherSettings,
  align_photos,
  cluster_photos,
  compare_photos,
  enrol_people,
  find_faces,
  identify_photo,
)
from jaxface.pipeline.photos.faces import choose, face_quality
from jaxface.pipeline.run import align_once
from tfrecords_tools.__main__ import main as tools

POINTS = np.array([(38.0, 51.0), (74.0, 51.0), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)])  # eyes on a level line


@pytest.fixture(scope="module")
def model(random_model, tmp_path_factory):
  folder = tmp_path_factory.mktemp("models") / "net"
  save_model(folder, random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=16, size=112))
  return jaxface.load(folder)


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / "photos"
  save(root / "ann" / "one.png", photo(seed=1))
  save(root / "ann" / "two.png", photo(((20, 20, 0.4), (80, 40, 0.9)), seed=5))
  save(root / "bob" / "none.png", photo(()))
  (root / "bob" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
  return root


def test_an_aligned_face_is_the_painted_one(tmp_path):
  image = photo(((40, 30, 1.0),), size=(200, 220))
  save(tmp_path / "a.png", image)
  [found] = find_faces([tmp_path / "a.png"], detector=PaintedDetector())
  [face] = found.faces
  np.testing.assert_allclose(face.box_4, [40, 30, 152, 142])
  assert face.scale == pytest.approx(1.0, abs=1e-5)
  np.testing.assert_allclose(face.image_hwc.astype(int), image[30:142, 40:152], atol=1)


def test_a_large_photo_is_reduced_and_boxes_are_in_its_own_pixels(tmp_path, monkeypatch):
  monkeypatch.setattr("jaxface.pipeline.photos.faces.LARGEST", 200)
  save(tmp_path / "a.png", np.repeat(np.repeat(photo(((40, 30, 1.0),), size=(200, 200)), 3, 0), 3, 1))
  [found] = find_faces([tmp_path / "a.png"], detector=PaintedDetector())
  np.testing.assert_allclose(found.faces[0].box_4, [120, 90, 456, 426])
  assert found.faces[0].scale == pytest.approx(1 / 3, abs=1e-5)


def test_which_face_is_taken():
  faces = PaintedDetector()._one(photo(((5, 5, 0.9), (150, 100, 0.3), (110, 20, 0.4)), size=(160, 200)))
  boxes = faces.box_n4[:, 0].tolist()
  assert [boxes[row] for row in choose(faces, "largest")] == [5]
  assert [boxes[row] for row in choose(faces, "all")] == boxes and len(boxes) == 3
  [row] = choose(faces, "central")
  middle = (faces.box_n4[:, :2] + faces.box_n4[:, 2:]) / 2
  side = faces.box_n4[:, 2] - faces.box_n4[:, 0]
  assert row == int(np.argmin([np.hypot(*(one - (100, 80))) / width for one, width in zip(middle, side)]))


def test_the_main_face_is_neither_a_large_one_at_the_border_nor_a_small_one_in_the_middle():
  middle = (100, 80)  # of 160×200 pixels, whose diagonal times 0.15 is 38.4
  def square(x, y, side):
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)

  for boxes, right in (
    ([square(*middle, 40), square(20, 30, 60)], 0),  # 94 pixels away: weight 0.05
    ([square(*middle, 10), square(70, 80, 50)], 1),  # 30 pixels away: weight 0.74 of 25 times the area
    ([square(*middle, 40), square(*middle, 50)], 1),
    ([square(90, 80, 40), square(115, 80, 40)], 0),
    ([square(0, 0, 2), square(199, 159, 2)], 1),
  ):
    box_n4 = np.array(boxes, np.float32)
    faces = Detections(box_n4, np.linspace(0.9, 0.8, len(box_n4), dtype=np.float32), None, (160, 200))
    weight = [
      (box[2] - box[0]) * (box[3] - box[1]) * np.exp(-((box[0] + box[2]) / 2 - 100) ** 2 / 2 / 38.4**2 - ((box[1] + box[3]) / 2 - 80) ** 2 / 2 / 38.4**2)
      for box in boxes
    ]
    assert choose(faces, "main") == [right] == [int(np.argmax(weight))]
    twice = Detections(2 * box_n4, faces.score_n, None, (320, 400))
    assert choose(twice, "main") == [right]
  assert choose(Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), None, (160, 200)), "main") == []


def test_commands_take_the_face_that_is_asked_for(tmp_path, model):
  # A large face at the border and a smaller one in the middle, of other people.
  save(tmp_path / "people" / "ann" / "a.png", photo(((0, 0, 0.6, 4), (85, 65, 0.4, 3)), size=(180, 220)))
  given = {"model": model, "detector": PaintedDetector()}
  sides = {}
  for which in ("main", "largest", "central"):
    made = compare_photos(*2 * [tmp_path / "people" / "ann" / "a.png"], which=which, threshold=0.5, **given)
    sides[which] = round(float(np.diff(made.faces[0].box_4[[0, 2]])[0]))
    assert "2 faces were found" in made.notes[0]
    enrol_people(tmp_path / which, tmp_path / "people", which=which, **given)
    [found], _ = identify_photo(tmp_path / which, tmp_path / "people" / "ann" / "a.png", which=which, threshold=0.9999, **given)
    assert found.found.accepted == "ann" and round(float(np.diff(found.face.box_4[[0, 2]])[0])) == sides[which]
  assert sides == {"main": 45, "largest": 67, "central": 45}
  for call in (lambda: compare_photos("a", "b", which="all", **given), lambda: enrol_people("g", tmp_path, which="every", **given)):
    with pytest.raises(ValueError, match="which"):
      call()


def test_quality_falls_with_enlargement_and_with_the_nose_off_the_middle():
  frontal = POINTS.copy()
  frontal[2] = (frontal[0] + frontal[1]) / 2 + (0, 20)
  assert face_quality(frontal, 1.0, 0.5) == pytest.approx(1.0, abs=1e-6)
  assert face_quality(frontal, 0.8, 2.0) == pytest.approx(0.4, abs=1e-6)
  turned = frontal.copy()
  turned[2] = frontal[0] + (frontal[1] - frontal[0]) / 4 + (0, 20)  # distances 1 : 3
  assert face_quality(turned, 1.0, 1.0) == pytest.approx(1 / 3, abs=1e-6)
  outside = frontal.copy()
  outside[2] = frontal[0] - (10, 0)
  assert face_quality(outside, 1.0, 1.0) == 0.01


def test_a_folder_is_aligned_with_a_table_of_what_was_refused(folder, tmp_path):
  out = tmp_path / "aligned"
  made = align_photos(folder, out, detector=PaintedDetector())
  assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg")) == ["ann/one.jpg", "ann/two.jpg"]
  assert decode_image((out / "ann/two.jpg").read_bytes(), where="").shape == (112, 112, 3)
  with open(out / "faces.csv", newline="") as file:
    rows = {row["photo"]: row for row in csv.DictReader(file)}
  assert rows["ann/two.png"]["found"] == "2" and rows["ann/two.png"]["x0"] == "80.0"
  assert rows["bob/none.png"]["refused"] == "no face was found"
  assert "broken.jpg" in rows["bob/broken.jpg"]["refused"] and rows["bob/broken.jpg"]["image"] == ""
  assert "2 faces of 4 photos" in made.summary() and "2 photos refused" in made.summary()
  page = (out / "contact_sheet.html").read_text()
  assert page.count("data:image/jpeg") == 3 and "no face was found" in page  # two faces, and the refused photo that can be read
  assert folder_template(out) == "arcface112" and read_aligned(out).detector == "painted"


def test_all_faces_of_a_photo_have_files_of_their_own(folder, tmp_path):
  align_photos(folder, tmp_path / "all", which="all", detector=PaintedDetector(), sheet=False)
  names = sorted(path.name for path in (tmp_path / "all").rglob("*.jpg"))
  assert names == ["one_0.jpg", "two_0.jpg", "two_1.jpg"]
  assert not (tmp_path / "all" / "contact_sheet.html").exists()


class PaintedLandmarks:
  """Finds the 68 points of a mean face in a painted square."""

  points, saved = 68, SimpleNamespace(digest="d" * 16)

  def __call__(self, photos, boxes):
    mean_k2 = template_points("arcface112", 68) + 0.5
    return np.stack([box[:2] + mean_k2 * (box[2] - box[0]) / 112 for box in boxes])


def test_faces_are_turned_to_the_front_with_their_poses_in_the_table(folder, tmp_path):
  made = align_photos(folder, tmp_path / "out", frontal=PaintedLandmarks(), detector=PaintedDetector())
  with open(tmp_path / "out/faces.csv", newline="") as file:
    rows = {row["photo"]: row for row in csv.DictReader(file)}
  row = rows["ann/one.png"]
  assert abs(float(row["yaw"])) < 0.5 and abs(float(row["pitch"])) < 5 and abs(float(row["roll"])) < 0.5 and float(row["visible"]) > 0.9
  assert float(rows["bob/none.png"]["visible"]) == 1 and "no face" in rows["bob/none.png"]["refused"]
  image_hwc = decode_image((folder / "ann/one.png").read_bytes(), where="")
  point_k2 = PaintedLandmarks()([image_hwc], [np.array([made.rows[0].x0, made.rows[0].y0, made.rows[0].x1, made.rows[0].y1]) - 0.5])[0]
  expected = frontalise_faces([image_hwc], [point_k2]).image_nhwc[0].astype(int)
  got = decode_image((tmp_path / "out/ann/one.jpg").read_bytes(), where="")
  assert np.abs(got - expected).mean() < 3 and (got[100:, :12] < 30).all()  # black beyond the jaw
  assert read_aligned(tmp_path / "out").frontal == "d" * 16
  with pytest.raises(OtherSettings, match="frontal was 'dddd"):
    align_photos(folder, tmp_path / "out", detector=PaintedDetector())
  five = PaintedLandmarks()
  five.points = 5
  with pytest.raises(ValueError, match="finds 5 points: turning faces to the front needs 68"):
    align_photos(folder, tmp_path / "five", frontal=five, detector=PaintedDetector())


def test_a_folder_of_an_older_release_was_not_turned(folder, tmp_path):
  align_photos(folder, tmp_path / "out", detector=PaintedDetector())
  file = tmp_path / "out/aligned.json"
  plain = read_checked_json(file)
  del plain["frontal"]
  write_checked_json(file, plain)
  assert read_aligned(tmp_path / "out").frontal == ""


def test_an_interrupted_run_continues_and_ends_like_an_uninterrupted_one(folder, tmp_path, monkeypatch):
  for number in range(20):
    save(folder / "eve" / f"{number:02}.png", photo(seed=50 + number))
  align_photos(folder, tmp_path / "whole", detector=PaintedDetector())

  class Stops(PaintedDetector):
    def detect_batch(self, *given, **more):
      if self.calls == 17:
        raise KeyboardInterrupt
      return super().detect_batch(*given, **more)

  with pytest.raises(KeyboardInterrupt):
    align_photos(folder, tmp_path / "resumed", detector=Stops())
  journal = tmp_path / "resumed" / ".faces.jsonl"
  done = len(journal.read_text().splitlines())
  assert 0 < done < 24
  with open(journal, "a") as file:
    file.write('[{"photo": "eve/')  # a line that a crash cut off
  (tmp_path / "resumed" / "eve" / ".19.jpg.123.tmp").write_bytes(b"half a photo")
  again = PaintedDetector()
  align_photos(folder, tmp_path / "resumed", detector=again)
  assert again.calls <= 24 - done and not list((tmp_path / "resumed").rglob("*.tmp"))
  for path in sorted((tmp_path / "whole").rglob("*")):
    if path.suffix in (".jpg", ".csv"):
      assert path.read_bytes() == (tmp_path / "resumed" / path.relative_to(tmp_path / "whole")).read_bytes(), path


def test_other_settings_and_places_are_refused(folder, tmp_path):
  align_photos(folder, tmp_path / "out", detector=PaintedDetector())
  with pytest.raises(OtherSettings, match="which was 'main', now 'all'"):
    align_photos(folder, tmp_path / "out", which="all", detector=PaintedDetector())
  with pytest.raises(ValueError, match="inside of the other"):
    align_photos(folder, folder / "out", detector=PaintedDetector())
  with pytest.raises(ValueError, match="quality is 0"):
    align_photos(folder, tmp_path / "new", quality=0, detector=PaintedDetector())
  (tmp_path / "out" / "aligned.json").write_text("{}")
  with pytest.raises(DamagedData):
    folder_template(tmp_path / "out")


def test_the_template_of_an_aligned_folder_is_taken_from_it(folder, tmp_path, model):
  align_photos(folder, tmp_path / "out", detector=PaintedDetector())
  notes = []
  assert model.embed_named(tmp_path / "out", say=notes.append).meta["template"] == "arcface112"
  manifest = pack(tmp_path / "out", tmp_path / "records", say=notes.append)
  assert manifest.template == "arcface112" and manifest.num_records == 2
  assert not [note for note in notes if "aligned.json" in note or "hidden" in note]  # its own files
  for call in (lambda **more: pack(tmp_path / "out", tmp_path / "other", **more), lambda **more: model.embed_named(tmp_path / "out", **more)):
    with pytest.raises(ValueError, match="aligned these faces to arcface112"):
      call(template="lightcnn128")


def test_a_folder_that_looks_unaligned_gets_a_line(tmp_path):
  for number, size in enumerate([(112, 112)] * 3):
    save(tmp_path / "crops" / f"{number}.png", photo((), size=size))
    save(tmp_path / "photos" / f"{number}.png", photo((), size=(112, 112 + 30 * number)))
    save(tmp_path / "large" / f"{number}.png", photo((), size=(250, 250)))
  assert unaligned_note(tmp_path / "crops", (112, 112)) == "" == unaligned_note(tmp_path / "crops" / "0.png", (112, 112))
  assert "their sizes vary, 112×112 to 112×172 pixels" in unaligned_note(tmp_path / "photos", (112, 112))
  assert "they have 250×250 pixels, the network takes 112×112" in unaligned_note(tmp_path / "large", (112, 112))
  assert unaligned_note(tmp_path / "large", (224, 224)) == ""


def test_photos_are_aligned_on_the_way(folder, tmp_path, model, monkeypatch, capsys):
  detector = PaintedDetector()
  monkeypatch.setattr("jaxface.pipeline.photos.align_folder.load_detector", lambda given: detector)
  save(folder / "eve" / "one.png", photo(seed=8, size=(230, 210)))
  save_model(tmp_path / "net", model.saved)
  given = ["embed", "--model", str(tmp_path / "net"), "--images", str(folder), "--out", str(tmp_path / "e.npz")]
  assert main([*given, "--align", str(tmp_path / "kept")]) == 0
  kept = read_embeddings(tmp_path / "e.npz")
  assert sorted(kept.names) == ["ann/one", "ann/two", "eve/one"] and kept.meta["template"] == "arcface112"
  assert main([*given, "--align"]) == 0
  np.testing.assert_array_equal(read_embeddings(tmp_path / "e.npz").embedding_nd, kept.embedding_nd)
  # The commands that measure align as `embed` does.
  given[0:1] = ["threshold", "--far", "0.4", "--all-pairs"]
  given[given.index("--out")] = "--embeddings"
  with pytest.raises(SystemExit):
    main(["threshold", "--far", "0.4", "--all-pairs", "--embeddings", str(tmp_path / "e.npz"), "--align"])
  assert "--align needs --images" in capsys.readouterr().err
  (tmp_path / "e.npz").unlink()
  assert main([*given, "--align", "--which", "largest"]) == 0
  np.testing.assert_array_equal(read_embeddings(tmp_path / "e.npz").embedding_nd, kept.embedding_nd)
  capsys.readouterr()
  assert tools(["pack", str(folder), str(tmp_path / "set"), "--align"]) == 0
  assert "set.aligned" in capsys.readouterr().out and read_manifest(tmp_path / "set").template == "arcface112"
  assert align_once(str(folder), tmp_path / "again", "arcface112") == str(tmp_path / "again")
  assert (tmp_path / "again" / "eve" / "one.jpg").read_bytes() == (tmp_path / "kept" / "eve" / "one.jpg").read_bytes()


def test_photos_are_compared(tmp_path, model):
  save(tmp_path / "a.png", photo(((30, 20, 0.8, 3),)))
  save(tmp_path / "b.png", photo(((60, 40, 0.8, 3),)))
  save(tmp_path / "c.png", photo(((60, 40, 0.8, 4),)))
  save(tmp_path / "none.png", photo(()))
  given = {"model": model, "detector": PaintedDetector(), "threshold": 0.999}
  same = compare_photos(tmp_path / "a.png", tmp_path / "b.png", **given)
  other = compare_photos(tmp_path / "a.png", tmp_path / "c.png", **given)
  assert same.score > 0.9999 and same.same and other.score < same.score
  with pytest.raises(NoFace, match=r"none\.png: no face was found"):
    compare_photos(tmp_path / "a.png", tmp_path / "none.png", **given)
  (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff not a photo")
  with pytest.raises(NoFace) as fault:
    compare_photos(tmp_path / "a.png", tmp_path / "damaged.jpg", **given)
  assert str(fault.value).count("damaged.jpg") == 1
  with pytest.raises(FileNotFoundError, match="a folder, but one photo is needed"):
    compare_photos(tmp_path / "a.png", tmp_path, **given)
  with pytest.raises(FileNotFoundError, match="no such photo"):
    compare_photos(tmp_path / "a.png", tmp_path / "absent.png", **given)
  with pytest.raises(ValueError, match="the model has no threshold"):
    compare_photos(tmp_path / "a.png", tmp_path / "b.png", model=model, detector=PaintedDetector())
  with pytest.raises(ValueError, match="a cosine lies in"):
    compare_photos(tmp_path / "a.png", tmp_path / "b.png", model=model, detector=PaintedDetector(), threshold=2)


@pytest.fixture
def people(tmp_path):
  root = save_people(tmp_path / "people")
  save(root / "eve" / "none.png", photo(()))
  return root


def test_people_are_enrolled_and_identified(people, tmp_path, model):
  file, given = tmp_path / "people.gallery", {"model": model, "detector": PaintedDetector()}
  made = enrol_people(file, people, **given)
  assert made.gallery.people == ("ann", "bob", "eve") and made.photos == 6
  assert [photo for photo, _ in made.refused] == ["eve/none.png"]
  save(tmp_path / "two.png", photo(((10, 10, 0.7, 4), (110, 60, 0.6, 77)), size=(180, 220)))
  found, rule = identify_photo(file, tmp_path / "two.png", threshold=0.9999, **given)
  assert [one.found.accepted for one in found] == ["bob", None] and rule.far is None and rule.people == 3
  assert {each.person for each in found[0].found.candidates} == {"ann", "bob", "eve"}
  # Enrolling again changes nothing.
  before = file.read_bytes()
  enrol_people(file, people, **given)
  assert file.read_bytes() == before


def test_the_rule_says_what_its_rate_means_for_a_gallery():
  assert Decision(0.4, 1e-4).false_accepts(500) == pytest.approx(0.05)
  assert "in the gallery of 500 accepts 0.05 people on average" in str(Decision(0.4, 1e-4, 500))
  assert "in a gallery of 10,000 accepts 1 people on average" in str(Decision(0.4, 1e-4))
  assert Decision(0.4, None, 500).false_accepts(500) is None and str(Decision(0.4, None, 500)) == "threshold 0.4000 (given)"


def test_a_gallery_of_another_model_is_refused(people, tmp_path, model, random_model):
  file = tmp_path / "people.gallery"
  enrol_people(file, people, model=model, detector=PaintedDetector())
  save_model(tmp_path / "other", random_model("iresnet", units=(1, 0, 0, 0), width=0.25, embedding_size=16, size=112))
  for call in (
    lambda **given: enrol_people(file, people, **given),
    lambda **given: identify_photo(file, people / "ann" / "0.png", threshold=0.5, **given),
  ):
    with pytest.raises(OtherMaker, match="digest"):
      call(model=tmp_path / "other", detector=PaintedDetector())
  assert len(read_gallery(file)) == 3


def test_people_need_folders_and_faces(people, tmp_path, model):
  save(people / "loose.png", photo())
  with pytest.raises(ValueError, match=r"loose\.png is in no person's folder"):
    enrol_people(tmp_path / "g", people, model=model, detector=PaintedDetector())
  save(tmp_path / "empty" / "ann" / "none.png", photo(()))
  with pytest.raises(NoFace, match="none of the 1 photos has a face"):
    enrol_people(tmp_path / "g", tmp_path / "empty", model=model, detector=PaintedDetector())
  assert not (tmp_path / "g").exists()


def test_faces_are_grouped_by_person(people, tmp_path, model):
  found = cluster_photos(
    people, model=model, detector=PaintedDetector(), threshold=0.9999, out=tmp_path / "c.json", page=tmp_path / "c.html"
  )
  groups = sorted(sorted(face.photo for face in group) for group in found.groups)
  assert groups == [[f"{person}/0.png", f"{person}/1.png"] for person in ("ann", "bob", "eve")]
  plain = json.loads((tmp_path / "c.json").read_text())
  assert plain["refused"] == [{"photo": "eve/none.png", "reason": "no face was found"}] and len(plain["groups"]) == 3
  assert (tmp_path / "c.html").read_text().count("<section>") == 3
