"""Two processes on loopback, each with one device: the losses and figures of one process, half of the batch read by each.

The processes are joined as a user joins them, by the options of the mesh.
"""

import json

import pytest
from harness import run_workers

WORKER = '''
import sys
import jax

index, port, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_platforms", "cpu")
from jaxface.data.config import DataConfig, SyntheticConfig, open_source
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.holdout import holdout_pairs
from jaxface.heads.classification import Classification
from jaxface.inference.verify import VerificationHook
from jaxface.losses.margins import CosFace
from jaxface.models.config import ModelConfig
from jaxface.training.config import Experiment, MeshConfig
from jaxface.training.hosts import join_hosts
from jaxface.training.loop import train
from jaxface.training.workdir import Workdir

mesh = MeshConfig(coordinator=f"127.0.0.1:{port}", processes=2, process_id=index) if port != "0" else MeshConfig()
join_hosts(mesh)
experiment = Experiment(
  mesh=mesh,
  steps=int(sys.argv[4]), batch_size=16, log_every=2, checkpoint_every=3,
  data=DataConfig(synthetic=SyntheticConfig(identities=16, images_per_identity=4, size=16), holdout=0.5),
  model=ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125}),
  terms=(Classification(CosFace(scale=16.0)),),
)
source, holdout = open_source(experiment.data)
pairs = holdout_pairs(holdout.names(), holdout.label_n, pairs=24, folds=2, seed=0)
hook = VerificationHook(VerificationConfig(name="unseen", every=3), holdout, pairs, experiment.model)
train(experiment, Workdir(folder), source, [hook])
'''


def run(folder, steps, hosts):
  run_workers(WORKER, hosts, folder, steps)
  return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.multihost
def test_two_hosts_have_the_losses_of_one(tmp_path):
  alone, pair = run(tmp_path / "one", 6, 1), run(tmp_path / "two", 6, 2)
  assert [row["step"] for row in pair] == [row["step"] for row in alone] == [2, 3, 4, 6, 6]
  for row, expected in zip(pair, alone):
    name = "loss" if "loss" in expected else "unseen/auc"
    assert row[name] == pytest.approx(expected[name], rel=2e-4)
