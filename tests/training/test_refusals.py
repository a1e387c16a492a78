"""Every field of an experiment against values that it cannot take: one clear sentence each, and natural spellings accepted."""

import dataclasses
import math
import typing

import jax
import numpy as np
import pytest

from jaxface.evaluation.config import VerificationConfig
from jaxface.models.config import ModelConfig, make_model
from jaxface.training.choices import FORMS, MARGINS, TERMS
from jaxface.training.config import Experiment
from jaxface.training.overrides import UnknownField, field_values

BASE = Experiment(evaluation=(VerificationConfig(),))
# One experiment for each kind of term, margin and form, so that each of their fields is met.
EXPERIMENTS = {
  "base": BASE,
  **{f"term {name}": BASE.with_overrides({"terms.1": name}) for name in TERMS},
  **{f"margin {name}": BASE.with_overrides({"terms.0.margin": name}) for name in MARGINS},
  **{f"form {name}": BASE.with_overrides({"terms.1": "pairs", "terms.1.form": name}) for name in FORMS},
}
# Free text: a name, a path, a word about the images. model.name may be a network that a file is still to register.
FREE_TEXT = {
  "checkpoints",
  "name", "data.records", "data.images", "data.embeddings", "data.licence", "data.origin", "model.name", "model.init_from",
  "mesh.coordinator",  # its form is checked when hosts are joined
  "evaluation.0.name", "evaluation.0.images", "evaluation.0.records", "evaluation.0.pairs",
  "tracking.project", "tracking.server",
}
# Numbers that may be negative: cosines, and what is added to one.
SIGNED = {"CosineHinge.margin", "BinomialDeviance.beta", "SiameseRegression.different_target", "ContrastiveCosine.scale",
          "ContrastiveCosine.bias", "MeshConfig.process_id"}
# What a network's constructor takes is checked by the network; augmentations of one's own stand in a file.
OPEN = {"model.options", "augment.own"}


def owner(experiment, name):
  """The config that a field belongs to, as "Class.field"."""
  at = experiment
  *path, field = name.split(".")
  for part in path:
    at = at[int(part)] if isinstance(at, tuple) else getattr(at, part)
  return at, field


def fields():
  seen = set()
  for label, experiment in EXPERIMENTS.items():
    for name in field_values(experiment):
      config, field = owner(experiment, name)
      key = f"{type(config).__name__}.{field}"
      if key not in seen and name not in OPEN:
        seen.add(key)
        yield pytest.param(label, name, key, id=key)


def refusal(experiment, name, text):
  """The message, which is one line and names the option and what was given."""
  with pytest.raises(UnknownField) as caught:
    experiment.with_overrides({name: text})
  message = str(caught.value)
  assert message.startswith(f"--{name} {text}: ") and "\n" not in message and len(message) < 400, message
  return message


@pytest.mark.parametrize(("label", "name", "key"), fields())
def test_values_that_a_field_cannot_take_are_refused_in_a_sentence(label, name, key):
  experiment = EXPERIMENTS[label]
  config, field = owner(experiment, name)
  value = getattr(config, field)
  hint = typing.get_type_hints(type(config))[field]
  if typing.get_origin(hint) is typing.Literal:
    message = refusal(experiment, name, "no such thing")
    assert all(str(valid) in message for valid in typing.get_args(hint))
  elif name == "model.preprocess":
    assert "imagenet" in refusal(experiment, name, "imagenot")
  elif field == "template":
    assert "arcface112" in refusal(experiment, name, "arcface11")
  elif name == "schedule.milestones":
    for text in ("abc", "0.5,nan", "-1", "0.9,0.5", "2"):
      refusal(experiment, name, text)
  elif name == "data.mixture":
    assert "needs paths of record sets" in refusal(experiment, name, "1,2")
  elif name == "data.weights":
    mixed = experiment.with_overrides({"data.mixture": "a,b"})
    for text in ("abc", "1", "1,2,3", "1,nan", "1,-1", "0,1", "inf,1"):
      refusal(mixed, name, text)
  elif name == "tracking.to":
    for text in ("mlflo", "mlflow,mlflow", "1"):
      assert "needs some of mlflow, wandb" in refusal(experiment, name, text)
  elif name == "optimizer.rates":
    for text in ("abc", "body/*=x", "body/*=-1", "=1"):
      assert "PATTERN=FACTOR" in refusal(experiment, name, text)
  elif isinstance(value, bool):
    refusal(experiment, name, "2")
    refusal(experiment, name, "maybe")
  elif isinstance(value, (int, float)) or value is None:
    wrong = ["abc", "", "nan", "inf", "-inf", "1e300", *([] if key in SIGNED else ["-1"])]
    for text in wrong:
      message = refusal(experiment, name, text)
      if text in ("nan", "inf", "-1") and not isinstance(value, int):
        assert text in message and any(mark in message for mark in ("must lie in", "should be", "needs")), message
    if isinstance(value, int):
      refusal(experiment, name, "1.5")
  else:
    assert name in FREE_TEXT, f"{key} is text: is it one of several words? Then its type is a Literal"


