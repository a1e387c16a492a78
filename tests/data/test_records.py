"""Packed faces as a source: pixels as Pillow sees them, damage found and named, subsets with dense labels."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxface.data.records import RecordSource
from jaxface.data.remember import RememberingSource
from jaxface.data.source import identity_names
from jaxface.data.subset import NamedSource, SubsetSource, split_identities
from jaxface.data.synthetic import SyntheticSource
from jaxface.formats.face import Face
from jaxface.formats.recordset import RecordSet
from jaxface.formats.writer import write_recordset


def read(source, record_n):
  out = np.zeros((len(record_n), *source.image_shape), np.uint8)
  return out, source.read(np.asarray(record_n), out)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_pixels_are_those_that_pillow_decodes(packed, threads):
  records = RecordSet.open(packed)
  source = RecordSource(records, threads)
  record_n = np.random.default_rng(1).permutation(source.num_records)
  image_nhwc, errors = read(source, record_n)
  assert not errors
  for image_hwc, record in zip(image_nhwc, record_n):
    by_pillow = np.asarray(Image.open(io.BytesIO(records.image(int(record)))))
    # Two builds of libjpeg may round differently by one step.
    np.testing.assert_allclose(image_hwc.astype(int), by_pillow.astype(int), atol=1)
  assert source.names()[3] == "person2/face_0000" and source.image_shape == (16, 16, 3)
  assert read(source, [])[1] == []


def parts_of(records: RecordSet, record: int) -> dict[str, int]:
  """A byte of each part of a record, by its offset in the file."""
  file, start = records.place(record)
  length = int.from_bytes(file.read_bytes()[start : start + 8], "little")
  at = file.read_bytes().index(bytes(records.image(record)), start)
  return {
    "length": start + 1,
    "checksum of the length": start + 9,
    "field names": start + 15,
    "image header": at + 1,
    "pixels": at + len(records.image(record)) // 2,
    "last byte": start + 12 + length - 1,
    "checksum": start + 12 + length + 2,
  }


def flip(file: Path, offset: int) -> None:
  content = bytearray(file.read_bytes())
  content[offset] ^= 0x10
  file.write_bytes(content)


@pytest.mark.parametrize(
  "part", ["length", "checksum of the length", "field names", "image header", "pixels", "last byte", "checksum"]
)
def test_a_flipped_byte_anywhere_is_found_and_named(packed, part):
  before = RecordSet.open(packed)
  record = 17
  file, offset = before.place(record)
  clean, _ = read(RecordSource(before, 1), [16, 18])
  flip(file, parts_of(before, record)[part])
  image_nhwc, errors = read(RecordSource(RecordSet.open(packed), 2), [16, record, 18, record])
  assert [(error.row, error.record, error.file, error.offset) for error in errors] == [
    (1, record, str(file), offset),
    (3, record, str(file), offset),
  ]
  assert f"record {record}" in str(errors[0]) and file.name in str(errors[0])
  np.testing.assert_array_equal(image_nhwc[[0, 2]], clean)


def face_set(folder, images):
  faces = [Face(image, 0, f"a/{number}", number) for number, image in enumerate(images)]
  write_recordset(folder, faces, ["a"], image_size=(16, 16, 3))
  return RecordSource(RecordSet.open(folder), 2)


def encoded(shape, form, mode="RGB", **options):
  file = io.BytesIO()
  Image.fromarray(np.full((*shape, 3), 200, np.uint8)).convert(mode).save(file, form, **options)
  return file.getvalue()


def test_other_formats_are_decoded_too(tmp_path):
  images = [encoded((16, 16), "PNG"), encoded((16, 16), "JPEG", "L"), encoded((16, 16), "JPEG", "CMYK")]
  image_nhwc, errors = read(face_set(tmp_path / "set", images), [0, 1, 2])
  assert not errors
  np.testing.assert_allclose(image_nhwc.astype(int), 200, atol=2)


def test_images_that_cannot_fill_a_row_are_named(tmp_path):
  whole = encoded((16, 16), "JPEG")
  images = [whole, encoded((8, 16), "JPEG"), encoded((64, 64), "JPEG"), encoded((8, 8), "PNG"), whole[:-40], b"no image"]
  source = face_set(tmp_path / "set", images)
  _, errors = read(source, range(6))
  assert [error.record for error in errors] == [1, 2, 3, 4, 5]
  assert "(8, 16, 3), but the manifest has (16, 16, 3)" in str(errors[0])
  assert "(64, 64, 3)" in str(errors[1]) and "(8, 8, 3)" in str(errors[2])
  assert all(source.records.place(0)[0].name in str(error) for error in errors)


COUNTED = st.lists(st.integers(0, 6), min_size=3, max_size=40)


@given(COUNTED, st.integers(1, 4), st.floats(0, 0.6), st.integers(0, 99))
def test_split_is_disjoint_filtered_and_seeded(counts, min_images, holdout, seed):
  label_n = np.repeat(np.arange(len(counts)), counts)
  kept = {label for label, count in enumerate(counts) if count >= min_images}
  held = max(round(holdout * len(kept)), 1) if holdout else 0
  if len(kept) <= held:
    with pytest.raises(ValueError, match="no identity is left"):
      split_identities(label_n, min_images=min_images, holdout=holdout, seed=seed)
    return
  train_i, holdout_i = split_identities(label_n, min_images=min_images, holdout=holdout, seed=seed)
  assert len(holdout_i) == held
  assert set(train_i) | set(holdout_i) == kept and not set(train_i) & set(holdout_i)
  again = split_identities(label_n, min_images=min_images, holdout=holdout, seed=seed)
  np.testing.assert_array_equal(again[1], holdout_i)


def test_holdout_depends_on_the_seed():
  label_n = np.arange(100)
  held = [set(split_identities(label_n, holdout=0.2, seed=seed)[1]) for seed in (0, 1)]
  assert len(held[0] & held[1]) < 12


@pytest.mark.parametrize("holdout", [-0.1, 1.0])
def test_a_holdout_that_is_no_share_is_refused(holdout):
  with pytest.raises(ValueError, match="share of the identities"):
    split_identities(np.arange(9), holdout=holdout)


def test_subset_maps_labels_and_records_as_documented(packed):
  source = RecordSource(RecordSet.open(packed), 2)
  subset = SubsetSource(source, np.array([9, 3, 4]))
  assert (subset.num_identities, subset.num_records) == (3, 5 + 8 + 10)
  np.testing.assert_array_equal(np.unique(subset.label_n), [0, 1, 2])
  np.testing.assert_array_equal(subset.identity_i[subset.label_n], source.label_n[subset.record_n])
  assert subset.names() == [name for name in source.names() if name.split("/")[0] in ("person3", "person4", "person9")]
  record_n = np.array([22, 0, 7])
  np.testing.assert_array_equal(read(subset, record_n)[0], read(source, subset.record_n[record_n])[0])


def test_identities_keep_their_names_in_a_subset(packed):
  source = RecordSource(RecordSet.open(packed), 2)
  subset = SubsetSource(source, np.array([9, 3, 4]))
  assert identity_names(subset) == ["person3", "person4", "person9"]
  by_record = [name.split("/")[0] for name in subset.names()]
  assert [identity_names(RememberingSource(subset))[label] for label in subset.label_n] == by_record
  assert identity_names(SyntheticSource(2, 1, 16, seed=7)) != identity_names(SyntheticSource(2, 1, 16, seed=8))
  assert identity_names(object()) is None


def test_records_are_chosen_by_name(packed):
  source = RecordSource(RecordSet.open(packed), 2)
  names = source.names()
  chosen = NamedSource(source, {names[20], names[3], "nobody"})
  assert chosen.names() == [names[3], names[20]] and chosen.num_records == 2
  np.testing.assert_array_equal(chosen.label_n, source.label_n[[3, 20]])
  np.testing.assert_array_equal(read(chosen, np.array([1, 0]))[0], read(source, np.array([20, 3]))[0])


def test_errors_of_a_subset_name_the_records_of_the_files(packed):
  records = RecordSet.open(packed)
  flip(records.place(30)[0], parts_of(records, 30)["pixels"])
  subset = SubsetSource(RecordSource(RecordSet.open(packed), 1), np.array([9]))
  _, errors = read(subset, np.arange(10))
  assert [(error.row, error.record) for error in errors] == [(0, 30)]


@pytest.mark.real_data
def test_real_faces_decode_as_opencv_decodes_them(face_data, tmp_path):
  cv2 = pytest.importorskip("cv2")
  files = sorted((face_data / "lfw_aligned112").glob("A*/*.jpg"))[:64]
  faces = [Face(file.read_bytes(), 0, f"a/{file.stem}", number) for number, file in enumerate(files)]
  write_recordset(tmp_path / "set", faces, ["a"], image_size=(112, 112, 3), template="arcface112")
  image_nhwc, errors = read(RecordSource(RecordSet.open(tmp_path / "set")), np.arange(len(files)))
  assert not errors
  for file, image_hwc in zip(files, image_nhwc):
    by_opencv = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    assert np.abs(by_opencv.astype(int) - image_hwc).mean() < 1
