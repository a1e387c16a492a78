"""Verification in a run whose images cannot all be read; hosts that share them are in `tests/multiprocess`."""

import warnings

import numpy as np
import pytest

from jaxface.data.source import UnreadableRow
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.holdout import holdout_pairs
from jaxface.formats.errors import DamagedData
from jaxface.inference.shared import embed_shared
from jaxface.inference.verify import VerificationHook
from jaxface.models.config import ModelConfig

MODEL = ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125})


class Noise:
  """Sixteen people with four images each; records of `bad` cannot be read."""

  image_shape, template = (16, 16, 3), "none"
  num_records, num_identities = 64, 16
  label_n = np.repeat(np.arange(16, dtype=np.int32), 4)

  def __init__(self, bad=()):
    self.bad = set(bad)

  def names(self):
    return [f"person{record // 4}/{record}" for record in range(64)]

  def read(self, record_n, out):
    for row, record in enumerate(record_n):
      out[row] = np.random.default_rng(record // 4).integers(0, 256, self.image_shape) // 2 + record
    return [
      UnreadableRow(DamagedData("is bad", file="f", record=record), row)
      for row, record in enumerate(np.asarray(record_n).tolist()) if record in self.bad
    ]


@pytest.fixture(scope="module")
def variables(random_model):
  return random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=8).variables


def hook(bad, on_damage):
  source = Noise(bad)
  pairs = holdout_pairs(source.names(), source.label_n, pairs=40, folds=4, seed=0)
  return VerificationHook(VerificationConfig(name="lfw"), source, pairs, MODEL, on_damage=on_damage)


def test_pairs_of_an_image_that_cannot_be_read_are_left_out_counted_and_told_once(variables):
  whole = hook((), "substitute")
  whole(1, variables)
  gone = whole.pairs.left[0]
  record = whole.source.names().index(gone)
  damaged = hook({record}, "substitute")
  with pytest.warns(RuntimeWarning, match=rf"verification lfw: f, record {record}: is bad\. \d+ of 40 pairs are ignored") as told:
    row = damaged(1, variables)
  assert len(told) == 1 and row["lfw/unreadable_images"] == 1
  kept = [pair for pair in range(40) if gone not in (whole.pairs.left[pair], whole.pairs.right[pair])]
  np.testing.assert_array_equal(damaged.latest.score_p, whole.latest.score_p[kept])
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    damaged(2, variables)


def test_such_an_image_ends_the_run_where_damage_is_to_end_it(variables):
  with pytest.raises(DamagedData, match=r"f, record 5: is bad"):
    hook({5}, "raise")(1, variables)


def test_a_set_that_is_mostly_lost_ends_the_run(variables):
  with pytest.raises(DamagedData, match=r"f, record 0: is bad\. 40 of 64 images cannot be used"):
    hook(range(40), "substitute")(1, variables)


def test_without_records_there_are_no_embeddings():
  source = Noise()
  source.num_records = 0
  embedding_nd, unreadable = embed_shared(lambda *given: None, {}, source)
  assert len(embedding_nd) == 0 and not unreadable