@pytest.mark.parametrize("name", ["evaluation", "evaluation.0", "terms", "terms.7", "terms.x", "data", "data.synthetic", "model",
                                  "optimizer", "schedule", "augment", "augment.own", "mesh", "steps.x", "optimizer.rate", "terms.0.margin"])
@pytest.mark.parametrize("text", ["abc", "-1", "nan", "1,2"])
def test_what_is_no_value_is_refused_in_a_sentence(name, text):
  with pytest.raises(UnknownField, match=rf"--{name}") as caught:
    BASE.with_overrides({name: text})
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("name", "text", "value"),
  [
    ("export", "none", ""), ("export", "None", ""), ("export", "ONNX", "onnx"), ("model.fit", "none", ""),
    ("optimizer.name", "SGD", "sgd"), ("optimizer.name", "AdamW", "adamw"), ("data.mining", "semi-hard", "semi_hard"),
    ("data.mining", "SemiHard", "semi_hard"), ("model.dtype", "BFloat16", "bfloat16"), ("steps", "1e3", 1000), ("steps", "1_000", 1000),
    ("evaluation.0.mirror", "None", "none"), ("evaluation.0.mirror", "Sum", "sum"), ("mesh.distributed", "Yes", True),
  ],
)
def test_natural_spellings_are_understood(name, text, value):
  found = field_values(BASE.with_overrides({name: text}))[name]
  assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["subcenter", "Sub-Center", "sub_center"])
def test_kinds_of_configs_are_found_in_any_spelling(text):
  assert type(BASE.with_overrides({"terms.0.margin": text}).terms[0].margin) is MARGINS["subcenter"]


def test_a_learning_rate_of_zero_is_a_run_that_moves_nothing():
  assert BASE.with_overrides({"optimizer.learning_rate": "0"}).optimizer.learning_rate == 0.0


@pytest.mark.parametrize("value", ["5", 2.5, None, math.nan, True and "x"])
def test_wrong_types_in_python_name_the_field_too(value):
  with pytest.raises(ValueError, match="steps"):
    Experiment(steps=value)
  with pytest.raises(ValueError, match="learning_rate"):
    dataclasses.replace(BASE.optimizer, learning_rate=value if isinstance(value, str) or value is None else -1.0)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\\b", "a\nb"])
def test_the_name_of_an_experiment_names_files(name):
  with pytest.raises(ValueError, match="name is"):
    Experiment(name=name)


def test_numpy_integers_are_whole_numbers():
  assert Experiment(steps=np.int64(5)).steps == 5


def test_options_of_a_network_are_checked_by_the_network():
  with pytest.raises(ValueError, match="no option of smallresnet 'widhts'"):
    make_model(ModelConfig("smallresnet", options={"widhts": (1,)}))


@pytest.mark.parametrize("name", ["adamw", pytest.param("sgd", marks=pytest.mark.sweep)])
def test_a_run_at_rate_zero_leaves_every_parameter_as_it_was(experiment, source, run, tmp_path, name, keep_first):
  first = keep_first()
  still = dataclasses.replace(experiment, steps=2, optimizer=dataclasses.replace(experiment.optimizer, name=name, learning_rate=0.0))
  trained, _ = run(still, source, tmp_path, [first])
  jax.tree.map(np.testing.assert_array_equal, trained.variables["params"], first.variables["params"])
