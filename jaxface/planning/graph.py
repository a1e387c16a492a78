"""A traced step as a list of operations on arrays as each device holds them, with what devices exchange."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxface.planning.axes import result_axis, spec_axis
from jaxface.planning.products import equation_flops

# Equations that a compiler computes where their result is used. All others have results of their own.
CHEAP = {
  "add", "add_any", "sub", "mul", "div", "rem", "neg", "abs", "sign", "max", "min", "pow", "integer_pow", "square", "sqrt", "rsqrt", "cbrt",
  "exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "sin", "cos", "tan", "atan2", "erf", "erf_inv", "floor", "ceil", "round",
  "clamp", "select_n", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "is_finite", "shift_left", "shift_right_logical",
  "shift_right_arithmetic", "convert_element_type", "bitcast_convert_type", "broadcast_in_dim", "reshape", "squeeze", "transpose", "rev",
  "slice", "pad", "iota", "copy", "copy_p", "stop_gradient", "name", "reduce_precision", "expand_dims", "real", "imag", "nextafter",
  "random_bits", "random_seed", "random_wrap", "random_unwrap", "random_fold_in", "random_split", "threefry2x32", "axis_index", "stack",
  "optimization_barrier", "pvary", "pcast", "dynamic_slice", "concatenate", "acos", "asin", "atan", "cosh", "sinh", "population_count", "clz",
}
REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "argmax", "argmin", "reduce_prod", "reduce_xor"}
# Cheap equations that read a part of their first operand.
SLICES = {"slice", "dynamic_slice"}
# Equations that change a part of their first operand.
CHANGES = {"scatter", "scatter-add", "scatter_add", "scatter-mul", "scatter-max", "scatter-min", "dynamic_update_slice"}
_EXCHANGES = {
  "psum": "all-reduce", "psum2": "all-reduce", "psum_invariant": "all-reduce", "pmax": "all-reduce", "pmin": "all-reduce",
  "all_gather": "all-gather", "all_gather_invariant": "all-gather", "reduce_scatter": "reduce-scatter", "psum_scatter": "reduce-scatter",
  "all_to_all": "all-to-all", "ppermute": "collective-permute",
}


class Array(NamedTuple):
  """An array on a device: its shape there, its dtype, and which axis is sharded."""

  shape: tuple[int, ...]
  dtype: Any
  axis: int | None = None

  @property
  def nbytes(self) -> int:
    """Bytes without padding."""
    return math.prod(self.shape) * np.dtype(self.dtype).itemsize if not jax.dtypes.issubdtype(self.dtype, jax.dtypes.prng_key) else 8


@dataclass
class Operation:
  """An operation.

  Attributes:
    name: of the primitive.
    inputs: numbers of arrays.
    outputs: numbers of arrays.
    flops: of its products on each device.
    body: operations of a loop, once; None for any other operation.
    times: how often the body runs.
    in_place: output by the input that it replaces: what a loop carries, and arrays of which a part is changed.
  """

  name: str
  inputs: list[int]
  outputs: list[int]
  flops: float = 0.0
  body: "Graph | None" = None
  times: int = 1
  in_place: dict[int, int] = field(default_factory=dict)


class Sent(NamedTuple):
  """An array that devices exchange, and how often in a step."""

  kind: str
  array: Array
  times: int


@dataclass
class Graph:
  """Operations in order.

  Attributes:
    arrays: all arrays.
    operations: in order.
    given: numbers of the inputs.
    results: numbers of the results.
    sent: what devices exchange.
  """

  arrays: list[Array] = field(default_factory=list)
  operations: list[Operation] = field(default_factory=list)
  given: list[int] = field(default_factory=list)
  results: list[int] = field(default_factory=list)
  sent: list[Sent] = field(default_factory=list)


def graph_of(jaxpr: ClosedJaxpr, inputs: Sequence[Any], devices: int) -> Graph:
  """The graph of a traced function.

  Args:
    jaxpr: from `jit(f).trace(...)`.
    inputs: leaves of the arguments, with shardings.
    devices: of the mesh.
  """
  builder = _Builder(devices, Graph())
  axes = [spec_axis(leaf.sharding) for leaf in inputs]
  numbers = [builder.new(var.aval, axis, False) for var, axis in zip(jaxpr.jaxpr.invars, axes)]
  builder.graph.given = list(numbers)
  builder.graph.results = builder.run(jaxpr.jaxpr, numbers, False, 1)
  return builder.graph


class _Builder:
  def __init__(self, devices: int, graph: Graph):
    self.devices, self.graph = devices, graph

  def new(self, aval: Any, axis: int | None, inside: bool) -> int:
    """A new array; `inside` a shard_map shapes are those of a device already."""
    shape = tuple(aval.shape)
    if axis is not None and not inside:
      shape = tuple(-(-n // self.devices) if place == axis else n for place, n in enumerate(shape))
    self.graph.arrays.append(Array(shape, aval.dtype, None if inside else axis))
    return len(self.graph.arrays) - 1

  def run(self, jaxpr: Jaxpr, inputs: Sequence[int], inside: bool, times: int) -> list[int]:
    """Adds the equations of a jaxpr; returns the numbers of its results."""
    known: dict[Any, int] = dict(zip(jaxpr.invars, inputs))

    def number(atom: Any) -> int:
      if isinstance(atom, Literal) or atom not in known:
        return self.new(atom.aval, None, True)
      return known[atom]

    for eqn in jaxpr.eqns:
      results = self.equation(eqn, [number(atom) for atom in eqn.invars], inside, times)
      known.update(zip(eqn.outvars, results))
    return [number(atom) for atom in jaxpr.outvars]

  def equation(self, eqn: Any, inputs: list[int], inside: bool, times: int) -> list[int]:
    name = eqn.primitive.name
    if name == "shard_map":
      return self.shard_map(eqn, inputs, times)
    if name in ("scan", "while", "cond"):
      return self.loop(eqn, inputs, inside, times)
    inner = next(_inner(eqn.params), None)
    if inner is not None and len(inner.invars) == len(inputs):
      return self.run(inner, inputs, inside, times)
    axis, summed = (None, False) if inside else result_axis(eqn, [self.graph.arrays[n].axis for n in inputs])
    outputs = [self.new(var.aval, axis if place == 0 or _fits(var.aval, eqn, axis) else None, inside) for place, var in enumerate(eqn.outvars)]
    whole = self.devices if not inside and any(self.graph.arrays[n].axis is not None for n in inputs) else 1
    changed = {outputs[0]: inputs[0]} if name in CHANGES else {}
    self.graph.operations.append(Operation(name, inputs, outputs, equation_flops(eqn) / whole, in_place=changed))
    if inside and name in _EXCHANGES:
      self.graph.sent += [Sent(_EXCHANGES[name], self.graph.arrays[n], times) for n in outputs]
    elif summed:
      self.graph.sent += [Sent("all-reduce", self.graph.arrays[n], times) for n in outputs]
    elif name in ("sharding_constraint", "reshard") and self.graph.arrays[inputs[0]].axis is not None and axis is None:
      self.graph.sent.append(Sent("all-gather", self.graph.arrays[outputs[0]], times))
    return outputs

  def shard_map(self, eqn: Any, inputs: list[int], times: int) -> list[int]:
    body = eqn.params["jaxpr"]
    body = body.jaxpr if isinstance(body, ClosedJaxpr) else body
    local = []
    for var, n in zip(body.invars, inputs):
      # The same array, unless it is first gathered.
      same = self.graph.arrays[n].shape == tuple(var.aval.shape)
      if same:
        local.append(n)
      else:
        local.append(self.new(var.aval, None, True))
        if self.graph.arrays[n].axis is not None:
          self.graph.sent.append(Sent("all-gather", self.graph.arrays[local[-1]], times))
        self.graph.operations.append(Operation("reshard", [n], [local[-1]]))
    results = self.run(body, local, True, times)
    outputs = []
    for n, spec in zip(results, eqn.params["out_specs"]):
      axis = next((place for place, names in enumerate(spec) if names), None)
      self.graph.arrays.append(self.graph.arrays[n]._replace(axis=axis))
      outputs.append(len(self.graph.arrays) - 1)
      self.graph.operations.append(Operation("reshape", [n], [outputs[-1]]))
    return outputs

  def loop(self, eqn: Any, inputs: list[int], inside: bool, times: int) -> list[int]:
    """A scan, a while loop whose body counts once, or the branch of a condition with most operations."""
    name, params = eqn.primitive.name, eqn.params
    length, used, consts = 1, inputs, 0
    if name == "scan":
      body, length = params["jaxpr"].jaxpr, params["length"]
      consts, held = params["num_consts"], params["num_consts"] + params["num_carry"]
    elif name == "while":
      body = params["body_jaxpr"].jaxpr
      used, consts = inputs[params["cond_nconsts"] :], params["body_nconsts"]
      held = len(used)
    else:
      body = max((branch.jaxpr for branch in params["branches"]), key=lambda each: len(each.eqns))
      used, held = inputs[1:], len(inputs)
    outer, graph = self.graph, Graph()
    self.graph = graph
    for place, (var, n) in enumerate(zip(body.invars, used)):
      axis = outer.arrays[n].axis
      graph.given.append(self.new(var.aval, None if axis is None or place < held else axis - 1 if axis else None, inside))
      if place < held:
        graph.arrays[-1] = outer.arrays[n]
    graph.results = self.run(body, graph.given, inside, times * length)
    self.graph = outer
    outer.sent += graph.sent
    outputs = []
    for place, var in enumerate(eqn.outvars):
      own = graph.arrays[graph.results[place]]
      stacked = len(var.aval.shape) == len(own.shape) + 1
      shape = (length, *own.shape) if stacked else own.shape
      outer.arrays.append(Array(shape, own.dtype, own.axis + stacked if own.axis is not None else None))
      outputs.append(len(outer.arrays) - 1)
    carried = dict(zip(outputs[: held - consts], used[consts:held])) if name != "cond" else {}
    outer.operations.append(Operation(name, list(used), outputs, 0.0, graph, length, carried))
    return outputs


def _fits(aval: Any, eqn: Any, axis: int | None) -> bool:
  return axis is not None and axis < len(aval.shape) and aval.shape[axis] == eqn.outvars[0].aval.shape[axis]


def _inner(params: dict[str, Any]) -> Any:
  for value in params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(part, ClosedJaxpr):
        yield part.jaxpr
      elif isinstance(part, Jaxpr):
        yield part


__all__ = ["CHANGES", "CHEAP", "REDUCTIONS", "SLICES", "Array", "Graph", "Operation", "Sent", "graph_of"]
