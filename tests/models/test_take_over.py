"""A run that begins with a saved network says by its path alone what that network is."""

from dataclasses import replace

import pytest

from jaxface.models.config import ModelConfig, make_model
from jaxface.models.description import Description
from jaxface.models.preprocess import get_preprocess
from jaxface.models.take_over import Contradiction, differing, take_over

OPTIONS = {"units": [1, 1], "widths": [8, 16], "patch": 2, "embedding_size": 12, "dtype": "bfloat16", "dropout": 0.5}
PLACE = "runs/x"


@pytest.fixture
def origin():
  convention = get_preprocess("imagenet", size=32, template="lightcnn128", colour="bgr", fit="resize")
  return Description(PLACE, "smallresnet", OPTIONS, convention)


def test_the_path_alone_takes_over_everything(origin):
  config = take_over(ModelConfig(init_from=PLACE), origin)
  module, options, preprocess = make_model(config, "none")
  assert config.name == "smallresnet" and preprocess == origin.preprocess
  assert options == {**{k: v for k, v in OPTIONS.items()}, "dtype": "float32"}
  assert module.embedding_size == 12
  assert take_over(config, origin) == config


@pytest.mark.parametrize(
  "given",
  [{"dtype": "bfloat16"}, {"remat": True}, {"dropout": 0.25}, {"options": {"patch": 2}}, {"embedding_size": 12}, {"size": 32},
   {"name": "smallresnet"}, {"preprocess": "imagenet"}, {"fit": "resize"}, {"options": {"widths": (8, 16)}}],
)
def test_what_agrees_or_does_no_harm_is_honoured(given, origin):
  config = take_over(replace(ModelConfig(init_from=PLACE), **given), origin)
  _, options, preprocess = make_model(config)
  assert preprocess == origin.preprocess
  assert {key: value for key, value in options.items() if key in given} == {
    key: value for key, value in given.items() if key in options
  }


@pytest.mark.parametrize(
  ("given", "field", "there"),
  [
    ({"name": "mobilefacenet"}, "model.name mobilefacenet", "a smallresnet"),
    ({"embedding_size": 64}, "model.embedding_size 64", "12"),
    ({"size": 112}, r"model.size \(112, 112\)", r"\(32, 32\)"),
    ({"preprocess": "unit"}, "model.preprocess unit", "imagenet"),
    ({"fit": "crop"}, "model.fit crop", "resize"),
    ({"options": {"patch": 4}}, "model.options.patch 4", "2"),
    ({"name": "projected", "options": {"backbone": "iresnet"}}, "model.options.backbone iresnet", "smallresnet"),
  ],
)
def test_a_contradiction_names_the_field_and_both_values(given, field, there, origin):
  with pytest.raises(Contradiction, match=rf"^{field} contradicts model\.init_from {PLACE}.*{there}.*omit"):
    take_over(replace(ModelConfig(init_from=PLACE), **given), origin)


def test_a_network_around_the_saved_one_takes_it_inside(origin):
  config = take_over(ModelConfig("projected", embedding_size=5, init_from=PLACE), origin)
  module, _, preprocess = make_model(config)
  assert module.embedding_size == 5 and module.frozen.embedding_size == 12 and preprocess == origin.preprocess
  assert take_over(config, origin) == config


def test_a_network_that_grows_takes_what_both_have():
  small = Description(PLACE, "vggface_a", {"width": 0.25, "embedding_size": 8}, get_preprocess("vggface", size=32))
  config = take_over(ModelConfig("vggface_b", init_from=PLACE), small)
  _, options, preprocess = make_model(config)
  assert options["width"] == 0.25 and options["embedding_size"] == 8 and preprocess.size == (32, 32)
  with pytest.raises(Contradiction, match=r"model\.options\.width 0\.5"):
    take_over(ModelConfig("vggface_b", init_from=PLACE, options={"width": 0.5}), small)


def test_faces_of_another_template_are_refused(origin):
  config = take_over(ModelConfig(init_from=PLACE), origin)
  assert make_model(config, "lightcnn128")[2].template == "lightcnn128"
  with pytest.raises(ValueError, match=r"'lightcnn128'.*'arcface112'"):
    make_model(config, "arcface112")


def test_two_conventions_are_told_apart_by_the_fields_that_differ():
  one = get_preprocess("unit", size=112)
  assert differing(one, replace(one, fit="resize")) == ["fit: 'crop' here, 'resize' there"]
  assert differing(one, replace(one, template="none")) == []


def test_norms_can_be_frozen_only_where_they_have_statistics():
  with pytest.raises(ValueError, match=r"model\.freeze_norm needs model\.init_from"):
    ModelConfig(freeze_norm=True)
