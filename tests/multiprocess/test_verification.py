"""Hosts share the images of an evaluation set: every figure and every embedding is, bit for bit, that of one host; so is its failure."""

import json

import pytest
from harness import run_workers

HOOK = '''
import hashlib
import json
import sys

import numpy as np

class Noise:
  """301 images of 43 people: neither two hosts, nor three, nor batches of 128 divide them."""

  image_shape, template = (16, 16, 3), "none"
  num_records, num_identities = 301, 43
  label_n = np.repeat(np.arange(43, dtype=np.int32), 7)

  def names(self):
    return [f"person{record // 7}/{record}" for record in range(301)]

  def read(self, record_n, out):
    for row, record in enumerate(record_n):
      face = np.random.default_rng(record // 7).integers(0, 200, self.image_shape)
      out[row] = face + np.random.default_rng(1000 + record).integers(0, 56, self.image_shape)
    return []

def verify():
  """Figures as text, and a digest of all embeddings."""
  import jax
  from jaxface.evaluation.config import VerificationConfig
  from jaxface.evaluation.pairs.holdout import holdout_pairs
  from jaxface.inference import verify as module
  from jaxface.models.config import ModelConfig, make_model
  from jaxface.models.saved import variable_shapes

  model = ModelConfig("smallresnet", size=16, embedding_size=8, options={"patch": 2, "widths": (4, 8), "units": (1, 0)})
  _, options, preprocess = make_model(model, "none")
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: rng.uniform(0.1, 0.5, leaf.shape).astype(np.float32), variable_shapes("smallresnet", options, preprocess)
  )
  source, embedded = Noise(), []
  pairs = holdout_pairs(source.names(), source.label_n, pairs=200, folds=4, seed=0)
  hook = module.VerificationHook(VerificationConfig(name="set"), source, pairs, model, devices=1)
  shared = module.embed_shared
  module.embed_shared = lambda *given, **named: embedded.append(shared(*given, **named)) or embedded[-1]
  try:
    row = hook(1, variables)
  finally:
    module.embed_shared = shared
  row.pop("set/images_per_second")
  embedding_nd = embedded[0][0]
  assert embedding_nd.shape == (301, 8) and np.isfinite(embedding_nd).all()
  return json.dumps([row, hashlib.sha256(embedding_nd.tobytes()).hexdigest(), closed_set(source, module, model)])

def closed_set(source, module, model):
  """Rows of a closed set: of a good step; of a failure of the last host, then of the first; of a good step again."""
  import tempfile
  import warnings
  from pathlib import Path

  import jax
  import jax.numpy as jnp
  from jaxface.evaluation.config import VerificationConfig
  from jaxface.evaluation.protocols.registry import read_protocol

  def fail(*given):
    raise OSError("no space left")

  with tempfile.TemporaryDirectory() as folder:
    lines = [f"{name} {name.split('/')[0]} {'gallery' if at % 7 < 3 else 'probe'}" for at, name in enumerate(source.names())]
    (Path(folder) / "closed_set.txt").write_text("\\n".join(lines))
    rules = read_protocol("closed-set", folder)
  config = VerificationConfig(name="closed", protocol="closed-set", pairs="there")
  hook = module.VerificationHook(config, source, rules, model, devices=1)
  embed = hook._embed = jax.jit(lambda variables, image_bhwc: image_bhwc.reshape(len(image_bhwc), -1)[:, ::200].astype(jnp.float32) - 127)
  rows = [hook(1, {})]
  with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    if jax.process_index() == jax.process_count() - 1:
      hook._embed = fail
    rows.append(hook(2, {}))
    rows[-1]["told"] = hook.failure.endswith("no space left")
    hook._embed = embed
    if jax.process_index() == 0:
      hook.evaluate = fail
    rows.append(hook(3, {}))
    rows[-1]["told"] = hook.failure.endswith("no space left")
  assert len(told) == (jax.process_index() == 0), told
  hook.__dict__.pop("evaluate", None)
  rows.append(hook(4, {}))
  for row in rows:
    row.pop("closed/images_per_second", None)
  assert rows[0] == rows[3] and 0 < rows[0]["score"] < 1, rows
  assert rows[1] == rows[2] == {"closed/failed": 1.0, "told": True}, rows
  return rows
'''

WORKER = HOOK + '''
import jax
jax.config.update("jax_platforms", "cpu")
from jaxface.training.config import MeshConfig
from jaxface.training.hosts import join_hosts

count = int(sys.argv[3])
join_hosts(MeshConfig(coordinator=f"127.0.0.1:{sys.argv[2]}", processes=count, process_id=int(sys.argv[1])))
assert jax.process_count() == count
print("\\n" + verify())
'''


@pytest.fixture(scope="module")
def alone():
  space = {}
  exec(HOOK, space)
  return space["verify"]()


@pytest.mark.parametrize("hosts", [2, pytest.param(3, marks=pytest.mark.multihost)])
def test_hosts_that_share_a_set_have_the_bits_of_one(alone, hosts):
  said = [out.splitlines()[-1] for out in run_workers(WORKER, hosts, hosts)]
  assert [json.loads(line) for line in said] == [json.loads(alone)] * hosts
