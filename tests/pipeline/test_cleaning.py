"""Cleaning a folder of faces: each stage finds what was planted, nothing in the folder changes, and wrong use has a clear error."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.svm import LinearSVC

from jaxface.formats import DamagedData, Embeddings, pack, read_leave_out, write_embeddings
from jaxface.formats.images import encode_jpeg
from jaxface.pipeline import (
  apply_blocks,
  clean_blocks,
  clean_duplicates,
  clean_intake,
  clean_list,
  clean_names,
  clean_noise,
  clean_people,
  clean_rank,
)
from jaxface.pipeline.cleaning.components import mutual_neighbours
from jaxface.pipeline.cleaning.linear_svm import fit_svm
from jaxface.pipeline.cleaning.near_pairs import near_hashes_of_one_set, near_vectors
from jaxface.pipeline.cleaning.sheets import Tile, make_blocks
from jaxface.pipeline.cleaning.softmax import own_softmax
from jaxface.pipeline.cleaning.spelling import edit_distance, same_person_names

SWAPPED = {"p00/3.jpg", "p05/1.jpg"}


def photo(generator):
  small = Image.fromarray(generator.integers(0, 256, (8, 8, 3)).astype(np.uint8))
  return np.asarray(small.resize((48, 48), Image.Resampling.BICUBIC))


def digests(folder):
  return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
  """10 people with 8 images each; two labels swapped; p01/6 and p01/7 the same file; p02/5 a mirrored, darker copy of p02/4; p03/0 torn."""
  generator = np.random.default_rng(0)
  names, rows, image = [], [], photo(generator)
  for person in range(10):
    centre = generator.normal(size=32)
    for number in range(8):
      file = tmp_path / "faces" / f"p{person:02d}" / f"{number}.jpg"
      file.parent.mkdir(parents=True, exist_ok=True)
      image = (image[:, ::-1] * 0.85).astype(np.uint8) if (person, number) == (2, 5) else photo(generator)
      file.write_bytes(encode_jpeg(image))
      names.append(f"p{person:02d}/{number}")
      rows.append(centre / np.linalg.norm(centre) + 0.1 * generator.normal(size=32))
  embedding_nd = np.array(rows, np.float32)
  embedding_nd[[3, 41]] = embedding_nd[[41, 3]]
  write_embeddings(tmp_path / "e.npz", Embeddings(embedding_nd, names))
  faces = tmp_path / "faces"
  (faces / "p01/7.jpg").write_bytes((faces / "p01/6.jpg").read_bytes())
  (faces / "p03/0.jpg").write_bytes(b"torn")
  return faces


def test_all_stages_from_a_folder_to_a_pack(folder, tmp_path):
  before, faces = digests(folder), {"embeddings": tmp_path / "e.npz"}
  ranked = clean_rank(folder, keep=7, **faces)
  assert {one.path for one in ranked.accepted} >= SWAPPED and len(ranked.accepted) == 10
  (folder.with_name("faces.cleaning") / "rank.json").unlink()

  copies = clean_duplicates(folder)
  assert {one.path for one in copies.accepted} == {"p01/7.jpg", "p02/5.jpg", "p03/0.jpg"}
  assert "cannot be read" in next(one.reason for one in copies.accepted if one.path == "p03/0.jpg")
  wrong = clean_noise(folder, embeddings=[faces["embeddings"]])
  assert {one.path for one in wrong.accepted} == SWAPPED
  said = []
  assert clean_noise(folder, embeddings=[faces["embeddings"]], say=said.append) == wrong and "already complete" in said[0]
  assert clean_people(folder, **faces).accepted == ()

  page = clean_blocks(folder, size=30, **faces)
  script = (page.folder / "blocks.js").read_text()
  shown = json.loads(script.removeprefix("const DATA = ").rstrip(";\n"))
  assert sum(map(len, shown["blocks"])) == 75 == page.images
  assert len(list(page.folder.glob("*.jpg"))) == page.blocks == len(shown["blocks"])
  decided = {"format": "jaxface blocks 1", "run": page.run, "decisions": {"p07/1.jpg": "reject", "p07/2.jpg": "accept"}}
  (tmp_path / "d.json").write_text(json.dumps(decided))
  assert [one.path for one in apply_blocks(folder, tmp_path / "d.json").accepted] == ["p07/1.jpg"]

  made = clean_list(folder, tmp_path / "out.tsv")
  assert [(one.stage, one.images) for one in made.table] == [("folder", 80), ("duplicates", 77), ("noise", 75), ("people", 75), ("blocks", 74)]
  assert read_leave_out(tmp_path / "out.tsv") == made.proposals
  assert pack(folder, tmp_path / "packed", leave_out=tmp_path / "out.tsv", processes=1).num_records == 74
  assert digests(folder) == before
  # A stage that is run again makes those after it stale, and says so.
  clean_duplicates(folder, similarity=0.9)
  with pytest.raises(ValueError, match="'duplicates' was run again or removed after stage 'noise'"):
    clean_list(folder)


def test_decisions_of_another_run_and_damaged_ones(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match="no page of blocks yet"):
    apply_blocks(folder, tmp_path / "d.json")
  page = clean_blocks(folder, embeddings=tmp_path / "e.npz")
  for text, message in (
    (json.dumps({"format": "jaxface blocks 1", "run": "0" * 64, "decisions": {}}), "decisions of another run"),
    (json.dumps({"format": "jaxface blocks 1", "run": page.run, "decisions": {"x.jpg": "reject"}}), "images that the page does not show"),
    (json.dumps({"format": "jaxface blocks 1", "run": page.run, "decisions": {"p00/1.jpg": "maybe"}}), "'accept' or 'reject'"),
    ("{", "not a file of decisions"),
  ):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises((ValueError, DamagedData), match=message):
      apply_blocks(folder, tmp_path / "d.json")
  assert not (folder.with_name("faces.cleaning") / "blocks.json").exists()


def write_faces(root, counts):
  """Images, and embeddings by the name of each."""
  generator, names = np.random.default_rng(1), []
  for person, count in enumerate(counts):
    for number in range(count):
      (root / f"q{person}").mkdir(parents=True, exist_ok=True)
      (root / f"q{person}/{number}.jpg").write_bytes(encode_jpeg(photo(generator)))
      names.append(f"q{person}/{number}")
  row_nd = generator.normal(size=(len(names), 8)).astype(np.float32)
  write_embeddings(root.parent / "q.npz", Embeddings(row_nd, names))
  return {"embeddings": root.parent / "q.npz"}


def test_small_folders(tmp_path):
  (tmp_path / "none").mkdir()
  with pytest.raises(ValueError, match="no images"):
    clean_duplicates(tmp_path / "none")
  faces = write_faces(tmp_path / "single", [1, 1, 1])  # one image per identity
  with pytest.raises(ValueError, match="every person has only one image"):
    clean_noise(tmp_path / "single", embeddings=[faces["embeddings"]])
  assert clean_rank(tmp_path / "single", keep=1, **faces).accepted == ()
  two = tmp_path / "more" / "two"  # two identities only
  faces = write_faces(two, [3, 3])
  assert len(clean_rank(two, keep=2, **faces).accepted) == 2
  assert clean_noise(two, embeddings=[faces["embeddings"]]).images == 4
  one = tmp_path / "still" / "one"
  faces = write_faces(one, [3])
  with pytest.raises(ValueError, match="at least two people"):
    clean_rank(one, keep=2, **faces)
  with pytest.raises(ValueError, match="all images have one label"):
    clean_noise(one, embeddings=[faces["embeddings"]])
  with pytest.raises(ValueError, match="lies inside"):
    clean_duplicates(one, work=one / "work")
  (one / "q0/9.jpg").write_bytes((one / "q0/0.jpg").read_bytes())
  with pytest.raises(ValueError, match="have no embedding there"):
    clean_rank(one, keep=2, **faces)
  for path in one.rglob("*.jpg"):
    path.write_bytes(b"junk")
  with pytest.raises(DamagedData, match="can be read"):
    clean_duplicates(one)


def test_the_same_file_under_two_people_is_left_out_twice(tmp_path):
  write_faces(tmp_path / "f", [2, 2])
  (tmp_path / "f/q1/0.jpg").write_bytes((tmp_path / "f/q0/0.jpg").read_bytes())
  made = clean_duplicates(tmp_path / "f")
  assert {one.path for one in made.accepted} == {"q0/0.jpg", "q1/0.jpg"} and "several people" in made.accepted[0].reason


def test_people_are_split_and_merged(tmp_path):
  generator, names, rows = np.random.default_rng(2), [], []
  centre = generator.normal(size=(12, 48))
  who = [(0, 4, 0), (0, 4, 1), *((person, 8, person) for person in range(2, 11)), (11, 6, 2)]  # folder, images, person
  for folder, count, person in who:
    for _ in range(count):
      number = sum(name.startswith(f"p{folder:02d}/") for name in names)
      names.append(f"p{folder:02d}/{number}")
      rows.append(centre[person] / np.linalg.norm(centre[person]) + 0.08 * generator.normal(size=48))
  for name in names:
    (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "f" / f"{name}.jpg").write_bytes(encode_jpeg(photo(generator)))
  write_embeddings(tmp_path / "e.npz", Embeddings(np.array(rows, np.float32), names))
  moved = {one.path: one.identity for one in clean_people(tmp_path / "f", embeddings=tmp_path / "e.npz").accepted}
  split = {path for path, name in moved.items() if name == "p00~2"}
  assert split in ({f"p00/{number}.jpg" for number in range(4)}, {f"p00/{number}.jpg" for number in range(4, 8)})
  assert {path for path, name in moved.items() if name == "p02"} == {f"p11/{number}.jpg" for number in range(6)}
  assert len(moved) == 10


def test_support_vector_machine_against_liblinear():
  generator = np.random.default_rng(0)
  x_nd = generator.normal(size=(120, 6))
  positive_n = x_nd[:, 0] + 0.5 * generator.normal(size=120) > 0.8
  w_d, bias = fit_svm(x_nd, positive_n, cost=0.7)
  other = LinearSVC(C=0.7, tol=1e-9, max_iter=200_000, dual=True).fit(x_nd, positive_n)
  np.testing.assert_allclose(np.r_[w_d, bias], np.r_[other.coef_[0], other.intercept_], atol=1e-5)


@pytest.mark.parametrize("rows", [7, 64])
def test_near_pairs_against_brute_force(rows):
  generator = np.random.default_rng(3)
  hash_nk = generator.integers(0, 256, (50, 4), np.uint8)
  mirrored_nk = generator.integers(0, 256, (50, 4), np.uint8)
  bits_nn = np.minimum(*(np.bitwise_count(hash_nk[:, None] ^ other[None]).sum(-1) for other in (hash_nk, mirrored_nk)))
  pair_p2, bits_p = near_hashes_of_one_set(hash_nk, mirrored_nk, 12, rows=rows)
  expected = np.argwhere(np.triu(bits_nn <= 12, 1))
  np.testing.assert_array_equal(pair_p2, expected)
  np.testing.assert_array_equal(bits_p, bits_nn[tuple(expected.T)])
  unit_nd = generator.normal(size=(50, 5))
  near, value_p = near_vectors(unit_nd, unit_nd[::-1], 1.0, rows=rows)
  value_nn = np.maximum(unit_nd @ unit_nd.T, unit_nd @ unit_nd[::-1].T)
  np.testing.assert_array_equal(near, np.argwhere(np.triu(value_nn >= 1.0, 1)))
  np.testing.assert_allclose(value_p, value_nn[tuple(near.T)], rtol=1e-5)


def test_mutual_neighbours_and_softmax_against_their_definitions():
  generator = np.random.default_rng(4)
  unit_nd = generator.normal(size=(20, 6))
  unit_nd /= np.linalg.norm(unit_nd, axis=1, keepdims=True)
  cosine_nn = unit_nd @ unit_nd.T - 2 * np.eye(20)
  near = [set(np.argsort(-row)[:3].tolist()) for row in cosine_nn]
  pair_p2, score_p = mutual_neighbours(unit_nd, 3)
  assert pair_p2.tolist() == [[i, j] for i in range(20) for j in range(i + 1, 20) if j in near[i] and i in near[j]]
  np.testing.assert_allclose(score_p, [cosine_nn[i, j] for i, j in pair_p2])
  label_n = np.arange(20) % 4
  got = own_softmax(unit_nd, label_n, scale=5.0, rows=6)
  for row in range(20):
    centre = np.array([unit_nd[(label_n == c) & (np.arange(20) != row)].sum(0) for c in range(4)])
    value = np.exp(5 * (centre @ unit_nd[row]) / np.linalg.norm(centre, axis=1))
    np.testing.assert_allclose(got[row], value[label_n[row]] / value.sum(), rtol=1e-6)


def test_blocks_hold_every_image_once():
  tiles = [Tile(f"{person}/{number}", person, number / 10) for person, count in (("a", 5), ("b", 2), ("c", 9)) for number in range(count)]
  blocks = make_blocks(tiles, 4)
  assert {tile.path for block in blocks for tile in block} == {tile.path for tile in tiles}
  assert sum(map(len, blocks)) == len(tiles) and max(map(len, blocks)) <= 4
  assert [tile.path for tile in blocks[0]] == ["a/4", "a/3", "a/2", "a/1"]


def test_names_in_other_spellings(tmp_path):
  test = ["Владимир_Иванов", "Jörg_Müller", "Anna_Kowalska", "John_Smith"]
  found = same_person_names(["Vladimir Ivanov", "Mueller, Joerg", "Ana Kowalska", "J. Smith", "Peter Weiss", "John Wayne"], test)
  assert [(name, other) for name, other, _ in found] == [
    ("Vladimir Ivanov", test[0]), ("Mueller, Joerg", test[1]), ("Ana Kowalska", test[2]), ("J. Smith", test[3])
  ]
  assert (edit_distance("abcd", "abdc"), edit_distance("", "ab"), edit_distance("kitten", "sitting")) == (1, 2, 3)
  (tmp_path / "c.txt").write_text("Peter Weiss\t5\nJohn Wayne\t9\nJ. Smith\t20\nWEISS Peter\t1\n")
  (tmp_path / "t.txt").write_text("\n".join(test))
  made = clean_names(tmp_path / "c.txt", tmp_path / "t.txt", count=1, out=tmp_path / "n.txt", page=tmp_path / "n.html")
  assert made.kept == ("John Wayne",) and made.repeated == 1 and [name for name, _ in made.removed] == ["J. Smith", "Peter Weiss"]
  assert (tmp_path / "n.txt").read_text() == "John Wayne\n"
  (tmp_path / "c.txt").write_text("A\tmuch\n")
  with pytest.raises(ValueError, match="line 1: popularity 'much' is not a number"):
    clean_names(tmp_path / "c.txt")


def test_intake_by_boxes_from_an_archive(tmp_path):
  import zipfile

  image = encode_jpeg(photo(np.random.default_rng(0)))
  with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
    archive.writestr("p/0.jpg", image)
    archive.writestr("p/1.jpg", image)
    archive.writestr("readme.txt", "no image")
  (tmp_path / "b.csv").write_text("path,x0,y0,x1,y1\np/0.jpg,8,8,30,34\n")
  made = clean_intake(tmp_path / "a.zip", tmp_path / "out", boxes=tmp_path / "b.csv", size=24)
  assert (made.photos, made.faces, made.refused) == (2, 1, (("p/1.jpg", "no box"),))
  assert Image.open(tmp_path / "out/p/0.jpg").size == (24, 24) and made.page.is_file()
  with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
    archive.writestr("../out.jpg", image)
  with pytest.raises(ValueError, match="leaves"):
    clean_intake(tmp_path / "bad.zip", tmp_path / "out2", boxes=tmp_path / "b.csv")
  assert not (tmp_path / "out2.photos").exists()


def test_a_list_of_another_folder_is_refused(folder, tmp_path):
  head = "path\taction\tidentity\tstage\tprobability\treason\n"
  for line, message in (("x/0.jpg\tleave out\t\tnoise\t1\twhy\n", "not in .*list of another"), ("p00/0.jpg\tmove\t\tnoise\t1\twhy\n", "line 2")):
    (tmp_path / "l.tsv").write_text(head + line)
    with pytest.raises(ValueError, match=message):
      pack(folder, tmp_path / "packed", leave_out=tmp_path / "l.tsv", processes=1)
