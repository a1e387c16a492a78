"""A plan from end to end, its text and page, the settings that it tries, and what it says when something is missing."""

import importlib.util
import json
import re
from dataclasses import replace

import pytest

from jaxface.commands.main import main
from jaxface.heads.classification import Classification
from jaxface.planning import make
from jaxface.planning.compiled import CannotCompile, Compiled, check_compiler
from jaxface.planning.page import memory_picture
from jaxface.planning.settings import settings_of
from jaxface.planning.text import duration, plain, plan_lines
from jaxface.planning.topology import parse_topology

LIMIT = 23_000.0


@pytest.fixture(scope="module")
def kept(compiled):
  """A compiler that has the step already."""
  return lambda *args, **options: Compiled(**compiled[8], seconds=1.0, versions={"jax": "0"})


@pytest.fixture(scope="module")
def plan(tiny, kept):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(make, "compile_for", kept)
    return make.plan(tiny[0], "cpu:8", identities=480, images=4800, price=2.0)


def test_parts_add_up_to_what_the_compiler_says(plan, compiled):
  facts = compiled[8]
  # The position of a row is no argument where augmentation does not ask for it.
  assert sum(plan.parts.values()) == plan.memory + 4 * 16 // 8 == facts["arguments"] + facts["temporaries"] + facts["results"] + facts["code"] + 8
  assert plan.parts[make.TEMPORARIES] == facts["temporaries"] and plan.fits
  assert plan.time is None and plan.images_per_second == plan.cost_per_epoch == 0
  assert {one.members for one in plan.exchanges} == {8} and {one.axis for one in plan.exchanges} == {"data"}


def test_identities_and_images_of_synthetic_data_are_known(experiment):
  assert make._sizes(experiment, 0, 0) == (480, 2400)
  assert make._sizes(experiment, 7, 0) == (7, 35)
  data = replace(experiment.data, records="nowhere")
  assert make._sizes(replace(experiment, data=data), 9, 0) == (9, 0)
  with pytest.raises(ValueError, match="give --identities N"):
    make._sizes(replace(experiment, data=data), 0, 0)


@pytest.fixture(scope="module")
def estimated(tiny):
  """A plan by estimate for GPUs that have less memory than it needs, with two of the settings, for time's sake."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(make, "_limit", lambda devices: LIMIT)
    chosen = {"terms.0.block", "optimizer.momentum"}
    patch.setattr(make, "settings_of", lambda *given: [one for one in settings_of(*given) if chosen & set(one.overrides)])
    return make.plan(tiny[0], "gpu:h100x8", images=4800, price=2.0)


def test_time_and_cost_by_hand(estimated):
  time, chip = estimated.time, estimated.topology.chip
  assert time.products == pytest.approx(estimated.flops / chip.flops["float32"])
  assert time.memory == pytest.approx(estimated.nbytes / chip.bandwidth)
  assert estimated.images_per_second == pytest.approx(16 / time.step)
  hours = 4800 / estimated.images_per_second / 3600
  assert estimated.hours_per_epoch == pytest.approx(hours) and estimated.cost_per_epoch == pytest.approx(8 * 2.0 * hours)
  assert estimated.share_of_peak == pytest.approx(estimated.flops / time.step / chip.flops["float32"])


def test_settings_are_tried_until_it_fits(estimated):
  assert estimated.fits is False and estimated.memory > LIMIT
  state = estimated.parts["network, optimizer"] + estimated.parts["class centres, optimizer"]
  block, momentum = estimated.tried
  assert block.memory > LIMIT and momentum.memory == estimated.fitting <= LIMIT
  assert estimated.memory - momentum.memory == pytest.approx(state, abs=600)
  assert estimated.enough.overrides == {"optimizer.momentum": "0"}


def test_every_setting_is_one_of_the_experiment(experiment):
  large = replace(experiment, terms=(Classification(sharded=False),), batch_size=64)
  names = set()
  for config in (experiment, large):
    for setting in settings_of(config, 8):
      changed = config.with_overrides(dict(setting.overrides))
      assert changed != config and setting.effect
      names |= set(setting.overrides)
      assert not [again for again in settings_of(changed, 8) if again == setting and "batch_size" not in again.overrides]
  assert {"terms.0.sharded", "terms.0.block", "terms.0.sample_rate", "terms.0.center_dtype", "mesh.fsdp", "model.remat", "model.dtype",
          "accumulate", "batch_size", "optimizer.momentum"} <= names


def test_text_json_and_picture_say_the_same(estimated, plan):
  text = "\n".join(plan_lines(estimated))
  for said in ("DOES NOT FIT", "images/s", "share of peak", "all-reduce", f"it fits with {estimated.enough.text}", "estimated", "assumed:"):
    assert said in text
  known = "\n".join(plan_lines(plan))
  assert "the compiler measured memory" in known and "estimate from the trace alone" in known and "no time is computed" in known
  figures = json.loads(json.dumps(plain(estimated)))
  assert figures["fits"] is False and figures["enough"] and figures["memory_bytes"] == estimated.memory
  picture = memory_picture(estimated)
  assert picture.count("<title>") == len([size for size in estimated.parts.values() if size]) and "a device has 23.0 kB" in picture


def test_the_command_writes_page_and_figures_and_says_by_its_code_that_it_fits(tiny, kept, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(make, "compile_for", kept)
  out, figures = tmp_path / "plan.html", tmp_path / "plan.json"
  assert main(["plan", tiny[0], "--network", tiny[1], "--topology", "cpu:8", "--identities", "480", "--out", str(out), "--json", str(figures)]) == 0
  assert "fits: " in capsys.readouterr().out and json.loads(figures.read_text())["fits"] is True
  page = out.read_text()
  assert page.startswith("<!doctype html>") and "<svg" in page and "jaxface plan" in page and not re.search(r'(src|href)="http', page)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["quickstart", "--topology", "v9:8x8"], "unknown topology 'v9:8x8': takes KIND:LENGTHxLENGTH of the TPUs v4, v5e, v5p, v6e"),
    (["quickstrat", "--topology", "cpu:2"], "Did you mean 'quickstart'"),
    (["arcface_r50", "--topology", "cpu:2"], "give --identities N"),
    (["quickstart", "--topology", "gpu:h100x8", "--batch_size", "12"], "does not spread over 8 devices: set --batch_size to a multiple of 8, such as 16"),
    (["quickstart", "--topology", "gpu:h100x8", "--batchsize", "12"], "Did you mean 'batch_size'"),
    (["quickstart", "--topology", "v5e:8x8"], "the compiler of TPUs is not installed: pip install 'jaxface[plan]'"),
  ],
)
def test_mistakes_are_answered_in_one_message(arguments, message, monkeypatch, capsys, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  real = importlib.util.find_spec
  monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "libtpu" else real(name, *more))
  assert main(["plan", *arguments]) == 2
  said = capsys.readouterr().err
  assert message in said and "Traceback" not in said


def test_gpus_are_not_compiled_for():
  with pytest.raises(CannotCompile, match="on GPUs only"):
    check_compiler(parse_topology("gpu:h100x8"))


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (1.5, "1.5 s"), (0.02, "20 ms"), (3e-6, "3 µs"), (2e-9, "2 ns")])
def test_durations(seconds, text):
  assert duration(seconds) == text
