"""The classification term: padding, labels that are none, metrics, and one result on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.heads.classification import Classification
from jaxface.heads.per_member import PerMember
from jaxface.losses.margins import ArcFace, CosFace, NormSoftmax, Softmax
from jaxface.losses.margins_adaptive import AdaFace, CurricularFace, ElasticFace, MagFace
from jaxface.losses.margins_asoftmax import ASoftmax
from jaxface.losses.margins_filter import Filtered
from jaxface.losses.metrics import values
from jaxface.losses.regularisers import center_repulsion

B, D, C = 16, 12, 24


def draw(term, seed=0, weight=None):
  rng = np.random.default_rng(seed)
  params, state = term.init(jax.random.key(seed), D, C)
  inputs = {
    "embedding_bd": rng.normal(size=(B, D)).astype(np.float32),
    "label_b": rng.integers(0, C, B).astype(np.int32),
    "weight_b": np.ones(B, np.float32) if weight is None else np.asarray(weight, np.float32),
  }
  return params, state, inputs


def value_and_gradients(term, params, state, inputs, shardings=(None, None)):
  def loss(params, embedding_bd, rest):
    loss_b, new_state, metrics = term(
      params, {**rest, "embedding_bd": embedding_bd}, state=state, step=3, key=jax.random.key(1)
    )
    return loss_b.sum() / rest["weight_b"].sum(), (loss_b, new_state, values(metrics))

  rest = {name: value for name, value in inputs.items() if name != "embedding_bd"}
  params_at, rows_at = shardings
  run = jax.jit(
    jax.value_and_grad(loss, (0, 1), has_aux=True), in_shardings=None if params_at is None else (params_at, rows_at, rows_at)
  )
  (mean, (loss_b, new_state, metrics)), gradients = run(params, inputs["embedding_bd"], rest)
  return mean, loss_b, new_state, metrics, gradients


MOVING = [AdaFace(rate=0.5), CurricularFace(rate=0.5)]


@pytest.mark.parametrize("margin", [Softmax(), ArcFace(warmup_steps=9), ArcFace(subcenters=2), MagFace(low_norm=1.0), *MOVING])
def test_padding_equals_its_absence_whatever_it_holds(margin):
  repulsion = 0.3 if margin.geometry.subcenters == 1 else 0.0
  term = Classification(margin, label_smoothing=0.1, interclass_filtering=0.3, center_repulsion=repulsion)
  params, state, inputs = draw(term, weight=[1, 0] * (B // 2))
  inputs["embedding_bd"][1] = np.nan
  inputs["embedding_bd"][3] = np.inf
  inputs["label_b"][5] = -7
  mean, loss_b, moved, metrics, (params_bar, x_bar) = value_and_gradients(term, params, state, inputs)
  subset = {name: value[::2] for name, value in inputs.items()}
  expected = value_and_gradients(term, params, state, subset)
  np.testing.assert_allclose(mean, expected[0], rtol=1e-6)
  np.testing.assert_array_equal(loss_b[1::2], 0.0)
  np.testing.assert_array_equal(x_bar[1::2], 0.0)
  np.testing.assert_allclose(x_bar[::2], expected[4][1], rtol=1e-4, atol=1e-7)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), params_bar, expected[4][0])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), (moved, metrics), (expected[2], expected[3]))


def test_a_weight_counts_as_often():
  term = Classification(CosFace())
  params, state, inputs = draw(term, weight=[2] + [1] * (B - 1))
  twice = {name: np.concatenate([value, value[:1]]) for name, value in inputs.items()}
  twice["weight_b"] = np.ones(B + 1, np.float32)
  mean, _, _, metrics, _ = value_and_gradients(term, params, state, inputs)
  expected = value_and_gradients(term, params, state, twice)
  np.testing.assert_allclose(mean, expected[0], rtol=1e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), metrics, expected[3])


@pytest.mark.parametrize("bad", [-1, C, 2**31 - 1])
def test_a_label_that_is_no_class_is_cut_off_and_counted(bad):
  term = Classification(ArcFace())
  params, state, inputs = draw(term)
  inputs["label_b"][4] = bad
  mean, loss_b, _, metrics, gradients = value_and_gradients(term, params, state, inputs)
  assert metrics["bad_labels"] == 1
  assert loss_b[4] == 0 and not gradients[1][4].any()
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((mean, metrics, gradients)))


def test_a_batch_of_padding_alone_is_zero():
  term = Classification(ArcFace())
  params, state, inputs = draw(term, weight=np.zeros(B))
  loss_b, _, metrics = jax.jit(lambda p, i: term(p, i, state=state, step=0, key=None))(params, inputs)
  np.testing.assert_array_equal(loss_b, 0.0)
  figures = values(metrics)
  assert figures.pop("bad_labels") == 0 and all(np.isnan(value) for value in figures.values())


def test_metrics_by_hand():
  term = Classification(NormSoftmax())
  params = {"center_cd": jnp.eye(3, 3)}
  inputs = {
    # Right (cosines 0.8, 0.6, 0), wrong (0.6 against 0.8), padding.
    "embedding_bd": jnp.array([[8.0, 6.0, 0.0], [4.0, 3.0, 0.0], [9.0, 9.0, 9.0]]),
    "label_b": jnp.array([0, 1, 2]),
    "weight_b": jnp.array([1.0, 1.0, 0.0]),
  }
  _, _, metrics = jax.jit(lambda p, i: term(p, i, state={}, step=0, key=None))(params, inputs)
  expected = {"accuracy": 0.5, "target_score": 0.7, "other_score": 0.7, "embedding_norm": 7.5, "bad_labels": 0.0}
  figures = values(metrics)
  assert figures.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(figures[name], value, rtol=1e-6)


def test_a_broken_center_shows_in_the_loss():
  term = Classification(ArcFace())
  params, state, inputs = draw(term)
  params["center_cd"] = params["center_cd"].at[3].set(jnp.nan)
  assert not np.isfinite(value_and_gradients(term, params, state, inputs)[0])


MESHES = [(margin, shape) for margin in (Softmax(), ArcFace(subcenters=2)) for shape in [(8, 1), (4, 2), (1, 8)]]
MESHES += [(margin, (4, 2)) for margin in (*MOVING, ElasticFace(), ASoftmax(), MagFace(low_norm=1.0))]


@pytest.mark.parametrize(("margin", "shape"), MESHES)
def test_one_loss_and_one_gradient_and_one_state_on_every_mesh(margin, shape):
  repulsion = 0.3 if margin.geometry.subcenters == 1 else 0.0
  term = Classification(margin, label_smoothing=0.1, center_repulsion=repulsion)
  params, state, inputs = draw(term, weight=[1] * (B - 3) + [0] * 3)
  expected = value_and_gradients(term, params, state, inputs)
  mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(shape), ("data", "class"), axis_types=(AxisType.Auto,) * 2)
  found = value_and_gradients(
    term, params, state, inputs, (NamedSharding(mesh, P("class")), NamedSharding(mesh, P(("data", "class"))))
  )
  def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6 * max(1.0, np.abs(b).max()))

  jax.tree.map(close, found, expected)


def test_sharded_classes_are_never_gathered():
  mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(2, 4), ("data", "class"), axis_types=(AxisType.Auto,) * 2)
  classes, rows = NamedSharding(mesh, P("class")), NamedSharding(mesh, P(("data", "class")))
  term, many = Classification(ArcFace(), interclass_filtering=0.4, center_repulsion=1.0), 4_096

  def loss(center_cd, x, y, w):
    return term({"center_cd": center_cd}, {"embedding_bd": x, "label_b": y, "weight_b": w}, state={}, step=0, key=None)[0].sum()

  shapes = [((many, D), "float32"), ((B, D), "float32"), ((B,), "int32"), ((B,), "float32")]
  compiled = jax.jit(
    jax.grad(loss, (0, 1)), in_shardings=(classes, rows, rows, rows), out_shardings=(classes, rows)
  ).lower(*(jax.ShapeDtypeStruct(*shape) for shape in shapes)).compile()
  text = compiled.as_text()
  assert f"[{many}," not in text and f",{many}]" not in text
  assert f"[{many // 4},{D}]" in text


@pytest.mark.parametrize(("field", "value"), [
  ("label_smoothing", 1.0), ("label_smoothing", -0.1), ("weight", -1.0), ("center_repulsion", -1.0),
])
def test_hyper_parameters_out_of_range(field, value):
  with pytest.raises(ValueError, match=rf"Classification\.{field} = {value}"):
    Classification(**{field: value})


def test_filtering_is_an_option_of_every_margin():
  plain, filtered = Classification(ArcFace(), interclass_filtering=0.4), Classification(Filtered(ArcFace(), 0.4))
  params, state, inputs = draw(plain)
  found, expected, without = (
    value_and_gradients(term, params, state, inputs)[0] for term in (plain, filtered, Classification(ArcFace()))
  )
  assert found == expected < without


def test_repulsion_is_added_and_measured():
  term = Classification(ASoftmax(), center_repulsion=0.5)
  params, state, inputs = draw(term, weight=[1, 0] * (B // 2))
  mean, _, _, metrics, _ = value_and_gradients(term, params, state, inputs)
  energy = center_repulsion(params["center_cd"], inputs["label_b"])[::2].mean()
  np.testing.assert_allclose(metrics["center_energy"], energy, rtol=1e-6)
  plain = value_and_gradients(Classification(ASoftmax()), params, state, inputs)[0]
  np.testing.assert_allclose(mean - plain, 0.5 * energy, rtol=1e-4)


def broken_inputs(inputs):
  """What is no embedding in row 5 and no class in row 7; padding, row 0, may hold anything."""
  inputs["weight_b"][0], inputs["embedding_bd"][0], inputs["label_b"][0] = 0.0, np.nan, -3
  embedding_bd, label_b = inputs["embedding_bd"].copy(), inputs["label_b"].copy()
  embedding_bd[5, 2], label_b[7] = np.inf, C
  return {**inputs, "embedding_bd": embedding_bd}, {**inputs, "label_b": label_b}


NO_EMBEDDING = "step 3: 1 of 16 embeddings are not finite, first in rows 5"
NO_CLASS = f"step 3: 1 of 16 labels are out of range: row 7 has label {C}; valid are 0 to {C - 1}"


@pytest.mark.parametrize("sharded", [False, True])
def test_debug_names_what_is_no_embedding_or_no_class(sharded, caplog):
  term = Classification(ArcFace(), debug=True)
  params, state, inputs = draw(term)
  shardings = (None, None)
  if sharded:
    mesh = Mesh(np.asarray(jax.devices()[:8]), ("data",), axis_types=(AxisType.Auto,))
    shardings = (NamedSharding(mesh, P()), NamedSharding(mesh, P("data")))
  told = []
  for rows in (inputs, *broken_inputs(inputs)):
    caplog.clear()
    jax.block_until_ready(value_and_gradients(term, params, state, rows, shardings))
    jax.effects_barrier()
    told.append([record.getMessage() for record in caplog.records if record.name == "jaxface.heads.checks"])
  assert not told[0]
  assert NO_EMBEDDING in told[1][0] and NO_CLASS in told[2][0]


def test_debug_refuses_them_outside_of_jit():
  term = Classification(ArcFace(), debug=True)
  params, state, inputs = draw(term)
  no_embedding, no_class = broken_inputs(inputs)
  term(params, inputs, state=state, step=3, key=None)
  with pytest.raises(FloatingPointError, match=NO_EMBEDDING):
    term(params, no_embedding, state=state, step=3, key=None)
  with pytest.raises(ValueError, match=NO_CLASS):
    term(params, no_class, state=state, step=3, key=None)


def test_labels_of_another_type_are_refused():
  term = Classification(ArcFace())
  params, state, inputs = draw(term)
  inputs["label_b"] = inputs["label_b"].astype(np.float32)
  with pytest.raises(TypeError, match="label_b is float32"):
    value_and_gradients(term, params, state, inputs)


def test_options_that_cannot_be():
  with pytest.raises(ValueError, match=r"center_repulsion = 1\.0 needs one centre per class.*ArcFace has 2"):
    Classification(ArcFace(subcenters=2), center_repulsion=1.0)
  with pytest.raises(ValueError, match=r"Filtered\.threshold = 1\.5"):
    Classification(ArcFace(), interclass_filtering=1.5)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"sample_rate": 0.7}, "sample_rate = 0.7 is not 1/w for a whole number w, one class of every w: nearest are 0.5 and 1"),
    ({"sample_rate": 1e-6}, "samples one class of 1,000,000: the least is 1/65,535"),
    ({"sample_rate": 0.1, "center_repulsion": 1.0}, r"sample_rate = 0.1 updates centres by rows, but center_repulsion = 1.0"),
    ({"block": 64, "sharded": False}, "block = 64 needs sharded = True"),
    ({"center_dtype": "float16"}, "center_dtype"),
  ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    Classification(**settings)


@pytest.mark.parametrize(("rate", "group"), [(1.0, 1), (0.5, 2), (0.33, 3), (1 / 3, 3), (0.1, 10), (0.001, 1000)])
def test_a_sample_rate_is_one_class_of_a_group(rate, group):
  assert Classification(sample_rate=rate).group == group


def test_an_ensemble_refuses_updates_by_rows():
  with pytest.raises(ValueError, match=r"PerMember\.term\.block = 8 is not supported for ensembles"):
    PerMember(Classification(block=8), members=2)
