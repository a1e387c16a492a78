"""The commands of the page can be pasted: they name experiments, and fit any model that a run can begin with."""

import shlex
from pathlib import Path

import pytest

from jaxface.commands.train import parse_overrides
from jaxface.models.config import make_model
from jaxface.models.saved import save_model
from jaxface.training.config import load_experiment
from jaxface.training.initial import resolve_model
from jaxface.training.overrides import override

PAGE = Path(__file__).parents[2] / "docs" / "jobs" / "finetune.md"
COMMANDS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("jaxface train ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_fits_a_network_that_has_nothing_of_the_example_s(command, random_model, tmp_path):
  save_model(tmp_path / "net", random_model("iresnet", size=32, units=(1, 1, 1, 1), width=0.125, embedding_size=4))
  name, *words = shlex.split(command.replace("models/iresnet50", str(tmp_path / "net")))[2:]
  fields = parse_overrides(words)
  assert fields.pop("workdir").startswith("runs/") and fields["data.images"] == "MY_FACES"
  experiment, _ = load_experiment(name)
  for field, text in fields.items():
    experiment = override(experiment, field, text)
  module, _, preprocess = make_model(resolve_model(experiment.model, tmp_path))
  assert preprocess.size == (32, 32)
  if experiment.model.name == "projected":
    assert module.frozen.units == (1, 1, 1, 1) and experiment.optimizer.rates == ()


def test_there_are_commands():
  assert len(COMMANDS) == 2
