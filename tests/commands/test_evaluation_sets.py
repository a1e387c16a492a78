"""Runs with protocols that are no pair list: figures, report and log; what is refused at the start; what a failure leaves."""

import json

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.commands.train import WITHOUT_FIGURES
from jaxface.evaluation.protocols.closed_set import ClosedSet
from jaxface.formats.images import encode_jpeg
from jaxface.models.saved import load_model
from jaxface.training.logs import read_metrics

EXPERIMENT = '''
"""A run of seconds, with a network that compiles at once."""

from typing import ClassVar

import flax.linen as nn

from jaxface.data.config import DataConfig
from jaxface.evaluation.config import VerificationConfig
from jaxface.heads.classification import Classification
from jaxface.losses.margins import CosFace
from jaxface.models.config import ModelConfig
from jaxface.models.preprocess import Preprocess, get_preprocess
from jaxface.models.registry import register
from jaxface.training.config import Experiment, MeshConfig


class Pooled(nn.Module):
  embedding_size: int
  convention: ClassVar[Preprocess] = get_preprocess("unit", size=16)

  @nn.compact
  def __call__(self, image_bhwc, train=False):
    return nn.Dense(self.embedding_size)(nn.avg_pool(image_bhwc, (4, 4), (4, 4)).reshape(image_bhwc.shape[0], -1))


@register
def pooled(embedding_size: int = 8) -> nn.Module:
  """Pooled pixels."""
  return Pooled(embedding_size)


EXPERIMENT = Experiment(
  name="sets", steps=6, batch_size=8, log_every=2, checkpoint_every=2, data=DataConfig(),
  model=ModelConfig("pooled", size=16, embedding_size=8), terms=(Classification(CosFace(scale=16.0)),), mesh=MeshConfig(devices=1),
  evaluation=(VerificationConfig(name="closed", every=2), VerificationConfig(name="ijb")),
)
'''


