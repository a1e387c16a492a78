"""Which axis of each array of a traced step is sharded over the devices, followed from the inputs through the equations."""

import math
from collections.abc import Sequence
from typing import Any

Axis = int | None


def spec_axis(sharding: Any) -> Axis:
  """The axis that a `NamedSharding` shards; None if it is replicated."""
  spec = getattr(sharding, "spec", ())
  return next((axis for axis, names in enumerate(spec) if names), None)


def result_axis(eqn: Any, axes: Sequence[Axis]) -> tuple[Axis, bool]:
  """Sharded axis of the first result of an equation, and whether devices must sum their results.

  Args:
    eqn: an equation without inner equations.
    axes: sharded axis of each operand.
  """
  name, out = eqn.primitive.name, eqn.outvars[0].aval
  given = [(place, axis) for place, axis in enumerate(axes) if axis is not None]
  if name in ("sharding_constraint", "reshard"):
    return spec_axis(eqn.params.get("sharding") or eqn.params.get("dst_sharding")), False
  if not given:
    return None, False
  place, axis = given[0]
  shape = eqn.invars[place].aval.shape
  if name == "dot_general":
    return _dot(eqn, place, axis)
  if name == "conv_general_dilated":
    numbers = eqn.params["dimension_numbers"]
    if all(at == 1 for at, _ in given) and numbers.rhs_spec[0] == axis:
      return numbers.out_spec[1], False
    return (numbers.out_spec[0], False) if place == 0 and numbers.lhs_spec[0] == axis else (None, True)
  if name in _REDUCTIONS:
    gone = eqn.params["axes"]
    return (None, name in _SUMS) if axis in gone else (axis - sum(each < axis for each in gone), False)
  if name == "broadcast_in_dim":
    return eqn.params["broadcast_dimensions"][axis], False
  if name == "transpose":
    return eqn.params["permutation"].index(axis), False
  if name == "squeeze":
    return axis - sum(each < axis for each in eqn.params["dimensions"]), False
  if name == "reshape":
    before = math.prod(shape[:axis])
    ends = [place for place in range(len(out.shape)) if math.prod(out.shape[:place]) == before and out.shape[place] > 1]
    return (ends[0], False) if ends else (None, False)
  # Elementwise, or along other axes.
  for at, each in given:
    if each < len(out.shape) and out.shape[each] == eqn.invars[at].aval.shape[each]:
      return each, False
  return None, False


_SUMS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or"}
_REDUCTIONS = _SUMS | {"argmax", "argmin", "reduce_prod", "reduce_xor"}


def _dot(eqn: Any, place: int, axis: int) -> tuple[Axis, bool]:
  (contracted, batch) = eqn.params["dimension_numbers"]
  if axis in contracted[place]:
    return None, True
  if axis in batch[place]:
    return list(batch[place]).index(axis), False
  free = [
    [each for each in range(len(eqn.invars[side].aval.shape)) if each not in contracted[side] and each not in batch[side]]
    for side in (0, 1)
  ]
  return len(batch[0]) + (len(free[0]) if place else 0) + free[place].index(axis), False


__all__ = ["result_axis", "spec_axis"]
