"""Translates a JAX function of one array to an ONNX model: its jaxpr, equation by equation, with a free batch size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

from jaxface import __version__
from jaxface.interop.onnx_elementwise import prelu
from jaxface.interop.onnx_file import need
from jaxface.interop.onnx_graph import Graph
from jaxface.interop.onnx_movement import cut
from jaxface.interop.onnx_primitives import RULES
from jaxface.interop.onnx_values import BATCH, Const, Shape, Tensor, Unsupported, Value, fixed, plain, stored
from jaxface.layers.formulation import formulation

OPSETS = range(13, 18)
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@dataclass(frozen=True)
class Prelude:
  """Nodes between the graph's argument and the function's.

  Attributes:
    emit: maps the graph and the name of its argument to the name of the function's argument.
    sizes: sizes of an example of the graph's argument; a string names a free size.
    result: dtype of the function's argument.
  """

  emit: Callable[[Graph, str], str]
  sizes: tuple[int | str, ...]
  result: np.dtype


def to_onnx(
  function: Callable[[Array], Array],
  shape: tuple[int, ...],
  dtype: np.dtype,
  *,
  names: tuple[str, str] = ("image", "embedding"),
  opset: int = 17,
  metadata: dict[str, str] | None = None,
  prelude: Prelude | None = None,
) -> Any:
  """Translate a function into an `onnx.ModelProto`.

  Constant expressions are evaluated; the rest becomes at most one node per primitive.

  Args:
    function: maps [batch, *shape] to one array that begins with the batch; must compute each example separately (a mean
      over the batch would contain the traced batch size).
    shape: shape of one example.
    dtype: dtype of the argument.
    names: names of argument and result.
    opset: 13 to 17.
    metadata: text by key.
    prelude: nodes before the function, for operations on sizes known only at run time.
  Raises:
    Unsupported: a primitive without a translation.
  """
  if opset not in OPSETS:
    raise ValueError(f"opset {opset}: takes {OPSETS.start} to {OPSETS.stop - 1}")
  need("onnx")
  graph = Graph()
  begin = names[0] if prelude is None else prelude.emit(graph, names[0])
  argument = plain(begin, (BATCH, *shape))
  # A new function: a cached trace of this one may use another formulation.
  with formulation("xla"):
    inner = dtype if prelude is None else prelude.result
    closed = jax.jit(lambda x: function(x)).trace(jax.ShapeDtypeStruct(argument.shape, inner)).jaxpr
  (out,) = _run(graph, closed.jaxpr, closed.consts, [argument])
  if not isinstance(out, Tensor):
    raise Unsupported(f"{names[1]} does not depend on {names[0]}")
  if out.shape[:1] != (BATCH,):
    shown = ", ".join(str(n) if fixed(n) else f"{n // BATCH}·batch" for n in out.shape)
    raise Unsupported(f"{names[1]} has shape [{shown}], which does not begin with the batch")
  graph.finish(stored(graph, out, tuple(range(len(out.shape)))), names[1])
  result_dtype = np.dtype(closed.out_avals[0].dtype)
  return _proto(
    graph,
    [
      (names[0], _sizes(argument.shape) if prelude is None else ["batch", *prelude.sizes], np.dtype(dtype)),
      (names[1], _sizes(out.shape), result_dtype),
    ],
    opset,
    metadata or {},
  )


def _run(graph: Graph, jaxpr: Any, consts: Sequence[Any], values: Sequence[Value]) -> list[Value]:
  """Translate the equations of a jaxpr."""
  env: dict[Any, Value] = {}
  for variable, const in zip(jaxpr.constvars, consts):
    env[variable] = _const(const)
  env.update(zip(jaxpr.invars, values))

  def read(atom: Any) -> Value:
    return _const(atom.val) if isinstance(atom, Literal) else env[atom]

  for eqn in jaxpr.eqns:
    env.update(zip(eqn.outvars, _equation(graph, eqn, [read(atom) for atom in eqn.invars])))
  return [read(atom) for atom in jaxpr.outvars]


def _equation(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
  name, params = eqn.primitive.name, eqn.params
  shapes = [tuple(v.aval.shape) for v in eqn.outvars]
  if params.get("name") == "prelu":
    merged = prelu(graph, values, shapes[0])
    if merged is not None:
      return [merged]
  for key in _INNER:
    if key in params:
      inner = params[key]
      closed = isinstance(inner, ClosedJaxpr)
      return _run(graph, inner.jaxpr if closed else inner, inner.consts if closed else (), values)
  if all(isinstance(value, Const) for value in values):
    return _evaluate(eqn, values, shapes)
  if name == "split":
    return _split(graph, values[0], params, shapes)
  if name not in RULES:
    types = [
      ", ".join(str(v.aval) for v in side).replace(str(BATCH), "batch") for side in (eqn.invars, eqn.outvars)
    ]
    raise Unsupported(
      f"no translation of the JAX primitive {name!r} ({types[0]} -> {types[1]}); supported are"
      f" {', '.join(sorted([*RULES, 'split']))}"
    )
  return [RULES[name](graph, values, params, shapes[0], np.dtype(eqn.outvars[0].aval.dtype))]


def _evaluate(eqn: Any, values: Sequence[Value], shapes: list[Shape]) -> list[Value]:
  """Evaluates an equation that depends only on parameters."""
  arrays = [value for value in values if isinstance(value, Const)]
  if eqn.primitive.name == "broadcast_in_dim":
    sizes = [1] * len(shapes[0])
    for axis, n in zip(eqn.params["broadcast_dimensions"], arrays[0].array.shape):
      sizes[axis] = n
    return [Const(arrays[0].array.reshape(sizes), shapes[0])]
  if not all(fixed(n) for shape in shapes for n in shape):
    raise Unsupported(f"the JAX primitive {eqn.primitive.name!r} on constants with the size of the batch")
  out = eqn.primitive.bind(*(jnp.asarray(value.whole()) for value in arrays), **eqn.params)
  return [_const(array) for array in (out if eqn.primitive.multiple_results else [out])]


def _split(graph: Graph, value: Value, params: dict[str, Any], shapes: list[Shape]) -> list[Value]:
  assert isinstance(value, Tensor)
  parts: list[Value] = []
  start = 0
  for size, shape in zip(params["sizes"], shapes):
    starts, limits = [0] * len(shape), list(value.shape)
    starts[params["axis"]], limits[params["axis"]] = start, start + size
    parts.append(cut(graph, value, tuple(starts), tuple(limits), (1,) * len(shape), shape))
    start += size
  return parts


def _const(array: Any) -> Const:
  array = np.asarray(array)
  return Const(array, array.shape)


def _sizes(shape: Shape) -> list[int | str]:
  """A shape for a graph."""
  return [n if fixed(n) else "batch" for n in shape]


def _proto(
  graph: Graph, ends: list[tuple[str, list[int | str], np.dtype]], opset: int, metadata: dict[str, str]
) -> Any:
  """The graph as a model; `ends` are name, shape and dtype of argument and result."""
  onnx = need("onnx")
  helper = onnx.helper
  first, last = (
    helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)
    for name, shape, dtype in ends
  )
  model = helper.make_model(
    helper.make_graph(
      [helper.make_node(n.op, n.inputs, [n.output], name=n.output, **n.attributes) for n in graph.nodes],
      "jaxface",
      [first],
      [last],
      [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    ),
    opset_imports=[helper.make_opsetid("", opset)],
    ir_version=8,
    producer_name="jaxface",
    producer_version=__version__,
  )
  helper.set_model_props(model, metadata)
  onnx.checker.check_model(model, full_check=True)
  return model


__all__ = ["OPSETS", "Prelude", "to_onnx"]
