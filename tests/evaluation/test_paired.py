"""Two models on a protocol that is not one pair list: paired differences, also from saved files and in reports."""

import json
from dataclasses import replace

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation import (
  Study,
  compare,
  compare_embeddings,
  evaluate,
  make_toy,
  read_evaluation,
  read_protocol,
  write_study,
)
from jaxface.evaluation.protocols.paired import compare_protocols
from jaxface.formats import Embeddings, read_embeddings, write_embeddings

FIGURES = {
  "ijb-c": {"eer", "tar_at_far 1e-2", "tar_at_far 1e-6"},
  "ijb-c-1n": {"rank-1", "rank-10", "TPIR@FPIR 1e-1"},
  "megaface-facescrub": {"rank-1", "tar_at_far 1e-3"},
  "trillion-pairs": {"identification_tpr_at_fpr_1e-3", "verification_tpr_at_fpr_1e-9"},
  "closed-set": {"accuracy"},
  "rfw": {"accuracy_mean", "accuracy Asian"},
}


def noisy(given: Embeddings, noise: float, seed: int) -> Embeddings:
  random = np.random.default_rng(seed)
  return Embeddings((given.embedding_nd + noise * random.normal(size=given.embedding_nd.shape)).astype(np.float32), given.names)


@pytest.fixture(scope="module", params=FIGURES)
def toy(request, tmp_path_factory):
  """Protocol, lists, and embeddings of a toy set: as they are, with some noise, and with much."""
  folder = tmp_path_factory.mktemp("toy") / request.param
  lists = make_toy(request.param, folder)
  given = read_embeddings(folder / "embeddings.npz")
  return request.param, lists, [given, noisy(given, 0.6, 1), noisy(given, 2.5, 2)]


def test_a_worse_model_is_worse_and_exchange_changes_the_sign(toy):
  protocol, lists, (good, bad, worse) = toy
  first, second, third = (evaluate(one, lists, protocol=protocol) for one in (good, bad, worse))
  found, back = compare_protocols(first, third), compare_protocols(third, first)
  assert set(found) >= FIGURES[protocol]
  for name, one in found.items():
    assert one.low <= one.value <= one.high and 0 <= one.p <= 1
    assert back[name].value == pytest.approx(-one.value) and back[name].low == pytest.approx(-one.high, abs=1e-9)
  main_figure = {"ijb-c": "tar_at_far 1e-2", "rfw": "accuracy_mean"}.get(protocol, next(iter(found)))
  assert found[main_figure].value < 0
  if protocol != "trillion-pairs":  # no false accept is allowed among 20,000 pairs: hardly a pair of any model is found
    assert found[main_figure].high < 0 and found[main_figure].p < 0.05, found[main_figure]
  for one in compare_protocols(second, second).values():
    assert (one.value, one.low, one.high, one.p) == (0, 0, 0, 1)


def test_saved_figures_are_compared_alike(toy, tmp_path):
  protocol, lists, (good, bad, _) = toy
  found = [evaluate(one, lists, protocol=protocol, save=tmp_path / f"{at}.npz") for at, one in enumerate((good, bad))]
  again = [read_evaluation(tmp_path / f"{at}.npz") for at in range(2)]
  there, here = compare_protocols(*again), compare_protocols(*found)
  assert there == here and list(there) == list(here)
  study = Study("", [("a", again[0]), ("b", again[1])])
  rows = study.figures["comparisons"]
  assert {row["figure"]: row["value"] for row in rows} == {name: one.value for name, one in here.items()}
  json.dumps(study.figures, allow_nan=False)
  write_study(tmp_path / "r.html", study)
  assert "Models compared" in (tmp_path / "r.html").read_text()


