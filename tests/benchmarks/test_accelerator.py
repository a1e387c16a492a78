"""The benchmark of accelerators: it needs nothing but JAX, keeps to its time, sees wrong results, and reads traces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.planning.topology import GPUS, TPUS
from jaxface.xla_flags import SETS, environment

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.accelerator import check, heads, hlo_parts, peaks  # noqa: E402
from benchmarks.accelerator.__main__ import main, plan  # noqa: E402
from benchmarks.accelerator.budget import Part, Report, run_parts  # noqa: E402
from benchmarks.accelerator.show import markdown  # noqa: E402
from benchmarks.accelerator.sides import OURS, Place, reason  # noqa: E402
from benchmarks.accelerator.sizes import FULL, TINY  # noqa: E402
from benchmarks.accelerator.trace import Event, by_part  # noqa: E402
from benchmarks.nets import Net, multiply_adds  # noqa: E402

# Everything that a machine with only JAX, Flax, optax, chex and NumPy lacks; Orbax too, although Flax requires it.
ALONE = """
import sys
INSTALLED = {"jax", "jaxlib", "flax", "optax", "chex", "numpy", "ml_dtypes", "scipy", "opt_einsum", "absl", "toolz", "msgpack", "rich", "yaml",
             "treescope", "typing_extensions", "markdown_it", "mdurl", "pygments", "jaxface", "benchmarks"}

class Alone:
  def __init__(self, finder):
    self.finder = finder

  def find_spec(self, name, path=None, target=None):
    top = name.partition(".")[0]
    if top in INSTALLED or top in sys.stdlib_module_names or top.startswith("_"):
      return self.finder.find_spec(name, path, target)

  def find_distributions(self, *context):
    return getattr(self.finder, "find_distributions", lambda *_: ())(*context)

