"""The hook of a run with any protocol: its figures are those of the embeddings, and its failure is told, not raised."""

import re
import warnings
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.data.source import UnreadableRow
from jaxface.evaluation import PROTOCOLS, evaluate, make_toy, read_protocol
from jaxface.evaluation.config import ProtocolName, VerificationConfig
from jaxface.evaluation.protocols.logged import logged_figures, score_name
from jaxface.formats import DamagedData, Embeddings, read_embeddings
from jaxface.inference import Model, evaluate_model
from jaxface.inference.verify import VerificationHook
from jaxface.models.config import ModelConfig

MODEL = ModelConfig("iresnet", size=16, embedding_size=8, options={"units": (1, 0, 0, 0), "width": 0.125})


class Numbered:
  """Images whose first two values are their number, under given names; those of `bad` cannot be read."""

  image_shape, template = (16, 16, 3), "none"

  def __init__(self, names, bad=()):
    self._names, self.bad = list(names), set(bad)
    self.num_records, self.num_identities = len(names), 1
    self.label_n = np.zeros(len(names), np.int32)

  def names(self):
    return self._names

  def read(self, record_n, out):
    out[:] = 0
    out[:, 0, 0, 0], out[:, 0, 0, 1] = np.asarray(record_n) // 256, np.asarray(record_n) % 256
    return [UnreadableRow(DamagedData("is bad", file="f", record=int(record)), row) for row, record in enumerate(record_n) if record in self.bad]


def looked_up(embedding_nd):
  """In the place of a network: the embedding of the image with that number."""
  table_nd = jnp.asarray(embedding_nd)
  return jax.jit(lambda variables, image_bhwc: table_nd[image_bhwc[:, 0, 0, 0].astype(int) * 256 + image_bhwc[:, 0, 0, 1]])


def toy_hook(folder, name, bad=(), **given):
  lists = make_toy(name, folder / name)
  toy = read_embeddings(folder / name / "embeddings.npz")
  config = VerificationConfig("set", protocol=name, pairs=str(lists))
  hook = VerificationHook(config, Numbered(toy.names, bad), read_protocol(name, lists), MODEL, devices=1, **given)
  hook._embed = looked_up(toy.embedding_nd)
  return hook, toy, lists


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_logs_the_figures_of_the_embeddings_and_ranks_states_by_one_of_them(name, tmp_path):
  hook, toy, lists = toy_hook(tmp_path, name)
  row = hook(3, {})
  expected = evaluate(toy, lists, protocol=name)
  assert str(hook.found.figures) == str(expected.figures)
  assert row.pop("set/images_per_second") > 0
  score = row.pop("score")
  assert row == {f"set/{key}": value for key, value in logged_figures(expected).items()} and score == row[f"set/{score_name(name)}"]
  assert 0 < score <= 1
  counted = ("pairs", "mated", "probes", "classes", "counts")
  assert not any(key.rpartition("/")[2].startswith(counted) for key in row)
  assert read_protocol(name, lists).name == name  # by which the score is chosen


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_says_which_images_it_uses_and_which_are_missing(name, tmp_path):
  lists = make_toy(name, tmp_path / "toy")
  names = read_embeddings(tmp_path / "toy" / "embeddings.npz").names
  rules = read_protocol(name, lists)
  used, missing = rules.used([*names, "nobody/1", "nobody/else/2"])
  assert used == set(names if not name.startswith("cfp") else rules.images) and not missing  # a list of CFP leaves images out
  first = names[0].rsplit("/", 1)[0] if name.startswith("ytf") else names[0]
  kept = [one for one in names if not one.startswith(first)]
  used, missing = rules.used(kept)
  assert missing == [first] and used <= set(kept)


def test_the_groups_of_rfw_may_be_missing_from_the_names(tmp_path):
  lists = make_toy("rfw", tmp_path / "toy")
  names = {name.split("/", 1)[1] for name in read_embeddings(tmp_path / "toy" / "embeddings.npz").names}
  used, missing = read_protocol("rfw", lists).used(sorted(names))
  assert used == names and not missing


def test_scores_by_hand():
  def found(**figures):
    from jaxface.evaluation import ProtocolFigures

    return ProtocolFigures({"protocol": "p", "counts": {"people": 3.5}, "notes": [], "probes": 7, **figures}, (), ())

  assert logged_figures(found(accuracy=0.5, ratio=None, spread=float("nan"), by={"a": 0.1})) == {"accuracy": 0.5}
  assert logged_figures(found(mean={"rank-1": 0.25}, galleries={"A": {"rank-1": 1.0}})) == {"rank-1": 0.25}
  distractors = {"10": {"rank-1": 0.9}, "1000": {"rank-1": 0.2}, "100": {"rank-1": 0.6}}
  assert logged_figures(found(distractors=distractors, tar_at_far={"1e-4": 0.75})) == {"rank-1": 0.2, "tar@1e-4": 0.75}


