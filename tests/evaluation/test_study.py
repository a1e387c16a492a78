"""`jaxface report`: lists, names and comparisons of a study; page, card and JSON say the same; faulty files are named."""

import json
import re
from dataclasses import replace
from html import unescape
from importlib import resources

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from jaxface.commands.main import main
from jaxface.evaluation import (
  Study,
  compare,
  evaluate,
  make_toy,
  mean_interval,
  model_card,
  read_protocol,
  write_study,
)
from jaxface.evaluation.report.sweep_file import read_table
from jaxface.formats import Embeddings, Pairs
from jaxface.formats.errors import DamagedData

EVIL = '<script>alert("1")</script> | `x` $y'
SWEEP = {
  "kind": "sweep", "axis": "jpeg", "what": "JPEG quality (0 to 100)", "model": "m", "pairs": "p.txt", "notes": ["a note"],
  "examples": [{"value": 10, "image": "data:image/jpeg;base64,AAAA"}, {"value": 20, "image": "https://elsewhere/x.jpg"}],
  "reference": {"value": None, "accuracy": 0.95, "accuracy_95": [0.9, 0.97]},
  "rows": [
    {"value": value, "accuracy": 0.8, "accuracy_95": [0.7, 0.9], "tar_at_far": {"1e-3": 0.5}, "tar_at_far_95": {"1e-3": [0.4, 0.6]},
     "difference": {"accuracy": -0.15, "accuracy_95": [-0.2, -0.1], "p": {"accuracy": 0.01}}} for value in (10, 20)
  ],
}
SLICES = {"kind": "slices", "column": "sex", "groups": [{"group": "f", "pairs": 7, "accuracy": 0.9}, {"group": "m", "accuracy": 0.8}]}


SHARED = {
  **SLICES, "thresholds": {"best accuracy": 0.3, "1e-2": 0.41234}, "notes": ["few people"],
  "groups": [
    {"group": name, "pairs": 90, "mated": 40, "nonmated": 50, "accuracy": 0.9, "accuracy_95": [0.8, 0.95],
     "shared": {point: {"fmr": fmr, "fmr_95": [0.01, 0.09], "fnmr": None, "fnmr_95": None} for point in ("best accuracy", "1e-2")},
     "difference": {"auc": 0.1, "shared": {"1e-2": {"fmr": 0.011, "fmr_95": [-0.02, 0.04]}}}}
    for name, fmr in (("f", 0.0312), ("m", 0.0201))
  ],
  "incomplete": [{"group": "x", "mated": 0, "nonmated": 3, "shared": {"1e-2": {"fmr": 0.5}}}],
}


def pairs_of(shift: int) -> Pairs:
  left = [f"p{pair % 20}/0" for pair in range(120)]
  right = [f"p{(pair + (pair % 2) * shift) % 20}/1" for pair in range(120)]
  return Pairs(left, right, np.arange(120) % 2 == 0, np.arange(120) // 2 % 3, "list.txt")


def embeddings(noise: float) -> Embeddings:
  rng = np.random.default_rng(0)
  center_nd = np.repeat(rng.normal(size=(20, 8)), 2, axis=0)
  names = [f"p{person}/{image}" for person in range(20) for image in range(2)]
  return Embeddings((center_nd + noise * rng.normal(size=center_nd.shape)).astype(np.float32), names, meta={"model": "net", "mirror": "sum"})


def pair_evaluations(**options):
  return [(name, evaluate(embeddings(noise), pairs_of(3), **options)) for name, noise in (("a", 0.8), ("b", 1.1))]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
  toy = make_toy("closed-set", tmp_path_factory.mktemp("toy") / "lists")
  names = list(read_protocol("closed-set", toy).images)
  return evaluate(Embeddings(np.random.default_rng(0).normal(size=(len(names), 4)).astype(np.float32), names), toy, protocol="closed-set")


@pytest.fixture(scope="module")
def study(searched):
  more = ("a", evaluate(embeddings(0.8), pairs_of(5)))
  return Study("", [*pair_evaluations(), more, ("a", more[1]), ("c", searched)], [SWEEP], [SLICES], command="jaxface report x.npz")


def text_of(path) -> str:
  return " ".join(unescape(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)).split())


