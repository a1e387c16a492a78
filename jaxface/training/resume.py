"""Which fields and data may change when a run is resumed, and which must not.

Every field of an experiment is in one of three lists. A field in none of them is bound; a test checks this.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxface.data.fingerprint import fingerprint
from jaxface.training.parts import Data

# Fields that do not change what a step computes.
FREE = frozenset({
  "name", "log_every", "checkpoint_every", "checkpoints", "keep_checkpoints", "max_bad_steps", "max_bad_share", "use", "export",
  "data.threads", "data.stream_memory", "data.on_damage", "data.synthetic.remember",
  "mesh.devices", "mesh.slices", "mesh.fsdp", "mesh.distributed", "mesh.coordinator", "mesh.processes", "mesh.process_id",
  "mesh.heartbeat_seconds", "mesh.stall_seconds", "mesh.compare_values",
  "tracking.to", "tracking.project", "tracking.server",
  "terms.N.sharded", "terms.N.block",
  # A set is identified by its name; its content is compared as data.
  "evaluation", "evaluation.N.name", "evaluation.N.every",
})
# Paths or selection of data: the content is compared instead (`describe_data`), so that files may move.
BY_CONTENT = frozenset({
  "data.records", "data.mixture", "data.images", "data.align", "data.template", "data.licence", "data.origin", "data.embeddings",
  "evaluation.N.images", "evaluation.N.records", "evaluation.N.template", "evaluation.N.protocol",
  "evaluation.N.pairs", "evaluation.N.seed", "evaluation.N.mirror", "evaluation.N.crops",
})
# Compared by value. A name that ends in a dot includes every field below it that is in no other list.
BOUND = frozenset({
  "steps", "batch_size", "accumulate", "seed", "ema",
  "data.size", "data.weights", "data.shared_identities", "data.order", "data.stream_lanes", "data.stream_window", "data.identities_per_batch", "data.images_per_identity", "data.mining", "data.mining_margin",
  "data.min_images", "data.holdout", "data.seed",
  "data.synthetic.identities", "data.synthetic.images_per_identity", "data.synthetic.size", "data.synthetic.seed",
  "augment.", "model.", "terms.", "optimizer.", "schedule.", "mesh.gradient_dtype",
})


def generic(name: str) -> str:
  """The name of a field with its tuple indices replaced by N: evaluation.0.every is evaluation.N.every."""
  return re.sub(r"\.\d+(?=\.|$)", ".N", name)


def is_bound(name: str) -> bool:
  """Whether a field must not change when a run is resumed."""
  return generic(name) not in FREE | BY_CONTENT


def field_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """A line for each bound field whose value differs.

  Args:
    before: every field by dotted name, at the start of the run; {} is not compared.
    now: the same when it is resumed.
  """
  if not before:
    return []
  return [
    f"  {name}: {before.get(name, 'absent')!r} then, {now.get(name, 'absent')!r} now"
    for name in {**before, **now}
    if before.get(name) != now.get(name) and is_bound(name)
  ]


def describe_data(data: Data, hooks: Sequence[Any]) -> dict[str, Any]:
  """Identifies the data of a run, independent of paths: JSON values that are equal for equal data.

  Args:
    data: the training set and its order; `fingerprint` of a mined order identifies what it was mined from.
    hooks: hooks of the run; `fingerprint` of a verification set identifies it.
  Returns:
    {"train": {...}, "order": {...}, "evaluation": {name: {...}}}.
  """
  order: Any = data.order
  sets = {hook.config.name: hook.fingerprint() for hook in hooks if hasattr(hook, "fingerprint")}
  return {
    "train": fingerprint(data.source), "order": order.fingerprint() if hasattr(order, "fingerprint") else {}, "evaluation": sets,
    "first_evaluation": next(iter(sets), ""),
  }


def all_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
  """What a folder keeps of a run's data after a continuation: every verification set that one of them had, and which was first.

  Args:
    before: from `describe_data`, as the folder keeps it; {} for a folder that keeps none.
    now: the same of the continuation, which differs in nothing that `data_differences` names.
  """
  if not before:
    return dict(now)
  return {
    **now, "evaluation": {**before["evaluation"], **now["evaluation"]}, "first_evaluation": before["first_evaluation"],
  }


def data_differences(before: Mapping[str, Any], now: Mapping[str, Any], *, best: bool) -> list[str]:
  """A line for each property of the data that differs.

  Verification sets may be added and removed, but a set of the same name must have the same content. If the state is selected
  on the first set, it must remain the first.

  Args:
    before: from `describe_data`, at the start of the run; {} (not recorded) is not compared.
    now: the same when it is resumed.
    best: whether the state that becomes the model is selected on the first verification set.
  """
  if not before:
    return []
  pairs = [("train", before["train"], now["train"]), ("order", before["order"], now["order"])]
  pairs += [
    (f"evaluation {name}", known, now["evaluation"][name])
    for name, known in before["evaluation"].items() if name in now["evaluation"]
  ]
  lines = [
    f"  {what}, {fact}: {_short(then.get(fact, 'absent'))} then, {_short(found.get(fact, 'absent'))} now"
    for what, then, found in pairs for fact in {**then, **found} if then.get(fact) != found.get(fact)
  ]
  if best and before["first_evaluation"] != now["first_evaluation"]:
    lines.append(
      f"  first verification set, on which the state is selected: {before['first_evaluation']!r} then, {now['first_evaluation']!r} now"
    )
  return lines


def _short(value: Any) -> str:
  text = str(value)
  return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text


__all__ = ["BOUND", "BY_CONTENT", "FREE", "all_data", "data_differences", "describe_data", "field_differences", "generic", "is_bound"]