def test_one_person_on_whom_the_models_differ_tells_little(tmp_path):
  lists = make_toy("closed-set", tmp_path / "toy")
  names = read_protocol("closed-set", lists).images
  person_n = np.unique([name.split("/")[0] for name in names], return_inverse=True)[1]
  right = Embeddings(np.eye(20, dtype=np.float32)[person_n], list(names))
  first, second = "P0/2.jpg", "P1/2.jpg"  # probes of two people
  for wrong, most in (([], 1.0), ([first], 0.4), ([first, second], 0.2)):
    changed = right.embedding_nd.copy()
    for name in wrong:
      changed[names.index(name)] = np.roll(changed[names.index(name)], 5)
    found = compare_protocols(*(evaluate(one, lists, protocol="closed-set") for one in (right, Embeddings(changed, list(names)))))["accuracy"]
    assert found.value == pytest.approx(-len(wrong) / 60) and 0.1 < found.p <= most, (wrong, found)
    assert found.high >= 0


def test_equal_models_are_rarely_told_apart(tmp_path):
  lists = make_toy("closed-set", tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  found = [evaluate(noisy(given, 1.0, seed), lists, protocol="closed-set") for seed in range(30)]
  told = sum(compare_protocols(a, b)["accuracy"].p < 0.05 for a, b in zip(found[::2], found[1::2]))
  assert told <= 3


def test_the_mean_of_the_groups_adds_their_variances(tmp_path):
  lists = make_toy("rfw", tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  first, second = (evaluate(one, lists, protocol="rfw") for one in (given, noisy(given, 0.8, 1)))
  found = compare_protocols(first, second)
  each = [compare(first.parts[group].verification, second.parts[group].verification)["accuracy"] for group in first.parts]
  assert found["accuracy_mean"].value == pytest.approx(np.mean([one.value for one in each]))
  assert found["accuracy_mean"].high - found["accuracy_mean"].value == pytest.approx(np.sqrt(sum((one.high - one.value) ** 2 for one in each)) / 4)
  assert found["accuracy_mean"].value == pytest.approx(second.figures["accuracy_mean"] - first.figures["accuracy_mean"])


def test_what_cannot_be_paired_is_said(tmp_path):
  first, second = (evaluate(tmp_path / name / "embeddings.npz", make_toy(name, tmp_path / name), protocol=name) for name in ("closed-set", "trillion-pairs"))
  with pytest.raises(ValueError, match="protocols 'closed-set' and 'trillion-pairs'"):
    compare_protocols(first, second)
  with pytest.raises(ValueError, match="without draws, as earlier releases saved them: evaluate both models again"):
    compare_protocols(first, replace(first, draws=None))
  with pytest.raises(ValueError, match="7 and 1000 draws"):
    compare_protocols(first, replace(first, draws=replace(first.draws, drawn={"accuracy": np.zeros(7)})))
  given = read_embeddings(tmp_path / "closed-set" / "embeddings.npz")
  fewer = Embeddings(given.embedding_nd[:-1], given.names[:-1])
  other = evaluate(fewer, tmp_path / "closed-set" / "lists", protocol="closed-set", skip_missing=True)
  with pytest.raises(ValueError, match="on different images or people"):
    compare_protocols(first, other)
  assert Study("", [("a", first), ("b", replace(first, draws=None))]).figures["comparisons"] == []


def test_the_command_compares_on_a_protocol(tmp_path, capsys):
  lists = make_toy("ijb-c-1n", tmp_path / "toy")
  write_embeddings(tmp_path / "b.npz", noisy(read_embeddings(tmp_path / "toy" / "embeddings.npz"), 1.0, 0))
  files = ["--embeddings", str(tmp_path / "toy" / "embeddings.npz"), "--compare", str(tmp_path / "b.npz"), "--json", str(tmp_path / "d.json")]
  assert main(["evaluate", "--protocol", "ijb-c-1n", "--pairs", str(lists), *files]) == 0
  shown = capsys.readouterr().out
  assert "first:" in shown and "TPIR@FPIR 1e-2" in shown.split("second − first")[1] and "p = " in shown
  found = json.loads((tmp_path / "d.json").read_text())
  right = compare_embeddings(tmp_path / "toy" / "embeddings.npz", tmp_path / "b.npz", lists, protocol="ijb-c-1n")
  assert found["differences"]["rank-1"]["value"] == right.differences["rank-1"].value == found["second"]["mean"]["rank-1"] - found["first"]["mean"]["rank-1"]
  assert set(read_protocol("ijb-c-1n", lists).images) <= set(read_embeddings(tmp_path / "b.npz").names)
