"""One call from an experiment to a model that embeds, with its figures, its report and its exported file."""

import json

import numpy as np
import pytest

import jaxface
from jaxface.pipeline.papers.result_file import of_run
from jaxface.training.config import load_experiment

TINY = {
  "steps": 3, "batch_size": 16, "log_every": 1, "checkpoint_every": 3, "data.synthetic.identities": 20,
  "data.synthetic.images_per_identity": 4, "data.synthetic.size": 32, "model.size": 32, "data.holdout": 0.3,
  "schedule.warmup_steps": 1, "schedule.milestones": (0.5, 0.75), "model.embedding_size": 16,
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
  return jaxface.train("quickstart", tmp_path_factory.mktemp("runs") / "tiny", overrides=TINY)


def test_the_result_is_a_model_with_its_figures(result):
  faces = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
  embedding_nd = result.model.embed(faces)
  assert embedding_nd.shape == (3, 16)
  np.testing.assert_allclose(jaxface.load(result.workdir).embed(faces), embedding_nd, atol=1e-6)
  figures = json.loads((result.workdir / "unseen.json").read_text())
  assert result.verification["unseen"].auc == figures["auc"]
  assert result.judged["unseen"].report.is_file() and result.judged["unseen"].before is not None
  assert result.exported == result.workdir / "quickstart.onnx" and result.exported.is_file()
  for part in (str(result.workdir / "model"), str(result.exported), "AUC untrained", "report.html"):
    assert part in str(result)


def test_the_report_says_the_command_that_does_the_same(result):
  text = (result.workdir / "report.html").read_text()
  assert f"jaxface train quickstart --workdir {result.workdir} --steps 3" in text
  assert "--schedule.milestones 0.5,0.75" in text


def test_a_value_is_trained_as_well_and_a_finished_run_is_found(result):
  experiment = load_experiment("quickstart")[0].with_overrides(
    {name: "0.5,0.75" if isinstance(value, tuple) else str(value) for name, value in TINY.items()}
  )
  again = jaxface.train(experiment, result.workdir)
  assert again.verification["unseen"].auc == result.verification["unseen"].auc


@pytest.mark.parametrize(
  "arguments, message",
  [
    ({"experiment": "quickstrat"}, "Did you mean 'quickstart'"),
    ({"experiment": "quickstart", "overrides": {"stpes": 3}}, "Did you mean 'steps'"),
    ({"experiment": load_experiment("quickstart")[0], "small": True}, "given by name or path"),
  ],
)
def test_what_is_wrong_is_named(arguments, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    jaxface.train(**arguments, workdir=tmp_path / "run")


def test_a_result_file_has_the_figures_and_the_size_of_the_run(result):
  found = of_run(result.workdir)
  verification = result.verification["unseen"]
  assert found.name == result.workdir.name == "tiny"
  assert found.figures["unseen"]["accuracy"] == verification.accuracy and found.figures["unseen"]["pairs"] == len(verification.pairs)
  assert found.network["parameters"] == result.model.num_parameters and found.network["input"] == [32, 32, 3]
  assert found.data == {"images": result.saved.meta["images"], "identities": result.saved.meta["identities"]}
  assert found.seconds is not None and found.seconds >= 0