def test_models_are_compared_on_their_list_only(study):
  assert [(one.name, [name for name, _ in one.models]) for one in study.lists] == [("pairs", ["a", "b"]), ("pairs (2)", ["a", "a (2)"])]
  rows = study.figures["comparisons"]
  assert {(row["list"], row["first"], row["second"]) for row in rows} == {("pairs", "a", "b"), ("pairs (2)", "a", "a (2)")}
  ours, theirs = (found for _, found in study.lists[0].models)
  right = compare(ours, theirs)
  for row in rows[:len(right)]:
    assert (row["value"], row["p"]) == (right[row["figure"]].value, right[row["figure"]].p)
  assert all(row["value"] == 0 and row["p"] > 0.9 for row in rows[len(right):])  # a model and itself


def test_page_card_and_json_have_the_same_figures(study, tmp_path):
  write_study(tmp_path / "r.html", study)
  page, card = text_of(tmp_path / "r.html"), model_card(study)
  for one in study.lists:
    for _, found in one.models:
      low, high = found.intervals.accuracy
      for shown in (f"{100 * found.accuracy:.2f}", f"{100 * low:.2f} to {100 * high:.2f}", f"{100 * found.eer:.2f}", f"{found.auc:.5f}"):
        assert shown in page and shown in card
      assert f"{found.threshold_cosine:.4f}" in card and f"{found.threshold_cosine:.3f}".replace("-", "−") in page
  rank = study.figures["identification"][0]["rank"]["1"]["value"]
  assert f"{100 * rank:.2f}" in page and f"{100 * rank:.2f}" in card and "Cumulative match characteristic" in page
  assert "By sex" in page and "JPEG quality (0 to 100)" in page and "p = 0.01" in page and "a note" in page
  html = (tmp_path / "r.html").read_text(encoding="utf-8")
  assert "data:image/jpeg;base64,AAAA" in html and "elsewhere" not in html
  assert "## By sex" in card and "jaxface report x.npz" in card and "unknown" in card


def test_intervals_of_a_search_are_those_of_people(searched):
  [row] = Study("", [("c", searched)]).figures["identification"]
  [(gallery, found)] = searched.searches.items()
  person_n = searched.probes[gallery]
  for rank, rate in row["rank"].items():
    assert tuple(rate["interval"]) == mean_interval(found.rank <= int(rank), person_n)
  [old] = Study("", [("c", replace(searched, probes={}))]).figures["identification"]
  assert old["rank"]["1"]["value"] == row["rank"]["1"]["value"] and old["rank"]["1"]["interval"] != row["rank"]["1"]["interval"]


def test_the_figures_follow_their_schema_and_it_refuses_others(study):
  schema = json.loads(resources.files("jaxface.evaluation.report").joinpath("figures.schema.json").read_text(encoding="utf-8"))
  Draft202012Validator.check_schema(schema)
  check = Draft202012Validator(schema)
  figures = json.loads(json.dumps(study.figures, allow_nan=False))
  assert [error.message for error in check.iter_errors(figures)] == []
  assert figures["evaluations"] and figures["identification"] and figures["comparisons"] and figures["sweeps"] and figures["slices"]
  for path, value in (
    (("evaluations", 0, "figures", "accuracy"), 1.5), (("evaluations", 0, "figures", "eer_interval"), [0.1]), (("comparisons", 0, "p"), "0.1"),
    (("identification", 0, "rank", "1", "value"), -0.1), (("sweeps", 0, "kind"), "slices"), (("version",), 2), (("more",), 1),
  ):
    wrong = json.loads(json.dumps(figures))
    place = wrong
    for key in path[:-1]:
      place = place[key]
    place[path[-1]] = value
    assert list(check.iter_errors(wrong)), path


def test_everything_from_outside_is_escaped(tmp_path):
  found = [(EVIL, evaluate(embeddings(0.8), pairs_of(3), title=EVIL))]
  sweep, slices = {**SWEEP, "what": EVIL, "notes": [EVIL], "model": EVIL}, {**SLICES, "column": EVIL}
  study = Study(EVIL, found, [sweep], [slices], command=EVIL)
  write_study(tmp_path / "r.html", study)
  html, card = (tmp_path / "r.html").read_text(encoding="utf-8"), model_card(study)
  assert html.count("<script") == 2 and "alert(" in text_of(tmp_path / "r.html")  # the data and the program of the read-out
  assert "<script" not in card.split("## How to reproduce")[0]
  rows = [line for line in card.splitlines() if line.startswith("|")]
  assert all(line.endswith("|") for line in rows) and "\\|" in card


