"""The user's default model: set once, taken where none is given."""

import pytest

from jaxface.commands.main import main
from jaxface.inference import NoModel, default_model, set_default_model
from jaxface.inference.chosen_model import model_path
from jaxface.models.saved import save_model


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
  monkeypatch.delenv("JAXFACE_MODEL", raising=False)


@pytest.fixture
def folder(random_model, tmp_path):
  save_model(tmp_path / "net", random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=8))
  return tmp_path / "net"


def test_it_is_set_once_and_taken_where_none_is_given(folder, tmp_path, monkeypatch):
  assert default_model() is None
  with pytest.raises(NoModel, match="jaxface use DIR"):
    model_path(None)
  set_default_model(folder)
  assert default_model() == model_path(None) == folder.resolve()
  assert model_path("another").name == "another"
  monkeypatch.setenv("JAXFACE_MODEL", str(tmp_path / "of the environment"))
  assert default_model() == tmp_path / "of the environment"
  with pytest.raises(FileNotFoundError, match="JAXFACE_MODEL"):
    model_path(None)


def test_what_cannot_be_used_is_not_set(tmp_path, folder):
  with pytest.raises(FileNotFoundError):
    set_default_model(tmp_path / "nothing")
  assert default_model() is None
  set_default_model(folder)
  folder.rename(tmp_path / "moved")
  with pytest.raises(FileNotFoundError, match="set by `jaxface use`"):
    model_path(None)


def test_the_command_sets_prints_and_clears(folder, capsys):
  assert main(["use"]) == 1
  assert main(["use", str(folder)]) == 0
  capsys.readouterr()
  assert main(["use"]) == 0
  assert capsys.readouterr().out == f"{folder.resolve()}\n"
  assert main(["use", "--none"]) == 0
  assert main(["use"]) == 1