@pytest.fixture(scope="module", autouse=True)
def clean(kept_registry):
  """The registry as it was, after the networks of these experiments."""
  with kept_registry():
    yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Eight people with six images each; a closed set of them, and templates in the form of IJB-C, whose images lie in one folder."""
  folder, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
  lines, faces, pairs, images = [], [], [], folder / "images"
  (folder / "loose").mkdir()
  for person in range(8):
    (images / f"P{person}").mkdir(parents=True)
    face_hwc = rng.integers(0, 256, (16, 16, 3))
    for image in range(6):
      data = encode_jpeg(np.clip(face_hwc + rng.normal(0, 60, face_hwc.shape), 0, 255).astype(np.uint8))
      (images / f"P{person}" / f"{image}.jpg").write_bytes(data)
      (folder / "loose" / f"{6 * person + image + 1}.jpg").write_bytes(data)
      lines.append(f"P{person}/{image}.jpg P{person} {'gallery' if image < 3 else 'probe'}")
      faces.append(f"{6 * person + image + 1}.jpg {2 * person + image // 3} {6 * person + image}")
  pairs = [f"{a} {b} {int(a // 2 == b // 2)}" for a in range(16) for b in range(a)]
  (folder / "closed_set.txt").write_text("\n".join(lines) + "\n")
  (folder / "meta").mkdir()
  (folder / "meta" / "ijbc_face_tid_mid.txt").write_text("\n".join(faces) + "\n")
  (folder / "meta" / "ijbc_template_pair_label.txt").write_text("\n".join(pairs) + "\n")
  (folder / "sets.py").write_text(EXPERIMENT)
  return folder


def arguments(folder, workdir, **changed):
  fields = {
    "data.images": folder / "images", "evaluation.0.protocol": "closed-set", "evaluation.0.pairs": folder / "closed_set.txt",
    "evaluation.0.images": folder / "images", "evaluation.1.protocol": "ijb-c", "evaluation.1.pairs": folder / "meta",
    "evaluation.1.images": folder / "loose", **changed,
  }
  options = [word for name, value in fields.items() if value is not None for word in (f"--{name}", str(value))]
  return ["train", str(folder / "sets.py"), "--workdir", str(workdir), *options]


def test_protocols_are_evaluated_in_a_run_and_their_figures_and_reports_are_written(folder, tmp_path, capsys):
  assert main(arguments(folder, tmp_path / "run", use="best")) == 0
  rows = [row for row in read_metrics(tmp_path / "run") if "closed/accuracy" in row]
  assert [row["step"] for row in rows] == [0, 2, 4, 6]
  assert {"ijb/auc", "ijb/eer", "ijb/tar@1e-4", "closed/mean_class_accuracy"} <= rows[0].keys() & rows[-1].keys()
  assert "ijb/auc" not in rows[1] and not any(key.endswith("/failed") for row in rows for key in row)
  found = {name: json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("closed", "ijb")}
  assert found["closed"]["protocol"] == "closed-set" and found["closed"]["probes"] == 24 and found["closed"]["chose_the_state"] is True
  assert found["closed"]["accuracy"] == max(row["closed/accuracy"] for row in rows[1:])
  assert found["closed"]["before"]["accuracy"] == rows[0]["closed/accuracy"] and found["closed"]["before"]["network"] == "untrained"
  assert found["ijb"]["counts"]["templates"] == 16 and found["ijb"]["chose_the_state"] is False
  page, second = ((tmp_path / "run" / name).read_text() for name in ("report.html", "report_ijb.html"))
  for text in ("Protocol closed-set: accuracy", "mean_class_accuracy", "CMC", "Loss", "before training", "The best state was selected on this set"):
    assert text in page
  for text in ("Protocol ijb-c: tar@1e-4", "TAR@FAR 1e-4", "a subset of the official lists"):
    assert text in second
  last = capsys.readouterr().out.strip().splitlines()[-1]
  assert "closed: accuracy untrained" in last and "ijb: tar@1e-4 untrained" in last and str(tmp_path / "run" / "report_ijb.html") in last

  # The run evaluates as the command does.
  assert main(["evaluate", "--model", str(tmp_path / "run"), "--images", str(folder / "loose"), "--protocol", "ijb-c",
               "--pairs", str(folder / "meta"), "--json", str(tmp_path / "figures.json")]) == 0
  again = json.loads((tmp_path / "figures.json").read_text())
  assert again["auc"] == pytest.approx(found["ijb"]["auc"], abs=1e-6) and again["tar_at_far"] == pytest.approx(found["ijb"]["tar_at_far"], abs=1e-6)


@pytest.mark.parametrize(
  "changed, words",
  [
    ({"evaluation.0.protocol": "closed"}, "closed-set"),
    ({"evaluation.0.pairs": None}, "the protocol 'closed-set' reads its official lists: give their file or folder, --evaluation.0.pairs PATH"),
    ({"evaluation.1.pairs": "nowhere"}, "evaluation 'ijb': no lists at nowhere (--evaluation.1.pairs)"),
    ({"evaluation.0.images": "nowhere"}, "evaluation 'closed': no images at nowhere (--evaluation.0.images)"),
    ({"evaluation.0.images": None}, "evaluation 'closed' names neither images nor records"),
    ({"evaluation.1.protocol": "ijb-b"}, "ijbb_face_tid_mid.txt"),
    ({"evaluation.0.images": "loose"}, "48 of 48 images of the lists are not in"),
    ({"evaluation.0.protocol": "pairs", "evaluation.0.pairs": "mated.tsv"}, "has no non-mated pair"),
    ({"evaluation.0.protocol": "pairs", "evaluation.0.pairs": "absent.tsv"}, "1 of 3 images of the lists are not in"),
  ],
)
def test_what_a_protocol_lacks_is_said_at_the_start(folder, tmp_path, capsys, monkeypatch, changed, words):
  monkeypatch.setattr("jaxface.pipeline.run.train_run", lambda *given: pytest.fail("the training began"))
  head = "left\tright\tsame\tfold\n"
  (folder / "mated.tsv").write_text(f"{head}P0/0\tP0/1\t1\t0\nP1/0\tP1/1\t1\t1\n")
  (folder / "absent.tsv").write_text(f"{head}P0/0\tP0/1\t1\t0\nP0/0\tP9/1\t0\t1\n")
  there = {name: folder / value if name != "evaluation.0.protocol" and value and (folder / value).exists() else value
           for name, value in changed.items()}
  assert main(arguments(folder, tmp_path / "run", **there)) == 2
  error = capsys.readouterr().err
  assert words in error and "Traceback" not in error


@pytest.mark.parametrize("fail_from, step", [(2, 2), (0, 6)])
def test_a_failure_does_not_end_the_run_nor_change_the_best_state_and_the_exit_code_tells(
  folder, tmp_path, capsys, monkeypatch, fail_from, step
):
  """The calls are those of steps 0, 2, 4, 6, and, if the best is not the last, the one of the best state."""
  calls, sound = [], ClosedSet.evaluate

  def evaluate(self, embeddings, **options):
    calls.append(len(calls))
    if calls[-1] >= fail_from:
      raise RuntimeError("no scores")
    return sound(self, embeddings, **options)

  monkeypatch.setattr(ClosedSet, "evaluate", evaluate)
  with pytest.warns(RuntimeWarning, match=r"verification closed failed at step [04]: RuntimeError: no scores") as told:
    assert main(arguments(folder, tmp_path / "run", use="best")) == WITHOUT_FIGURES
  assert sum("failed at step" in str(one.message) for one in told) == 1
  rows = {row["step"]: row for row in read_metrics(tmp_path / "run") if "closed/failed" in row or "closed/accuracy" in row}
  for at, number in enumerate((0, 2, 4, 6)):
    assert ("closed/accuracy" in rows[number]) == (at < fail_from) and rows[number].get("closed/failed", 0) == (at >= fail_from)
  assert "ijb/auc" in rows[6]
  assert load_model(tmp_path / "run" / "model").meta["step"] == step
  left = json.loads((tmp_path / "run" / "closed.json").read_text())
  assert left == {"protocol": "closed-set", "failed": f"step {step}: RuntimeError: no scores"}
  assert json.loads((tmp_path / "run" / "ijb.json").read_text())["auc"] > 0 and not (tmp_path / "run" / "report.html").exists()
  printed = capsys.readouterr()
  assert "closed: no figures, the evaluation failed" in printed.out and "closed: no figures of the trained model" in printed.err
  assert ("the last state becomes the model" in (tmp_path / "run" / "notes.txt").read_text()) == (fail_from == 0)
  monkeypatch.undo()
  assert main(arguments(folder, tmp_path / "run", use="best")) == 0  # the same command evaluates again
  figures = json.loads((tmp_path / "run" / "closed.json").read_text())
  assert figures["accuracy"] > 0 and figures["chose_the_state"] == (fail_from != 0)