def test_unreadable_images_are_left_out_of_any_protocol(tmp_path):
  hook, toy, lists = toy_hook(tmp_path, "closed-set", bad={0, 7}, on_damage="substitute", before_file=tmp_path / "before.npz")
  with pytest.warns(RuntimeWarning, match=r"verification set: f, record 0: is bad; f, record 7: is bad\. .*are ignored"):
    row = hook(0, {})
  assert row["set/unreadable_images"] == 2
  keep = [number for number in range(len(toy.names)) if number not in (0, 7)]
  fewer = Embeddings(toy.embedding_nd[keep], [toy.names[number] for number in keep])
  expected = evaluate(fewer, lists, protocol="closed-set", skip_missing=True)
  assert hook.found.figures == expected.figures
  assert read_embeddings(tmp_path / "before.npz").names == fewer.names and hook.read_n.tolist() == keep


def fails_with(error):
  def fail(*given, **named):
    raise error

  return fail


def test_a_failure_is_told_once_per_kind_and_gives_no_figures_and_the_next_step_has_some(tmp_path):
  hook, toy, _ = toy_hook(tmp_path, "closed-set", before_file=tmp_path / "none" / "before.npz")
  sound = hook._embed
  hook._embed = looked_up(np.where(np.arange(len(toy.names))[:, None] == 5, np.nan, toy.embedding_nd))
  with pytest.warns(RuntimeWarning, match=r"verification set failed at step 1: the embedding of 'P1/0.jpg' is zero or not finite"):
    assert hook(1, {}) == {"set/failed": 1.0}
  assert hook.latest is None and hook.latest_step == 1 and hook.failure.startswith("step 1: the embedding of")
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert hook(2, {}) == {"set/failed": 1.0}  # the same kind
  hook._embed = fails_with(MemoryError("no room"))
  with pytest.warns(RuntimeWarning, match=r"failed at step 3: MemoryError: no room"):
    assert hook(3, {}) == {"set/failed": 1.0}
  hook._embed = sound
  (tmp_path / "none").write_bytes(b"")  # no folder can be made here
  with pytest.warns(RuntimeWarning, match=r"failed at step 0: .*none"):
    assert hook(0, {}) == {"set/failed": 1.0}
  assert hook.latest is None
  row = hook(4, {})
  assert row["score"] == row["set/accuracy"] and hook.failure == "" and hook.latest is not None


@pytest.mark.parametrize(
  "error", [KeyboardInterrupt(), SystemExit(75), DamagedData("is bad", file="f"), jax.errors.JaxRuntimeError("INTERNAL: device is lost")]
)
def test_an_interruption_damage_and_a_lost_device_end_the_run(error, tmp_path):
  hook, *_ = toy_hook(tmp_path, "closed-set")
  hook._embed = fails_with(error)
  with pytest.raises(type(error)):
    hook(1, {})


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(75)])
def test_an_interruption_of_the_scoring_ends_the_run(error, tmp_path):
  hook, *_ = toy_hook(tmp_path, "closed-set")
  hook.evaluate = fails_with(error)
  with pytest.raises(type(error)):
    hook(1, {})


def test_a_device_without_room_is_no_reason_to_end_the_run(tmp_path):
  hook, *_ = toy_hook(tmp_path, "closed-set")
  hook._embed = fails_with(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"))
  with pytest.warns(RuntimeWarning, match="RESOURCE_EXHAUSTED"):
    assert hook(1, {}) == {"set/failed": 1.0}


def test_lists_are_known_by_their_content_wherever_they_are(tmp_path):
  one, two = (toy_hook(tmp_path / where, "ijb-c-1n")[0] for where in ("a", "b"))
  assert one.fingerprint() == two.fingerprint() and one.fingerprint()["protocol"] == "ijb-c-1n"
  lists = make_toy("ijb-c-1n", tmp_path / "other", seed=1)
  other = VerificationHook(one.config, one.source, read_protocol("ijb-c-1n", lists), MODEL)
  differing = {key for key, value in other.fingerprint().items() if value != one.fingerprint()[key]}
  assert differing == {"lists_sha256"}


def test_the_documentation_names_the_figure_that_ranks_states():
  text = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text().partition("One figure ranks the states")[2].partition("\n\nOn several")[0]
  rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
  told = {name: re.findall("`([^`]+)`", figure)[0] for names, figure in rows for name in re.findall("`([^`]+)`", names)}
  assert {name: told.get(name, "accuracy") for name in PROTOCOLS} == {name: score_name(name) for name in PROTOCOLS}


@pytest.mark.parametrize("name, plain", [("ytf", False), ("rfw", True), ("rfw", False)])
def test_a_model_is_evaluated_on_frames_and_groups_as_their_lists_name_them(name, plain, tmp_path, random_model, monkeypatch):
  lists = make_toy(name, tmp_path / "toy")
  toy = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  names = [one.split("/", 1)[1] if plain else one for one in toy.names]
  rows = {one: toy.embedding_nd[row] for row, one in reversed(list(enumerate(names)))}
  names = list(rows)
  monkeypatch.setattr(Model, "embed_named", lambda self, source, **given: Embeddings(np.stack([rows[one] for one in source.names()]), source.names()))
  model = Model(random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=8))
  found = evaluate_model(model, Numbered([*names, "nobody/0/1"]), lists, protocol=name)
  expected = evaluate(Embeddings(np.stack(list(rows.values())), names), lists, protocol=name)
  assert str(found.figures) == str(expected.figures)


def test_the_field_of_an_experiment_names_every_protocol():
  assert get_args(ProtocolName) == tuple(PROTOCOLS)
  with pytest.raises(ValueError, match="closed-set"):
    VerificationConfig("set", protocol="closed")
