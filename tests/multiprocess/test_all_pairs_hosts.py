"""Processes that share all pairs of a set have the figures of one, bit for bit; a damaged row is the same error on all of them."""

import json

import pytest
from harness import run_workers

FIGURES = '''
import json
import sys

import numpy as np

def figures(hosts):
  """Figures as text, of one set and of probes with a gallery, with ties and for targets that take several passes."""
  from jaxface.evaluation import all_pairs_intervals, all_pairs_tar_at_far, count_all_pairs
  random = np.random.default_rng(0)
  label_n = random.integers(0, 60, 303)
  embedding_nd = (random.normal(size=(60, 8))[label_n] + random.normal(size=(303, 8))).astype(np.float32)
  embedding_nd[200:210] = embedding_nd[0]
  targets = [0.0, 1e-4, 0.01, 0.3, 1.0]
  gallery = {"gallery_md": embedding_nd[100:], "gallery_label_m": label_n[100:]}
  found = [all_pairs_tar_at_far(embedding_nd, label_n, targets, rows=32, hosts=hosts)]
  found.append(all_pairs_tar_at_far(embedding_nd[:100], label_n[:100], targets, **gallery, rows=32, hosts=hosts))
  intervals = all_pairs_intervals(embedding_nd, label_n, [0.01, 0.1], rows=32, hosts=hosts)
  counts = count_all_pairs(embedding_nd, label_n, [-1.0, 0.2, 0.5], rows=32, hosts=hosts)
  said = []
  for bad in (0, 40, 302):  # each block is read by one process
    wrong_nd = embedding_nd.copy()
    wrong_nd[bad] = np.nan
    try:
      all_pairs_tar_at_far(wrong_nd, label_n, [0.01], rows=32, hosts=hosts)
    except ValueError as error:
      said.append(str(error))
  return json.dumps([str(found), str(intervals), [count.tolist() for count in counts[1:3]], said])
'''

WORKER = FIGURES + '''
import jax
jax.config.update("jax_platforms", "cpu")
from jaxface.training.config import MeshConfig
from jaxface.training.hosts import join_hosts

count = int(sys.argv[3])
join_hosts(MeshConfig(coordinator=f"127.0.0.1:{sys.argv[2]}", processes=count, process_id=int(sys.argv[1])))
assert jax.process_count() == count
print("\\n" + figures(True))
'''


@pytest.fixture(scope="module")
def alone():
  space = {}
  exec(FIGURES, space)
  return json.loads(space["figures"](False))


@pytest.mark.parametrize("hosts", [2, pytest.param(3, marks=pytest.mark.multihost)])
def test_hosts_that_share_the_pairs_have_the_bits_of_one(alone, hosts):
  said = [json.loads(out.splitlines()[-1]) for out in run_workers(WORKER, hosts, hosts)]
  assert said == [alone] * hosts
  assert [text.split(":")[0] for text in alone[3]] == ["row 0", "row 40", "row 302"]


def test_one_process_may_ask_for_hosts(alone):
  space = {}
  exec(FIGURES, space)
  assert json.loads(space["figures"](True)) == alone
