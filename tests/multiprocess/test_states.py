"""Two processes write one state, each its own files; what one of them finds damaged, both pass over."""

import json

import pytest
from harness import run_workers

WORKER = '''
import sys
import jax

index, port, folder, step = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
jax.config.update("jax_platforms", "cpu")
if port != "0":
  jax.distributed.initialize(f"127.0.0.1:{port}", 2, index, cluster_detection_method="deactivate")
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxface.checkpoint import Checkpoints, shapes_with_shardings

mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(AxisType.Auto,))
shardings = {"center_cd": NamedSharding(mesh, P("all")), "step": NamedSharding(mesh, P())}
make = lambda step: {"center_cd": jnp.arange(512.0).reshape(64, 8) + step, "step": jnp.int32(step)}
checkpoints = Checkpoints(folder, keep=2)
if step:
  for each in (step, step + 1):
    checkpoints.save(each, jax.jit(make, out_shardings=shardings)(each))
    checkpoints.save_if_best(each, jax.jit(make, out_shardings=shardings)(each), 1.0 / each)
else:
  found = checkpoints.restore(shapes_with_shardings(jax.eval_shape(make, 0), shardings))
  same = all(np.array_equal(shard.data, np.arange(512.0).reshape(64, 8)[shard.index] + int(found["step"]))
             for shard in found["center_cd"].addressable_shards)
  print(int(found["step"]), same, len(checkpoints.take_notes()), checkpoints.latest_step)
checkpoints.close()
'''


def run(folder, step, hosts):
  return [said.split()[-4:] for said in run_workers(WORKER, hosts, folder, step)]  # behind what Gloo says


@pytest.mark.multihost
def test_two_hosts_pass_over_what_one_of_them_finds_damaged(tmp_path):
  run(tmp_path, 4, 2)
  newest = tmp_path / "last" / "5"
  lists = [json.loads((newest / f"checksums-{host}.json").read_text())["files"] for host in (0, 1)]
  assert any("process_1" in name for name in lists[1]) and not any("process_1" in name for name in lists[0])
  listed = {*lists[0], *lists[1]}
  assert listed == {str(path.relative_to(newest)) for path in newest.rglob("*") if path.is_file() and path.parent != newest}
  assert [path.name for path in (tmp_path / "best").iterdir()] == ["4"]
  assert run(tmp_path, 0, 2) == [["5", "True", "0", "5"]] * 2
  assert run(tmp_path, 0, 1) == [["5", "True", "0", "5"]]
  data = max((path for path in newest.rglob("ocdbt.process_1/d/*")), key=lambda path: path.stat().st_size)
  content = bytearray(data.read_bytes())
  content[len(content) // 2] ^= 1
  data.write_bytes(content)
  assert run(tmp_path, 0, 2) == [["4", "True", "1", "4"]] * 2
  assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["4", "5.damaged"]
