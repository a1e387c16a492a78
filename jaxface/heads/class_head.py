"""A head whose classes are sharded over all devices: each device scores the full batch against its own classes.

Devices exchange the embeddings of the batch [B, D], once in each direction, labels, weights and a few numbers per row. No exchange
grows with the number of classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxface.heads.columns import LARGEST_BLOCK, Columns
from jaxface.heads.devices import Devices
from jaxface.heads.draw import draw, positives
from jaxface.heads.exchange import Given, backward, forward
from jaxface.heads.padding import padded_classes
from jaxface.heads.passes import Params, Pull, Seen, Update, square_pass, update_pass
from jaxface.losses.dense import HeadResult
from jaxface.losses.joint import Margin
from jaxface.losses.ranges import class_labels

Tree = Any


class _Rows(NamedTuple):
  """Inputs of a head, by row of the batch."""

  embedding_bd: Array
  label_b: Array
  weight_b: Array


@dataclass(frozen=True)
class ClassHead:
  """Cross-entropy of a margin over classes that may be sharded over devices, sampled, and scored in blocks.

  With all classes it equals `dense_head` up to rounding, in value and in all gradients.

  Attributes:
    margin: what scores become.
    num_classes: C. Rows after these are padding: they are in no loss and are never updated.
    size: w: one class of every w is sampled at each step (`jaxface.heads.draw`), beside all classes of the batch; 1 uses all
      classes.
    block: classes scored at once, recomputed in the backward pass, so that no B × C array exists; 0 stores the scores.
    label_smoothing: ε in [0, 1), share of the target spread evenly over the classes that are scored.
    mesh: centres and batch are sharded by their first axis over all its devices; None for one device.
  """

  margin: Margin
  num_classes: int
  size: int = 1
  block: int = 0
  label_smoothing: float = 0.0
  mesh: Mesh | None = None

  def __call__(
    self, params: Params, embedding_bd: Array, label_b: Array, weight_b: Array, *, state: Any, step: Array | int = 0,
    key: Array | None = None, draw_key: Array | None = None,
  ) -> HeadResult:
    """Loss of each row, with gradients of embeddings and of all centres and biases.

    Args:
      params: center_cd [R·K, D], the K sub-centres of a class in consecutive rows, R ≥ C a multiple of w·devices
        (`padded_classes`); with a bias, bias_c [R].
      embedding_bd: [B, D] float; B is a multiple of the devices.
      label_b: [B] int. A label outside [0, C) has no own column; its score is 0.
      weight_b: [B], passed to the margin's statistics; the loss is not multiplied by it.
      state: of the margin.
      step: number of the optimizer step.
      key: random key of this step, for margins that draw.
      draw_key: random key of the sampled classes; needed with w > 1.
    Raises:
      ValueError: sizes that are not divisible by the devices, or a missing draw_key.
      TypeError: labels that are not integers.
    """
    rows = _Rows(embedding_bd, label_b, weight_b)
    return self._result(params, rows, None, Given(label_b, state, step, key, draw_key))[0]

  def apart(
    self, params: Params, embedding_bd: Array, label_b: Array, weight_b: Array, *, pull: Pull, state: Any, step: Array | int = 0,
    key: Array | None = None, draw_key: Array | None = None, batch_label_b: Array | None = None,
  ) -> tuple[HeadResult, Seen]:
    """Like a call, but without a gradient of the centres: the gradient of `pull` is the input of `update`, which computes it.

    Args:
      params: as in a call.
      embedding_bd: of a part of the batch.
      label_b: likewise.
      weight_b: likewise.
      pull: `no_pull`, whose gradient `update` takes.
      state: as in a call.
      step: as in a call.
      key: as in a call.
      draw_key: as in a call, the same for all parts of a batch.
      batch_label_b: labels of the whole batch, all of whose classes are scored; None where this is the batch.
    Returns:
      The result, and what `update` needs beside the gradient.
    """
    batch_label_b = label_b if batch_label_b is None else batch_label_b
    rows = _Rows(embedding_bd, label_b, weight_b)
    return self._result(params, rows, pull, Given(batch_label_b, state, step, key, draw_key))

  @staticmethod
  def no_pull(batch: int, dtype: Any = jnp.float32) -> Pull:
    """Zeros for `apart`."""
    return Pull(*(jnp.zeros(batch, dtype) for _ in Pull._fields))

  def update(
    self, params: Params, slots: Tree, seen: Seen, pull: Pull, update: Callable[..., tuple[Params, Tree]], *given: Any,
    go: Array | bool = True,
  ) -> tuple[Params, Tree, Array]:
    """Updates the classes that a step scored, in place if the arrays are donated.

    Args:
      params: as in a call.
      slots: their optimizer state: leaves [R·m, ...] with m rows of each class.
      seen: from `apart`, with a leading axis of the parts of the batch (`pick_g` without).
      pull: gradient of its `pull`, with that axis too.
      update: `(params, gradients, slots, class numbers [k], *given) -> (params, slots)` on the rows of some classes.
      *given: trees of arrays that `update` needs, the same for all classes.
      go: false changes nothing.
    Returns:
      Centres and biases, slots, and the sum of the squares of the gradient over the classes that were scored.
    """
    devices = Devices.of(self.mesh)

    def local(params: Params, slots: Tree, seen: Seen, pull: Pull, go: Array, given: tuple) -> tuple:
      columns = self.columns(devices, params, seen.label_b.reshape(-1), seen.pick_g)
      apply: Update = lambda *block: update(*block, *given)  # noqa: E731
      params, slots, square = update_pass(columns, params, slots, seen, pull, self.margin, apply, go)
      return params, slots, devices.sum(square)

    part = P(devices.axes)
    run = self._over_devices(local, (part, part, self._parts_specs(), P(), P(), P()), (part, part, P()))
    return run(params, slots, seen, pull, jnp.asarray(go), given)

  def square(self, params: Params, seen: Seen, pull: Pull) -> Array:
    """Sum of squares of the gradient that `update` would apply, for clipping; arguments as of `update`."""
    devices = Devices.of(self.mesh)

    def local(params: Params, seen: Seen, pull: Pull) -> Array:
      columns = self.columns(devices, params, seen.label_b.reshape(-1), seen.pick_g)
      return devices.sum(square_pass(columns, params, seen, pull, self.margin))

    return self._over_devices(local, (P(devices.axes), self._parts_specs(), P()), P())(params, seen, pull)

  def columns(self, devices: Devices, params: Params, label_b: Array, pick_g: Array | None) -> Columns:
    """The classes that this device scores, from its own `params`; inside `shard_map`."""
    rows = len(params["center_cd"]) // self.margin.geometry.subcenters
    first = devices.index() * rows
    more = None if pick_g is None else positives(label_b, first, pick_g, self.size, self.num_classes)
    return Columns(first, rows, self.num_classes, pick_g, more, self.size, self.block or LARGEST_BLOCK)

  def draw(self, devices: Devices, params: Params, key: Array | None) -> Array | None:
    """The classes sampled from the groups of this device; None if all classes are used."""
    if self.size == 1:
      return None
    if key is None:
      raise ValueError(f"the head draws one class of every {self.size} and got no random key: pass draw_key=jax.random.key(...)")
    groups = len(params["center_cd"]) // (self.margin.geometry.subcenters * self.size)
    return draw(key, devices.index() * groups, groups, self.size)

  def _over_devices(self, function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    if self.mesh is None:
      return function
    return jax.shard_map(function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

  def _seen_specs(self) -> Any:
    part: Any = P(Devices.of(self.mesh).axes)
    all_: Any = P()
    return Seen(rows_bd=all_, label_b=all_, ctx=all_, peak_b=all_, score_nbk=part, pick_g=part)

  def _parts_specs(self) -> Any:
    return self._seen_specs()._replace(score_nbk=P(None, Devices.of(self.mesh).axes))

  def _result(self, params: Params, rows: _Rows, pull: Pull | None, given: Given) -> tuple[HeadResult, Seen]:
    """The head with a custom gradient, so that its exchanges between devices are explicit."""
    self._check(params, rows.embedding_bd)
    devices, apart = Devices.of(self.mesh), pull is not None
    rows = rows._replace(label_b=_known(class_labels(rows.label_b), self.num_classes))
    given = given._replace(batch_label_b=_known(class_labels(given.batch_label_b), self.num_classes))

    part: Any = P(devices.axes)
    all_: Any = P()
    given_specs = Given(part, all_, all_, all_, all_)
    result_specs = HeadResult(part, all_, part, part, part)
    run = self._over_devices(
      lambda *arrays: forward(self, devices, *arrays), (part, part, part, part, given_specs),
      (result_specs, self._seen_specs(), all_),
    )
    back = self._over_devices(
      lambda *arrays: backward(self, devices, *arrays, apart=apart),
      (part, part, given_specs, self._seen_specs(), all_, result_specs), (part, all_ if apart else part),
    )

    @jax.custom_vjp
    def head(params: Params, rows: _Rows, pull: Pull | None, given: Given) -> tuple[HeadResult, Seen]:
      return run(params, *rows, given)[:2]

    def fwd(params: Params, rows: _Rows, pull: Pull | None, given: Given) -> tuple:
      result, seen, saved = run(params, *rows, given)
      return (result, seen), (params, rows.embedding_bd, given, seen, saved)

    def bwd(residual: tuple, bars: tuple[HeadResult, Seen]) -> tuple:
      x_bar_bd, other = back(*residual, bars[0])
      rows_bar = _Rows(x_bar_bd, None, None)  # type: ignore[arg-type]
      return (None, rows_bar, other, None) if apart else (other, rows_bar, None, None)

    head.defvjp(fwd, bwd)
    return head(params, rows, pull, given)

  def _check(self, params: Params, embedding_bd: Array) -> None:
    devices, k = Devices.of(self.mesh).count, self.margin.geometry.subcenters
    found = len(params["center_cd"])
    if found % (k * self.size * devices) or found < k * self.num_classes:
      raise ValueError(
        f"center_cd has {found} rows: {self.num_classes} classes with {k} centre(s) each, in groups of {self.size} over {devices}"
        f" device(s), need {padded_classes(self.num_classes, self.size, devices) * k} (jaxface.heads.padded_classes)"
      )
    if len(embedding_bd) % devices:
      raise ValueError(f"a batch of {len(embedding_bd)} rows does not spread over {devices} devices: give a multiple of that")


def _known(label_b: Array, num_classes: int) -> Array:
  return jnp.where((label_b >= 0) & (label_b < num_classes), label_b, -1)


__all__ = ["ClassHead"]
