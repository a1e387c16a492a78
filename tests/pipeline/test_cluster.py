"""What `doctor --cluster` makes of what processes have, without processes; the published links; all-reduces over forced devices."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.pipeline.cluster import ClusterReport, Link, check_cluster, odd_ones, slow_ones
from jaxface.pipeline.cluster_facts import folder_faults
from jaxface.training.bandwidth import bus_rate, measure_all_reduce
from jaxface.training.config import Experiment, MeshConfig
from jaxface.training.links import GPUS, TPUS, Expected, expected_rate, network_interfaces


def link(name, rate, expected=None, right=True):
  return Link(name, 2, 10**6, 1e-3 / rate, Expected(expected, "a test"), right)  # 2 devices: bytes / seconds


def test_the_process_that_differs_is_named_with_what_it_has():
  most = {"steps": 5, "package jax": "0.10.2"}
  assert odd_ones([most, most, most]) == []
  assert odd_ones([most, {**most, "steps": 6}, most]) == ["process 1: steps is 6, the others have 5"]
  assert odd_ones([most, most, {"package jax": "0.10.2"}]) == ["process 2: steps is absent, the others have 5"]
  assert odd_ones([most, {**most, "steps": 6}]) == ["steps: 5 on process 0; 6 on process 1"]
  digests = [{"data, sha": letter * 64} for letter in "aba"]
  assert odd_ones(digests) == ["process 1: data, sha is bbbbbbbbbbbb…, the others have aaaaaaaaaaaa…"]
  assert odd_ones([{"data": "cannot be read: gone"}] * 2) == ['all processes: data: "cannot be read: gone"']


@given(st.lists(st.integers(0, 2), min_size=1, max_size=7))
def test_who_is_with_the_majority_is_not_accused(values):
  lines = odd_ones([{"fact": value} for value in values])
  most = [value for value in set(values) if 2 * values.count(value) > len(values)]
  assert (lines == []) == (len(set(values)) == 1)
  if most and lines:
    accused = {int(word) for line in lines for word in line.partition(": fact is")[0].replace("process ", "").split(", ")}
    assert accused == {index for index, value in enumerate(values) if value != most[0]}


def test_who_does_not_share_the_folder_is_named():
  def access(*sees, error=()):
    return [{"path": f"/{index}", "error": "full" if index in error else "", "sees": list(one)} for index, one in enumerate(sees)]

  assert folder_faults(access((0, 1, 2), (0, 1, 2), (0, 1, 2))) == []
  assert folder_faults(access((0, 1), (0, 1), (2,))) == ["process 2: folder of the run: /2 is not shared: the files of process 0, 1 do not appear"]
  assert len(folder_faults(access((0,), (1,)))) == 2
  assert folder_faults(access((0, 2), (), (0, 2), error=(1,))) == ["process 1: folder of the run: full"]


def test_slow_links():
  assert slow_ones([link("data", 60.0, 100.0), link("within 0", 5.0), link("within 1", 5.0)]) == []
  assert slow_ones([link("data", 49.0, 100.0)]) == ["data: 49 GB/s, less than half of the expected 100 GB/s (a test)"]
  like = [link(f"within {index}", 2.0 if index == 1 else 5.0) for index in range(4)]
  assert slow_ones(like) == ["within process 1: 2 GB/s, less than half of the median 5 GB/s of its like"]
  assert "the sum over the devices is wrong" in slow_ones([link("data", 9.0, right=False)])[0]
  report = ClusterReport([{"host": "a", "kind": "k", "devices": 1, "device_memory": 2**34, "cores": 2}], {"data": 1}, [8], [link("data", 5.0)], ["bad"])
  assert "16.0 GiB" in str(report) and str(report).endswith("fault: bad\n1 fault") and report.to_json()["links"][0]["gigabytes_per_second"] == pytest.approx(5)


def rate(kind, *, devices=8, hosts=1, coords=None, slices=1, network=0.0):
  return expected_rate(
    [kind] * devices, [f"h{index * hosts // devices}" for index in range(devices)], coords or [()] * devices,
    [index * slices // devices for index in range(devices)], network,
  )


def grid(*sizes):
  return [tuple(map(int, one)) for one in np.ndindex(*sizes)]


def test_published_links_by_topology():
  # v5e: Google gives an all-reduce bandwidth of 51.2 TB/s for the pod of 256 chips, which is 200 GB/s for each.
  pod = rate("TPU v5 lite", devices=256, coords=grid(16, 16, 1))
  assert pod.rate == 200.0 == 51.2e3 / 256 and "4 ports of 50 GB/s, slice of 16x16" in pod.why
  assert rate("TPU v6 lite", devices=256, coords=grid(16, 16, 1)).rate == 102.4e3 / 256
  assert rate("TPU v5 lite", devices=64, coords=grid(8, 8, 1)).rate == 100.0  # an open grid: one port of each dimension
  assert rate("TPU v5", devices=64, coords=grid(4, 4, 4)).rate == 600.0 and rate("TPU v4", devices=32, coords=grid(2, 4, 4)).rate == 150.0
  assert rate("TPU v5", devices=4, coords=grid(2, 2, 1)).rate == 200.0
  assert rate("TPU v5 lite", devices=8, coords=grid(8, 1, 1), slices=2).rate == 3.125
  assert rate("TPU v4", devices=8, coords=grid(8, 1, 1), slices=2).rate is None
  assert rate("NVIDIA H100 80GB HBM3").rate == 450.0 and rate("NVIDIA H100 PCIe").rate == 64.0 and rate("NVIDIA A100-PCIE-40GB").rate == 32.0
  assert rate("NVIDIA H100 80GB HBM3", hosts=2, network=400.0).rate == 400.0 and rate("NVIDIA L4", hosts=2, network=400.0).rate == 32.0
  assert rate("NVIDIA H100 80GB HBM3", hosts=2).rate is None and rate("cpu").rate is None and rate("cpu", hosts=2, network=12.5).rate == 12.5
  assert "several kinds" in expected_rate(["a", "b"], ["h", "h"], [()] * 2, [0, 0], 0.0).why
  assert all(one.source for one in (*TPUS, *GPUS))


def test_network_interfaces_are_those_that_the_kernel_reports_as_up(tmp_path):
  def interface(name, speed, state="up", *, device=True):
    folder = tmp_path / "net" / name
    (folder / "device").mkdir(parents=True) if device else folder.mkdir(parents=True)
    (folder / "speed").write_text(f"{speed}\n")
    (folder / "operstate").write_text(f"{state}\n")

  assert network_interfaces(tmp_path) == {}
  for one in (("eth0", 100_000), ("eth1", 25_000, "down"), ("wifi", -1)):
    interface(*one)
  interface("bridge", 10_000, device=False)
  assert network_interfaces(tmp_path) == {"eth0": 12.5}
  for name, state in (("mlx5_0", "4: ACTIVE"), ("mlx5_1", "1: DOWN")):
    port = tmp_path / "infiniband" / name / "ports" / "1"
    port.mkdir(parents=True)
    (port / "state").write_text(state)
    (port / "rate").write_text("400 Gb/sec (4X NDR)")
  assert network_interfaces(tmp_path) == {"mlx5_0/1": 50.0}


@pytest.mark.parametrize(("shape", "axis", "group"), [((8,), 0, 8), ((2, 4), 0, 2), ((2, 4), 1, 4), ((1,), 0, 1)])
def test_an_all_reduce_over_each_axis_is_right_and_timed(shape, axis, group, monkeypatch):
  monkeypatch.setattr("jaxface.training.bandwidth.SECONDS", 0.0)
  devices = np.asarray(jax.devices()[: np.prod(shape)], object).reshape(shape)
  found = measure_all_reduce(devices, 4000, axis=axis)
  assert found.right and (found.devices, found.size) == (group, 4000) and found.seconds > 0
  assert found.rate == bus_rate(group, 4000, found.seconds)


def test_a_wrong_sum_is_noticed(monkeypatch):
  monkeypatch.setattr("jaxface.training.bandwidth.SECONDS", 0.0)
  monkeypatch.setattr("jax.lax.psum", lambda x, axis: x)
  assert not measure_all_reduce(jax.devices()[:2], 400).right


@given(st.integers(2, 512), st.floats(1e-6, 1.0))
@settings(max_examples=10)
def test_bus_bandwidth_is_that_of_a_ring(devices, seconds):
  # In a ring each device sends its n-th part 2 (n − 1) times.
  assert bus_rate(devices, 10**6, seconds) == pytest.approx(2 * (devices - 1) * (10**6 / devices) / seconds / 1e9)


def test_one_process_with_eight_devices(tmp_path, monkeypatch):
  monkeypatch.setattr("jaxface.training.bandwidth.SECONDS", 0.0)
  experiment = Experiment(batch_size=12)
  report = check_cluster(experiment, tmp_path / "run", mesh=MeshConfig(devices=8), megabytes=0.01, expect={"data": 1e6})
  assert report.mesh == {"data": 8} and [one.name for one in report.links] == ["data"]
  assert report.faults[0] == "batch_size 12 is not divisible by the 8 devices" and "less than half of the expected" in report.faults[1]
  assert len(report.faults) == 2 and not list((tmp_path / "run").iterdir())
  with pytest.raises(ValueError, match=r"--expect names nothing, but measured are: data"):
    check_cluster(None, mesh=MeshConfig(devices=2), megabytes=0.01, expect={"nothing": 1.0})
  (tmp_path / "file").write_text("in the way")
  faults = check_cluster(None, tmp_path / "file" / "below", mesh=MeshConfig(devices=2), megabytes=0.01).faults
  assert len(faults) == 1 and "process 0: folder of the run: cannot be written" in faults[0]