@pytest.mark.parametrize(("change", "message"), [
  ({"kind": "slices"}, "is of kind 'slices', expected 'sweep'"), ({"kind": None}, "has no kind"), ({"rows": [], "reference": None}, "has no rows"),
  ({"axis": 3}, "does not name its axis"), ({"rows": [{"accuracy": 0.5}]}, "row 1 has no 'value'"),
  ({"rows": [{"value": 1}]}, "row 1 has none of the figures"), ({"rows": [{"value": 1, "accuracy": 98.0}]}, "accuracy is 98.0, not a share"),
  ({"rows": [{"value": 1, "accuracy": 0.5, "accuracy_95": [0.1]}]}, "interval of accuracy"),
  ({"rows": [{"value": 1, "accuracy": 0.5, "tar_at_far": {"1e-3": "x"}}]}, "tar_at_far 1e-3 is 'x'"),
])
def test_a_faulty_sweep_is_named(change, message, tmp_path):
  (tmp_path / "s.json").write_text(json.dumps({**SWEEP, **change}))
  with pytest.raises(DamagedData, match=re.escape(message)) as error:
    read_table(tmp_path / "s.json", "sweep")
  assert "s.json" in str(error.value)


def test_slices_show_error_rates_at_shared_thresholds(tmp_path):
  (tmp_path / "s.json").write_text(json.dumps(SHARED))
  write_study(tmp_path / "r.html", Study("", [], slices=[read_table(tmp_path / "s.json", "slices")]))
  page = text_of(tmp_path / "r.html")
  assert "At the threshold of FMR 1e-2 over all pairs, cosine 0.4123." in page and "At the threshold of best accuracy" in page
  assert re.search(r"f 40 50 3\.12\s% 1\.00 to 9\.00 \+1\.10 −2\.00 to 4\.00 – –", page) and "x 0 3 50.00" in page and "few people" in page
  wrong = json.loads(json.dumps(SHARED))
  wrong["groups"][0]["shared"]["1e-2"]["fmr"] = 3.0
  (tmp_path / "s.json").write_text(json.dumps(wrong))
  with pytest.raises(DamagedData, match="group 'f': fmr at 1e-2 is not a share"):
    read_table(tmp_path / "s.json", "slices")


def test_optional_keys_may_be_absent(tmp_path):
  bare = {"kind": "sweep", "axis": "blur", "rows": [{"value": 1, "auc": 0.5}, {"value": None, "auc": 0.6}]}
  (tmp_path / "s.json").write_text(json.dumps(bare))
  write_study(tmp_path / "r.html", Study("", [], [read_table(tmp_path / "s.json", "sweep")]))
  assert "blur" in text_of(tmp_path / "r.html") and "60.00" in text_of(tmp_path / "r.html")


def test_the_command_writes_page_card_and_figures(tmp_path, capsys):
  for name, noise in (("ours", 0.8), ("theirs", 1.1)):
    evaluate(embeddings(noise), pairs_of(3), save=tmp_path / f"{name}.npz")
  files = [str(tmp_path / name) for name in ("ours.npz", "theirs.npz")]
  out = [str(tmp_path / name) for name in ("r.html", "CARD.md", "f.json")]
  assert main(["report", *files, "--out", out[0], "--card", out[1], "--json", out[2]]) == 0
  assert capsys.readouterr().out.strip() == ", ".join(out)
  assert json.loads((tmp_path / "f.json").read_text())["evaluations"][0]["model"] == "ours"
  assert "Models compared" in text_of(tmp_path / "r.html") and (tmp_path / "CARD.md").read_text().startswith("# Model card: pairs")
  assert main(["report", "--out", out[0]]) == 2 and "nothing to report" in capsys.readouterr().err
  assert main(["report", str(tmp_path / "none.npz"), "--out", out[0]]) == 2
