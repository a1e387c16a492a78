"""The benchmarks can be read without what they measure against, turns are taken, and the page says what was found."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import against_torch, descriptors, heat_map  # noqa: E402
from benchmarks.__main__ import page  # noqa: E402
from benchmarks.common import Speedup, interleave, speedup  # noqa: E402
from benchmarks.matrix_peak import share, share_cells  # noqa: E402
from benchmarks.nets import same_parameters  # noqa: E402
from benchmarks.page import Findings  # noqa: E402
from benchmarks.torch_sides import COMPILED, EAGER, below, missed_by, verdict, verdict_cells  # noqa: E402
from benchmarks.worker import Worker  # noqa: E402

FINDINGS = Findings(
  "Speed",
  {"processor": "abacus", "load": 0.5, "versions": {"python": "3"}},
  {"threads": 2},
  [{"side": "ours", "images/s": 12345.6}, {"side": "theirs", "images/s": 3.14159}],
  ["no bar"],
)


def run(code: str) -> subprocess.CompletedProcess:
  return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_modules_import_without_torch():
  names = "against_torch, common, options, page, worker, nets, torch_sides, reader, containers, streaming, training, embedding, formulations, convolution, triplets, margin_softmax, local_layers, matrix_peak, bare, ensemble, all_pairs, pair_growth, class_centers, class_growth, head_settings, head_step, pod_head, planned, plan_memory, step_model, weak_scaling, ten_fold, bootstrap, descriptors, heat_map, __main__"
  done = run(f"import sys; sys.modules['torch'] = None\nfrom benchmarks import {names}")
  assert done.returncode == 0, done.stderr


def test_absent_torch_says_what_to_install():
  done = run("import sys; sys.modules['torch'] = None\nimport benchmarks.torch_nets")
  assert "pip install -e .[bench]" in done.stderr


def build(seconds: float):
  return (lambda: time.sleep(seconds)), {"parameters": 7}


def fail():
  raise ValueError("no such network")


def test_workers_take_turns_in_their_own_processes():
  sides = {"fast": Worker(build, 0.01), "slow": Worker(build, 0.1)}
  assert sides["fast"].facts == {"parameters": 7}
  timing = interleave(sides, rounds=3)
  assert [len(seconds) for seconds in timing.wall.values()] == [3, 3]
  assert speedup(timing.wall, "fast", "slow")[0] > 1.5
  assert all(1e6 < side.close() < 1e10 for side in sides.values())


def test_failing_worker_names_the_cause():
  with pytest.raises(RuntimeError, match="no such network"):
    Worker(fail)


def test_speedup_is_median_and_quartiles_of_ratios_within_rounds():
  got = speedup({"ours": [1.0, 2.0, 1.0], "theirs": [1.0, 4.0, 3.0]}, "ours", "theirs")
  assert (got, str(got)) == ((2.0, 1.5, 2.5), "2.00 (1.50–2.50)")


def test_bar_holds_against_the_faster_of_torch():
  speed = {name: Speedup(middle, 0.0, 9.0) for name, middle in (("pytorch", 1.2), ("torch.compile", 0.8), ("xla", 0.1))}
  assert below("net", speed, 0.8) == []
  assert below("net", speed, 0.9) == ["net is 0.80 × torch.compile"]
  assert below("net", {"pytorch": speed["pytorch"]}, 1.3) == ["net is 1.20 × pytorch"]
  assert below("net", {}, 1.0) == []


def test_other_number_of_parameters_is_another_network():
  assert same_parameters("net", {"ours": 7, "theirs": 7}) == 7
  with pytest.raises(AssertionError, match=r"net: .*'theirs': 8"):
    same_parameters("net", {"ours": 7, "theirs": 8})


def test_page_survives_json_and_shows_figures_and_failures(tmp_path, capsys):
  FINDINGS.publish(str(tmp_path / "speed.json"))
  assert "abacus" in capsys.readouterr().out
  text = page("python -m benchmarks", {"speed": Findings.read(tmp_path / "speed.json"), "other": None}, {"speed": 1.5, "other": 0.5})
  assert "| ours | 12,346 |" in text and "| theirs | 3.14 |" in text
  assert "processor abacus" in text and "threads 2 · load at the end 0.5" in text and "- no bar" in text
  assert "## other\n\nFailed" in text
  assert "in 2 minutes." in text and "`python -m benchmarks.speed`, 1.5 minutes." in text


def side(seconds: float, loss: float):
  return (lambda: time.sleep(seconds)), {"loss": loss, "temporaries": 3e6}


def ours(slow: float, loss: float):
  return side(0.01, 1.0)


def theirs(slow: float, loss: float, compiled: bool):
  # The compiled side is twice as fast.
  return side(slow / (1 + compiled), loss)


def product(dtype: str):
  return (lambda: time.sleep(0.05)), {"flops": 2e10}


def test_rows_are_against_the_faster_side_of_torch_and_refuse_other_work(monkeypatch):
  monkeypatch.setattr(against_torch, "product_side", product)
  settings = {"fact": "loss", "tolerance": 0.01, "differ": "the loss differs", "rounds": 3, "flops": 2e9}

  def row_of(name):
    return against_torch.compare(name, {"case": name}, ours, theirs, (0.2, 1.001), peers=[EAGER, COMPILED], **settings)

  rows, missed, verdict = against_torch.measure(["easy"], row_of, peers=[EAGER, COMPILED])
  row = rows[0]
  assert row["case"] == "easy" and row["temporaries MB"] == 3 and row["pytorch ms"] > row["torch.compile ms"] > row["jaxface ms"]
  assert row["faster of PyTorch"] == COMPILED and float(row["speed / faster"].split()[0]) > 2
  # A tenth of the operations in a fifth of the time; sleeps may take longer.
  assert 15 < int(row["jaxface share of matrix product"].split()[0]) < 150
  assert [line for line in missed if "memory" not in line] == [] and verdict.startswith("Bars: at least 1.0 × the faster")
  with pytest.raises(AssertionError, match=r"the loss differs: 1\.0 here, 1\.5 in pytorch"):
    against_torch.compare("", {}, ours, theirs, (0.0, 1.5), peers=[EAGER], **settings)


def test_bars_are_for_speed_and_memory():
  speed, peak = {EAGER: Speedup(1.4, 0, 2), COMPILED: Speedup(0.9, 0, 2)}, {"jaxface": 30, EAGER: 40, COMPILED: 20}
  assert missed_by("net", speed, peak) == ["net is 0.90 × torch.compile", "net takes 1.50 × the memory of PyTorch"]
  assert missed_by("net", {EAGER: speed[EAGER]}, {"jaxface": 30, EAGER: 40}) == []
  assert verdict_cells(speed, speed, peak)["peak memory / smaller"] == "1.50" and verdict_cells({}, {}, {"jaxface": 1}) == {}
  assert "not measured, PyTorch" in verdict([], []) and "torch.compile was not measured" in verdict([], [EAGER])
  assert verdict(["x"], [EAGER, COMPILED]).endswith(": x.")


def test_share_of_the_product_is_by_round():
  # Rounds at half the clock change nothing.
  assert share(2e9, [1.0, 2.0, 1.0], 4e9, [1.0, 2.0, 1.0]) == 0.5
  assert share_cells(2e9, {"ours": [1.0], "matrix product": [1.0]}, 4e9, ["ours"]) == {"ours share of matrix product": "50 %"}


def test_descriptors_that_differ_from_scikit_image_are_not_timed():
  label_bhw = np.zeros((1, 112, 112), int)
  other_bhw = label_bhw.copy()
  other_bhw[0, 0, :6] = 1  # 0.05 % of the pixels
  assert descriptors.compare("LBP labels", label_bhw, other_bhw) == "99.952 % equal"
  with pytest.raises(RuntimeError, match=r"LBP labels: 0\.000 % of the pixels"):
    descriptors.compare("LBP labels", label_bhw, label_bhw + 1)
  # 25 of 256 pixels of one of the 49 cells have another label.
  count_kl, moved_kl = np.zeros((49, 59)), np.zeros((49, 59))
  count_kl[:, 0] = moved_kl[:, 0] = 1
  moved_kl[0, :2] = 1 - 25 / 256, 25 / 256
  with pytest.raises(RuntimeError, match=r"LBP histograms: 99\.801 %"):
    descriptors.compare("LBP histograms", count_kl.reshape(1, -1), moved_kl.reshape(1, -1))
  assert descriptors.compare("HOG", np.ones(2), np.ones(2) + 1e-6) == "differ by 1.0e-06"
  with pytest.raises(RuntimeError, match=r"HOG: differs from scikit-image by 1\.0e-03, should be at most 1e-05"):
    descriptors.compare("HOG", np.ones(2), np.ones(2) + 1e-3)


def test_heat_maps_that_differ_from_windows_are_not_timed():
  score_k = np.array([0.1, 0.5, 0.9])
  assert heat_map.compare(score_k, score_k + 1e-5) == "differ by 1.0e-05"
  with pytest.raises(RuntimeError, match=r"heat maps and windows differ by 0\.0009"):
    heat_map.compare(score_k, score_k + 9e-4)
  with pytest.raises(RuntimeError, match="numbers of windows, 3 and 2"):
    heat_map.compare(score_k, score_k[:2])
  with pytest.raises(RuntimeError, match="the comparison says nothing"):
    heat_map.compare(score_k[:1].repeat(3), score_k[:1].repeat(3))