sys.meta_path[:] = [Alone(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
for name in list(sys.modules):  # of what was imported at the start
  if name.partition(".")[0] not in INSTALLED | set(sys.stdlib_module_names):
    del sys.modules[name]
for name in ("orbax", "etils", "simplejpeg", "PIL", "tqdm", "google_crc32c", "tensorflow_datasets", "lazy_loader", "torch"):
  try:
    __import__(name)
  except ModuleNotFoundError:
    continue
  raise AssertionError(f"{name} is not blocked")
from benchmarks.accelerator.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_tiny_form_runs_with_nothing_but_jax(tmp_path, subprocess_environment):
  file = tmp_path / "figures.json"
  done = subprocess.run(
    [sys.executable, "-c", ALONE, "--tiny", "--only", "smallresnet", "--json", str(file)],
    cwd=ROOT, env=subprocess_environment, capture_output=True, text=True, check=False,
  )
  assert done.returncode == 0, done.stderr
  report = Report.read(file)
  assert [part["state"] for part in report.parts] == ["done"] * 2, done.stderr
  step, parts = report.tables["Training step"][0], report.tables["Time by part, ms per step"][0]
  assert step["images/s"] > 0 and step["compile s"] > 0 and step["memory GB"] > 0
  assert parts["convolutions"] > 0 and parts["norms"] > 0 and parts["head"] > 0 and parts["optimizer"] > 0
  assert parts["idle"] >= 0 and step["network"] in TINY.nets
  assert report.machine["versions"]["jax"] == jax.__version__ and "### Training step" in done.stdout
  assert main(["--show", str(file)]) == 0


@pytest.fixture
def subprocess_environment():
  """Quick to compile; the figures of the tiny form mean nothing anyway. With all sets of flags of GPUs, which this XLA must know."""
  quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
  gpu = ",".join(name for name, one in SETS.items() if one.variable == "XLA_FLAGS")
  return {**os.environ, "JAX_PLATFORMS": "cpu", **environment(gpu, {"XLA_FLAGS": quick})}


class Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now

  def work(self, seconds, rows=(), error=None):
    def run():
      self.now += seconds
      if error:
        raise error
      return {"T": list(rows)}

    return run


def test_what_no_longer_fits_is_skipped_and_figures_are_kept(tmp_path):
  clock, file, seen = Clock(), tmp_path / "a.json", []
  parts = [
    Part("first", 10, clock.work(20, [{"a": 1}])), Part("fails", 10, clock.work(20, error=RuntimeError("traceback\nout of memory\n"))),
    # Parts take twice what was thought: 20 + 20 + 2 · 31 > 100.
    Part("long", 31, clock.work(1)), Part("short", 20, clock.work(5, [{"a": 2, "b": "x"}])), Part("hangs", 10, clock.work(30, error=TimeoutError())),
  ]
  report = Report("python", 8)
  run_parts(parts, report, 100.0, file=file, say=lambda line: seen.append((line, len(Report.read(file).parts) if file.exists() else 0)), now=clock)
  assert [part["state"] for part in report.parts] == ["done", "failed", "skipped", "done", "skipped"]
  assert report.parts[1]["why"] == "out of memory" and report.parts[2]["why"] == "needs about 62 s, 60 s are left"
  assert report.parts[4]["why"] == "was ended after 30 s"
  assert report.tables == {"T": [{"a": 1}, {"a": 2, "b": "x"}]} and Report.read(file) == report
  # When a part is announced the file has all parts before it.
  assert [count for _, count in seen] == [0, 1, 2, 3, 4]
  text = markdown(report)
  assert "| a | b |" in text and "- long: skipped: needs about 62 s" in text and json.loads(file.read_text())["minutes"] == 8


def test_parts_are_ordered_by_importance():
  names = [part.name for part in plan(FULL, ["pytorch", "torch.compile"], {}, lambda: None)]
  order = ["iresnet50, batch 256", "class centres, 100,000, dense head", "iresnet100, batch 256", "vit_b, batch 256", "class centres, 1,000,000, a tenth",
           "locally connected, deepface L4", "as many classes as fit, a tenth, in blocks", "iresnet50, batch 512", "vit_b, batch 256, with torch.compile"]
  assert [names.index(name) for name in order] == sorted(names.index(name) for name in order) and len(set(names)) == len(names)
  assert not [name for name in (part.name for part in plan(FULL, [], {}, lambda: None)) if "torch" in name]


def side(seconds, steps):
  return (lambda: None), {"steps": steps}


def broken(seconds, steps):
  raise RuntimeError("no such device")


def test_sides_may_fail_but_ours():
  place = Place(0.0, True, True, 2)
  found = place.compare({OURS: (side, (0.0, 4)), "pytorch": (broken, (0.0, 1))})
  assert list(found.seconds) == [OURS] and len(found.seconds[OURS]) == 2 and found.failed == {"pytorch": "no such device"}
  with pytest.raises(RuntimeError, match="no such device"):
    place.compare({OURS: (broken, (0.0, 1))})
  assert reason(TimeoutError()) == "TimeoutError"


HLO = """
HloModule jit_step

%fused (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %n = f32[8]{0} multiply(%p, %p), metadata={op_name="jit(step)/jvp(Net)/unit1/norm/mul"}
  ROOT %c.1 = f32[8]{0} convolution(%n, %p), metadata={op_name="jit(step)/jvp(Net)/unit1/conv1/conv_general_dilated"}
}

%fused.1 (p: f32[8]) -> (f32[8], f32[8]) {
  %p.1 = f32[8]{0} parameter(0)
  %a = f32[8]{0} add(%p.1, %p.1), metadata={op_name="jit(step)/optimizer/add"}
  %b = f32[8]{0} multiply(%a, %a), metadata={op_name="jit(step)/optimizer/mul"}
  %x = f32[8]{0} multiply(%a, %a), metadata={op_name="jit(step)/jvp(Net)/unit1/norm/mul"}
  ROOT %t = (f32[8]{0}, f32[8]{0}) tuple(%a, %b)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x.1 = f32[8]{0} parameter(0)
  %fusion = f32[8]{0} fusion(%x.1), kind=kOutput, calls=%fused, metadata={op_name="jit(step)/jvp(Net)/unit1/norm/mul"}
  %loop_fusion.2 = (f32[8]{0}, f32[8]{0}) fusion(%fusion), kind=kLoop, calls=%fused.1
  %conv.3 = (f32[8]{0}, u8[0]{0}) custom-call(%fusion), custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/transpose(jvp(Net))/unit1/conv1/conv_general_dilated"}
  %dot.4 = f32[8]{0} dot(%fusion, %x.1), metadata={op_name="jit(step)/jvp(Net)/head_dense/dot_general"}
  %gemm.5 = f32[8]{0} custom-call(%fusion), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(step)/transpose(jvp(objective))/dot_general"}
  %product.6 = f32[8]{0} convolution(%x.1, %x.1), metadata={op_name="jit(step)/jvp(Net)/head_dense/dot_general"}
  %reduce.7 = f32[8]{0} all-reduce(%x.1), to_apply=%fused, metadata={op_name="jit(step)/jvp(Net)/unit1/norm/reduce_sum"}
  %norm.8 = f32[8]{0} multiply(%x.1, %x.1), metadata={op_name="jit(step)/jvp(Net)/embedding_norm/mul"}
  ROOT %turn.9 = f32[8]{0} add(%x.1, %x.1), metadata={op_name="jit(step)/augmentation/add"}
}
"""


def test_parts_of_a_program():
  part = hlo_parts.parts_of(HLO)
  assert {name: part[name] for name in part if name in (
    "fusion", "loop_fusion.2", "conv.3", "dot.4", "gemm.5", "product.6", "reduce.7", "norm.8", "turn.9"
  )} == {
    "fusion": "convolutions", "loop_fusion.2": "optimizer", "conv.3": "convolutions", "dot.4": "matrix products", "gemm.5": "head",
    "product.6": "matrix products", "reduce.7": "exchange", "norm.8": "norms", "turn.9": "augmentation",
  }


def test_time_by_part_of_events():
  part = {"fusion": "convolutions", "loop_fusion.2": "optimizer", "while.1": "other", "dot.4": "head"}
  events = [
    Event("Stream 1", "x", "fusion", 0, 100),
    # A loop with one operation in it; its own time is the rest.
    Event("Stream 1", "while.1", "while.1", 150, 250), Event("Stream 1", "y", "dot.4", 160, 200),
    # A kernel without the name of an instruction: by its own name; and two of libraries.
    Event("Stream 2", "loop_fusion_2", "", 240, 300), Event("Stream 1", "sm90_xmma_fprop_implicit_gemm_bf16", "", 320, 330),
    Event("Stream 1", "nvjet_hsh_128x256", "", 330, 350),
  ]
  spent = by_part(events, part)
  assert spent == {"convolutions": 110, "matrix products": 20, "head": 40, "optimizer": 60, "other": 60, "idle": 70}
  assert by_part([], part) == {}


@pytest.mark.parametrize(("kind", "flops"), [
  ("NVIDIA H100 80GB HBM3", 989.5e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989.5e12), ("NVIDIA A100-SXM4-40GB", 312e12), ("TPU v5 lite", 197e12),
  ("TPU v5p", 459e12), ("TPU v6 lite", 918e12), ("TPU v4", 275e12), ("NVIDIA GH200 480GB", 989.5e12), ("NVIDIA L4", 121e12), ("NVIDIA L40S", 362e12),
])
def test_peaks_by_the_name_of_the_device(kind, flops):
  assert peaks.peak_of(kind).flops == flops and peaks.peak_of(kind).source


@pytest.mark.parametrize(("name", "kind"), [
  ("v4", "TPU v4"), ("v5e", "TPU v5 lite"), ("v5p", "TPU v5"), ("v6e", "TPU v6 lite"),
  ("a100", "NVIDIA A100-SXM4-80GB"), ("h100", "NVIDIA H100 80GB HBM3"), ("h200", "NVIDIA H200"), ("b200", "NVIDIA B200"),
])
def test_plans_and_the_benchmark_have_the_same_peaks(name, kind):
  peak = peaks.peak_of(kind)
  assert peak is not None and peak.flops == {**TPUS, **GPUS}[name].flops["bfloat16"]


def test_unknown_device_has_no_peak():
  assert peaks.peak_of("cpu") is None


def test_multiply_adds_count_attention():
  # By hand: 2 × 2 tokens of 16 numbers; patches 9·9·3·16, a block 12·16², the head 64·16 and 16·16, attention 2·4·16 for each token.
  net = Net("vit", {"channels": 16, "depth": 1, "heads": 2, "embedding_size": 16, "masked": 0.0, "stochastic_depth": 0.0}, 18, 4)
  assert multiply_adds(net) == 4 * (9 * 9 * 3 * 16 + 12 * 16 * 16 + 2 * 4 * 16) + 64 * 16 + 16 * 16


def test_a_result_within_its_tolerance_passes_and_a_wrong_one_does_not():
  cpu = jax.devices("cpu")[0]
  x = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)

  def run(where, arrays):
    # Stands for a device that sums in another order; then for one that forgets a row, and one that gives NaN.
    (x,) = arrays
    if where == "other order":
      return [np.asarray((x[:, ::-1] @ x[::-1]).astype(np.float32))]
    right = [np.array(array) for array in check.on_device(lambda x: x @ x, cpu, arrays)]
    if where == "forgets":
      right[0][0] = 0
    return right if where != "nan" else [right[0] * np.nan]

  results = {where: check.compare(where, run, (x,), (where, cpu)) for where in ("other order", "forgets", "nan")}
  assert [result.passed for result in results.values()] == [True, False, False]
  assert 0 < results["other order"].error < results["other order"].tolerance < 1e-3 and results["forgets"].error > 0.1
  coarse = check.compare_coarse(
    "bfloat16", lambda where, arrays: [np.asarray(jnp.asarray(run(cpu, arrays)[0], jnp.bfloat16), np.float32)], run, (x,), (cpu, cpu)
  )
  assert coarse.passed and coarse.error == coarse.tolerance / 2 > 1e-4
  assert not check.Result("says nothing", 0.0, 0.9).passed
  assert check.distance([np.ones(2)], [np.ones(3)]) == np.inf


def test_most_classes_are_tried_again_with_less(monkeypatch):
  class Side:
    facts = {"classes": 25_600}  # noqa: RUF012

    def close(self):
      return 0

  tried = []

  def measure(case, classes, place, sizes, peers):
    tried.append(classes)
    if classes > 20_000:
      raise RuntimeError("out of memory")
    return {"T": [{"classes": classes}]}

  monkeypatch.setattr(Place, "open", lambda self, *arguments: Side())
  monkeypatch.setattr(heads, "measure", measure)
  assert heads.most_classes("all, in blocks", Place(0, True, True, 1), TINY) == {"T": [{"classes": 17_920}]}
  assert tried == [25_600, 23_040, 20_480, 17_920]
