"""Classification of identities as a term of the objective: a margin over a head, with its metrics.

Two heads compute the same loss. `dense_head` scores all classes in one block, and gradients of all centres go through the optimizer.
`ClassHead`, the default, shards classes over all devices, may sample them and score them in blocks, and the step updates only the rows
that it scored, in place. That is faster and needs less memory on one device too (`benchmarks.class_centers`).
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from jaxface.heads.centers import init_centers
from jaxface.heads.checks import check_rows
from jaxface.heads.class_head import ClassHead
from jaxface.heads.columns import LARGEST_BLOCK
from jaxface.heads.devices import Devices
from jaxface.heads.draw import LARGEST_GROUP
from jaxface.heads.padding import padded_classes
from jaxface.heads.passes import Pull, Seen
from jaxface.losses.dense import HeadResult, dense_head
from jaxface.losses.joint import Margin
from jaxface.losses.margins import CosFace
from jaxface.losses.margins_filter import Filtered
from jaxface.losses.metrics import Metric, Sum, mean_of
from jaxface.losses.ranges import check_choice, check_range, class_labels
from jaxface.losses.regularisers import center_repulsion

CENTER_INITS = ("normal", "mean_embedding")
CENTER_DTYPES = ("float32", "bfloat16")
# A sample rate this close to 1/w, relatively, is taken as 1/w: 0.33 is a third.
_RATE_TOLERANCE = 0.011


@dataclass(frozen=True)
class Classification:
  """Classifies the identities of the training set.

  Attributes:
    margin: margin applied to the scores.
    label_smoothing: ε in [0, 1), share of the target spread evenly over all classes.
    interclass_filtering: other classes whose cosine to a row is above this are ignored in its loss, as probably the same
      person under another name, see `Filtered`; None ignores none.
    center_repulsion: weight of the repulsion energy between the centres of the batch's classes and all others; with
      `ASoftmax` this is SphereFace+ (which uses 1).
    center_init: initial centres: "normal" (random), or "mean_embedding", the mean embedding of each identity's images
      under the initial network, see `jaxface.training.class_centers`.
    sharded: centres are updated by rows, and with several devices their classes are sharded over all of them; False uses the dense
      head, with all centres on each device. With `center_repulsion`, whose energy needs all centres, the head is dense and the
      compiler shards them.
    sample_rate: share 1/w of the classes that a step scores, beside all classes of its batch (Partial FC). Only the centres of
      these classes are updated, with their momentum and weight decay. 1 scores all classes.
    block: classes scored at once, recomputed in the backward pass, so that no array of batch × classes exists; 0 stores the scores.
    center_dtype: of the centres: "float32", or "bfloat16", updated with stochastic rounding; the optimizer's state stays float32.
    debug: report step and row of non-finite embeddings and labels out of range, see `check_rows`.
    weight: weight of this term in the objective, which multiplies by it; the term does not.
  """

  scope: ClassVar[str] = "row"

  margin: Margin = field(default_factory=CosFace)
  label_smoothing: float = 0.0
  interclass_filtering: float | None = None
  center_repulsion: float = 0.0
  center_init: Literal["normal", "mean_embedding"] = "normal"
  sharded: bool = True
  sample_rate: float = 1.0
  block: int = 0
  center_dtype: Literal["float32", "bfloat16"] = "float32"
  debug: bool = False
  weight: float = 1.0

  def __post_init__(self) -> None:
    check_range(self, "label_smoothing", 0.0, 1.0, open_high=True, what="share of the target spread over all classes")
    check_range(self, "center_repulsion", 0.0, math.inf, open_high=True, what="weight of the energy between centres")
    check_range(self, "weight", 0.0, what="factor of this term in the objective")
    check_choice(self, "center_init", CENTER_INITS)
    check_choice(self, "center_dtype", CENTER_DTYPES)
    check_range(self, "sample_rate", 0.0, 1.0, open_low=True, what="share of the classes that a step scores")
    check_range(self, "block", 0, what="classes scored at once, 0 stores the scores")
    self._check_rate()
    self._check_rows()
    subcenters = self.margin.geometry.subcenters
    if self.center_repulsion and subcenters > 1:
      raise ValueError(
        f"Classification.center_repulsion = {self.center_repulsion} needs one centre per class, but the margin"
        f" {type(self.margin).__name__} has {subcenters}, which would repel each other too"
      )
    self._margin()  # Checks the threshold.

  @property
  def group(self) -> int:
    """w: one class of every w is sampled in a step; 1 uses all classes."""
    return round(1 / self.sample_rate)

  @property
  def row_settings(self) -> list[str]:
    """Names of the fields that need a head with updates by rows."""
    asked = {"sample_rate": self.sample_rate < 1, "block": self.block > 0, "center_dtype": self.center_dtype != "float32"}
    return [name for name, needed in asked.items() if needed]

  def head(self, num_classes: int, mesh: Mesh | None = None, *, parts: int = 1) -> ClassHead | None:
    """The head whose centres a step updates by rows; None for the dense head.

    Args:
      num_classes: C, identities of the training set.
      mesh: devices of the run; None outside of a run, which asks for the dense head unless a setting needs rows.
      parts: parts of a batch; with several, scores are recomputed rather than stored for all of them.
    """
    by_rows = bool(self.row_settings) or (self.sharded and mesh is not None and not self.center_repulsion)
    if not by_rows:
      return None
    block = self.block or (LARGEST_BLOCK if parts > 1 else 0)
    return ClassHead(self._margin(), num_classes, self.group, block, self.label_smoothing, mesh)

  def init(
    self, key: Array, embedding_size: int, num_classes: int, *, head: ClassHead | None = None
  ) -> tuple[dict[str, Array], Any]:
    """Parameters (centres, biases) and the margin's state.

    Args:
      key: random key.
      embedding_size: D.
      num_classes: C, identities of the training set.
      head: from `head`: centres are padded, sharded and of its type; None for the dense head.
    Returns:
      center_cd [C·K, D] (and bias_c [C]), with a head [R·K, D] (and [R]) for its R ≥ C rows; and the state.
    """
    more: dict[str, Any] = {}
    if head is not None:
      rows = padded_classes(num_classes, head.size, Devices.of(head.mesh).count)
      more = {"rows": rows, "mesh": head.mesh, "dtype": jnp.dtype(self.center_dtype)}
    return init_centers(key, num_classes, embedding_size, self.margin.geometry, **more), self.margin.init_state()

  def __call__(
    self, params: dict[str, Array], inputs: dict[str, Array], *, state: Any, step: Array | int, key: Array | None,
  ) -> tuple[Array, Any, dict[str, Metric]]:
    """Weighted loss of each row, the new state, and metrics of the batch, by the dense head.

    Rows of weight 0 are masked before any computation: whatever they contain, even NaN, they do not contribute and get
    no gradient. Rows with a label out of range are masked too and counted by the metric `bad_labels` (the loader rejects
    them on the host and names the record; `debug` reports row and step).

    Args:
      params: from `init`.
      inputs: embedding_bd [B, D] float, label_b [B] int, weight_b [B] float (0 for padding).
      state: from `init` or the previous step.
      step: number of the optimizer step, from 0.
      key: random key of this step.
    Returns:
      loss_b [B], already multiplied by the weight of its row: the mean is sum(loss_b) / sum(weight_b). The state.
      Metrics, weighted means over the rows: accuracy (own score, before the margin, above all others),
      target_score and other_score (own, and largest other; cosines for normalised margins), embedding_norm; and
      the sum bad_labels. With `center_repulsion` also center_energy.
    Raises:
      TypeError: labels that are not integers.
    """
    num_classes = params["center_cd"].shape[0] // self.margin.geometry.subcenters
    rows = self._rows(inputs, num_classes, step)
    result = dense_head(
      params, rows.embedding_bd, rows.label_b, rows.weight_b,
      margin=self._margin(), state=state, step=step, key=key, label_smoothing=self.label_smoothing,
    )
    loss_b, metrics = self._measured(rows, result)
    if self.center_repulsion:
      energy_b = center_repulsion(params["center_cd"], jnp.where(rows.live_b, rows.label_b, 0))
      loss_b = loss_b + self.center_repulsion * energy_b * rows.weight_b
      metrics["center_energy"] = mean_of(energy_b, rows.weight_b)
    return loss_b, result.state, metrics

  def apart(
    self, head: ClassHead, params: dict[str, Array], inputs: dict[str, Array], *, pull: Pull, state: Any, step: Array | int,
    key: Array | None, draw_key: Array, batch_label_b: Array,
  ) -> tuple[Array, Any, dict[str, Metric], Seen]:
    """Like a call, with centres that a step updates by rows: it has no gradient of them, see `ClassHead.apart`.

    Args:
      head: from `head`.
      params: from `init` with that head.
      inputs: as in a call, of a part of the batch.
      pull: zeros, whose gradient `ClassHead.update` takes.
      state: as in a call.
      step: as in a call.
      key: as in a call.
      draw_key: random key of the sampled classes, the same for all parts.
      batch_label_b: labels of the whole batch.
    Returns:
      As of a call, and what `ClassHead.update` needs. With `sample_rate` below 1 the metrics of other classes are those of the
      sample: sampled_accuracy, sampled_other_score.
    """
    rows = self._rows(inputs, head.num_classes, step)
    # A masked row has no class: its label must not put a class among those that are updated.
    label_b = jnp.where(rows.live_b, rows.label_b, -1)
    result, seen = head.apart(
      params, rows.embedding_bd, label_b, rows.weight_b, pull=pull, state=state, step=step, key=key,
      draw_key=draw_key if head.size > 1 else None, batch_label_b=batch_label_b,
    )
    loss_b, metrics = self._measured(rows, result)
    if head.size > 1:
      metrics = {f"sampled_{name}" if name in ("accuracy", "other_score") else name: value for name, value in metrics.items()}
    return loss_b, result.state, metrics, seen

  def _rows(self, inputs: dict[str, Array], num_classes: int, step: Array | int) -> "_Rows":
    label_b, weight_b = class_labels(inputs["label_b"]), inputs["weight_b"]
    if self.debug:
      check_rows(inputs["embedding_bd"], label_b, weight_b, num_classes, step)
    known_b = (label_b >= 0) & (label_b < num_classes)
    live_b = known_b & (weight_b > 0)
    bad = jnp.sum(~known_b & (weight_b > 0), dtype=weight_b.dtype)
    return _Rows(
      jnp.where(live_b[:, None], inputs["embedding_bd"], 0.0), label_b, jnp.where(live_b, weight_b, 0.0), live_b, bad
    )

  @staticmethod
  def _measured(rows: "_Rows", result: HeadResult) -> tuple[Array, dict[str, Metric]]:
    weight_b = rows.weight_b
    loss_b = jnp.where(rows.live_b, result.loss_b, 0.0) * weight_b
    return loss_b, {
      "accuracy": mean_of(result.target_b > result.best_other_b, weight_b),
      "target_score": mean_of(result.target_b, weight_b),
      "other_score": mean_of(result.best_other_b, weight_b),
      "embedding_norm": mean_of(result.norm_b, weight_b),
      "bad_labels": Sum(rows.bad_labels),
    }

  def _margin(self) -> Margin:
    threshold = self.interclass_filtering
    return self.margin if threshold is None else Filtered(self.margin, threshold)

  def _check_rate(self) -> None:
    group, rate = self.group, self.sample_rate
    if abs(rate * group - 1) > _RATE_TOLERANCE:
      raise ValueError(
        f"Classification.sample_rate = {rate} is not 1/w for a whole number w, one class of every w: nearest are"
        f" {1 / (group + 1):.4g} and {1 / group:.4g}"
      )
    if group > LARGEST_GROUP:
      raise ValueError(f"Classification.sample_rate = {rate} samples one class of {group:,}: the least is 1/{LARGEST_GROUP:,}")

  def _check_rows(self) -> None:
    names = self.row_settings
    if names and self.center_repulsion:
      raise ValueError(
        f"Classification.{names[0]} = {getattr(self, names[0])!r} updates centres by rows, but center_repulsion ="
        f" {self.center_repulsion} needs all centres in each step: set one of the two back"
      )
    if names and not self.sharded:
      raise ValueError(
        f"Classification.{names[0]} = {getattr(self, names[0])!r} needs sharded = True: centres that are updated by rows have no copies"
        " on other devices"
      )


class _Rows(NamedTuple):
  """Rows of a batch without those that are masked.

  Attributes:
    embedding_bd: [B, D], zero in masked rows.
    label_b: [B] int.
    weight_b: [B], zero in masked rows.
    live_b: [B] bool, false in masked rows.
    bad_labels: number of rows with weight and without a class.
  """

  embedding_bd: Array
  label_b: Array
  weight_b: Array
  live_b: Array
  bad_labels: Array


__all__ = ["Classification"]
