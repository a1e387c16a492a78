"""States in another folder or in a bucket, while log, lock and model stay in the workdir."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxface.checkpoint import as_path
from jaxface.training.interrupt import Interrupted
from jaxface.training.workdir import Workdir

# TensorStore reads the bucket's address when it is first used, so the run is a process of its own.
RUN = '''
import os, sys
from pathlib import Path
from etils.epath import gpath
from bucket import in_folder, serve

root = Path(sys.argv[1])
server = serve(root)
os.environ |= {"TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{server.server_port}", "GCE_METADATA_ROOT": "127.0.0.1:1"}
gpath._PREFIX_TO_BACKEND["gs"] = in_folder(root)
import jax
import jax.numpy as jnp
import numpy as np
from jaxface.checkpoint import Checkpoints, holds_states

def state(step):
  return {"w": jax.random.normal(jax.random.key(step), (300, 16)), "step": jnp.int32(step)}

def same(tree, step):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, tree, state(step))))

states = "gs://bucket/run/states"
checkpoints = Checkpoints(states)
for step in (1, 2, 3):
  checkpoints.save(step, state(step))
assert checkpoints.save_if_best(3, state(3), 0.5)
checkpoints.close()
assert holds_states(states)
checkpoints = Checkpoints(states)
assert same(checkpoints.restore(state(0)), 3) and same(checkpoints.restore(state(0), best=True), 3)
data = max((root / "bucket/run/states/last/3").rglob("*"), key=lambda path: path.stat().st_size)
content = bytearray(data.read_bytes())
content[len(content) // 2] ^= 1
data.write_bytes(content)
assert same(checkpoints.restore(state(0)), 2)
assert data.name in checkpoints.take_notes()[0]
checkpoints.close()
print(sorted(path.name for path in (root / "bucket/run/states/last").iterdir()))
'''


def test_states_in_a_bucket(tmp_path):
  (tmp_path / "bucket").mkdir()
  paths = [*sys.path, str(Path(__file__).parents[1] / "checkpoint")]
  done = subprocess.run(
    [sys.executable, "-c", RUN, str(tmp_path)], env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True,
    text=True, timeout=240,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.split("\n")[0] == "['2', '3.damaged']"


def test_states_elsewhere_go_on_without_the_workdir_and_are_compared(experiment, source, tmp_path, run, stop_at):
  straight, _ = run(experiment, source, tmp_path / "straight")
  elsewhere = replace(experiment, checkpoints=str(tmp_path / "disk" / "states"))
  with pytest.raises(Interrupted):
    run(elsewhere, source, tmp_path / "first", [stop_at(6)])
  assert not (tmp_path / "first" / "checkpoints").exists()
  with pytest.raises(ValueError, match=r"seed: 0 then, 1 now"):
    run(replace(elsewhere, seed=1), source, tmp_path / "second")
  trained, rows = run(elsewhere, source, tmp_path / "second")
  np.testing.assert_equal(trained.variables, straight.variables)
  assert [row["step"] for row in rows] == [9, 12]


def test_what_no_bucket_can_be_is_refused_in_words(tmp_path):
  with pytest.raises(ValueError, match="--checkpoints gs://bucket/run for the states"):
    Workdir("gs://bucket/run")
  with pytest.raises(ValueError, match=r"Orbax does not write to s3://\. Mount the bucket"):
    as_path("s3://bucket/run")
  if importlib.util.find_spec("gcsfs") is None:
    with pytest.raises(ValueError, match="pip install gcsfs"):
      as_path("gs://bucket/run")
