"""A packed set is resharded, unpacked and counted by one call each."""

import numpy as np
import pytest

from jaxface.formats import RecordSet, describe_records, pack, reshard, unpack, verify_records


@pytest.fixture
def packed(make_folder, tmp_path):
  pack(make_folder((5, 1, 3)), tmp_path / "packed", shard_mb=0.005)
  return tmp_path / "packed"


def test_resharded_records_are_the_same_in_order(packed, tmp_path):
  manifest = reshard(packed, tmp_path / "new", 2)
  old, new = RecordSet.open(packed), RecordSet.open(tmp_path / "new")
  assert [shard.records for shard in manifest.shards] == [4, 5] and verify_records(tmp_path / "new") == []
  assert [bytes(new.payload(row)) for row in range(9)] == [bytes(old.payload(row)) for row in range(9)]
  with pytest.raises(ValueError, match=r"10 shards: .* has 9 records, so 1 to 9 shards can be made"):
    reshard(packed, tmp_path / "other", 10)


def test_unpacked_images_are_those_that_were_packed(packed, tmp_path):
  assert unpack(packed, tmp_path / "back") == 9
  first, again = ({path.relative_to(root): path.read_bytes() for path in root.rglob("*.jpg")} for root in (tmp_path / "faces", tmp_path / "back"))
  assert first == again
  with pytest.raises(FileExistsError):
    unpack(packed, tmp_path / "back")


def test_a_set_is_counted_and_drawn(packed, tmp_path):
  stats = describe_records(packed, svg=tmp_path / "new" / "a.svg", html=tmp_path / "new" / "a.html")
  assert stats.images_per_identity == (5, 1, 3) and stats.figures["records"] == "9"
  assert np.sum(stats.images_per_identity) == 9 and "records  9\n" in str(stats)
  assert "<svg" in (tmp_path / "new" / "a.svg").read_text() and "<table>" in (tmp_path / "new" / "a.html").read_text()
