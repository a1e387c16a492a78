"""From a config to a source and an order."""

from dataclasses import replace

import numpy as np
import pytest

from jaxface.data.config import DataConfig, SyntheticConfig, make_order, open_records, open_source
from jaxface.data.order import BalancedOrder, UniformOrder
from jaxface.data.triplets import mine
from jaxface.formats.embeddings import Embeddings, write_embeddings


def test_a_packed_set_is_opened_whole(packed):
  source, holdout = open_source(DataConfig(records=str(packed), threads=1))
  assert source.num_records == 40 and source.num_identities == 10 and holdout is None
  assert open_records(packed, 3).threads == 3


def test_filter_and_holdout_are_disjoint_with_dense_labels(packed):
  whole = open_records(packed)
  source, holdout = open_source(DataConfig(records=str(packed), min_images=3, holdout=0.4, seed=1))
  assert (source.num_identities, holdout.num_identities) == (4, 2)
  names = [{name.split("/")[0] for name in part.names()} for part in (source, holdout)]
  assert not names[0] & names[1]
  images = {f"person{label}": count for label, count in enumerate(np.bincount(whole.label_n))}
  assert all(images[name] >= 3 for name in names[0] | names[1])
  for part in (source, holdout):
    assert set(part.label_n) == set(range(part.num_identities))


def test_without_records_faces_are_rendered():
  faces = SyntheticConfig(identities=10, images_per_identity=2, size=32)
  source, holdout = open_source(DataConfig(synthetic=faces, holdout=0.2))
  assert (source.num_identities, holdout.num_identities) == (8, 2)
  assert source.image_shape == holdout.image_shape == (32, 32, 3)
  assert source.num_records == 16 and not set(source.names()) & set(holdout.names())


def test_orders(packed):
  source = open_records(packed)
  assert isinstance(make_order(DataConfig(), source, 8), UniformOrder)
  config = DataConfig(order="balanced", identities_per_batch=3, images_per_identity=2)
  order = make_order(config, source, 8, seed=5)
  assert isinstance(order, BalancedOrder)
  assert (order.batch_size, order.extra, order.seed) == (8, 2, 5)
  with pytest.raises(ValueError, match=r"3 × data\.images_per_identity 2 is more than the batch of 4"):
    make_order(config, source, 4)


def test_triplets_are_mined_among_the_records_that_are_trained_on(packed, tmp_path):
  whole = open_records(packed)
  drawn_nd = np.random.default_rng(0).normal(size=(whole.num_records, 4)).astype(np.float32)
  # Another order than the records', and a name that is none of them.
  backward = [*whole.names()[::-1], "stranger/1"]
  write_embeddings(tmp_path / "e.npz", Embeddings(np.concatenate([drawn_nd[::-1], drawn_nd[:1]]), backward))
  config = DataConfig(records=str(packed), min_images=3, order="triplets", embeddings=str(tmp_path / "e.npz"), mining="hard")
  source, _ = open_source(config)
  order = make_order(config, source, 6, seed=2)
  row_n = [whole.names().index(name) for name in source.names()]
  np.testing.assert_array_equal(order.triplet_t3, mine(drawn_nd[row_n], source.label_n, mining="hard"))
  assert order.seed == 2
  with pytest.raises(ValueError, match="batch of 8 would split a triplet"):
    make_order(config, source, 8)
  write_embeddings(tmp_path / "few.npz", Embeddings(drawn_nd[:5], whole.names()[:5]))
  with pytest.raises(ValueError, match=r"few\.npz has no embedding of .* records, such as"):
    make_order(replace(config, embeddings=str(tmp_path / "few.npz")), source, 6)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"order": "random"}, "data.order is 'random', should be one of uniform, balanced, triplets"),
    ({"order": "triplets"}, "mined from data.embeddings"),
    ({"mining": "all"}, "data.mining is 'all', should be one of semi_hard, hard, easy"),
    ({"on_damage": "ignore"}, "data.on_damage is 'ignore', should be one of substitute, raise"),
    ({"holdout": 1.0}, "data.holdout is 1.0"),
    ({"min_images": 0}, "data.min_images is 0, should be at least 1"),
  ],
)
def test_wrong_fields_say_what_would_do(fields, message):
  with pytest.raises(ValueError, match=message):
    DataConfig(**fields)


def test_images_must_be_packed_first():
  with pytest.raises(ValueError, match="tfrecords_tools pack faces OUT"):
    open_source(DataConfig(images="faces"))


def test_no_packed_set_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=str(tmp_path)):
    open_source(DataConfig(records=str(tmp_path)))
