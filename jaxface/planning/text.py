"""A plan as lines of text, and as plain values for JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from jaxface.planning.make import Plan
from jaxface.planning.roofline import ASSUMPTIONS
from jaxface.planning.settings import Setting
from jaxface.training.memory_table import size_text


def plan_lines(plan: Plan) -> Iterator[str]:
  """A plan in lines."""
  chips = plan.topology
  yield f"{plan.experiment} on {chips.name}: {chips.count:,} devices, batch {plan.batch:,}, {plan.identities:,} identities"
  yield ""
  yield from columns([("memory of a device", "bytes"), *((name, size_text(nbytes)) for name, nbytes in plan.parts.items()),
                      ("together" + ("" if plan.compiled else ", estimated"), size_text(plan.memory))])
  yield verdict(plan)
  if plan.compiled:
    yield f"estimate from the trace alone: {size_text(plan.estimated)}, {percent(plan.estimated / plan.memory - 1)} beside the compiler"
  yield ""
  yield from columns(work_rows(plan))
  if plan.exchanges:
    yield ""
    yield from columns([("exchanged in a step", "axis", "devices", "times", "bytes", "seconds"), *exchange_rows(plan)])
  if plan.time:
    yield ""
    yield from columns(time_rows(plan))
  if plan.tried:
    yield ""
    yield from columns([("setting (estimated)", "memory", ""), *setting_rows(plan)])
  if plan.enough:
    yield f"it fits with {plan.enough.text}: {size_text(plan.fitting)} (estimated)"
  elif plan.fits is False and plan.tried:
    yield "no setting makes it fit: take more devices, or devices with more memory"
  yield ""
  for note in [*plan.notes, *(f"assumed: {line}" for line in ASSUMPTIONS if plan.time)]:
    yield f"- {note}"


def verdict(plan: Plan) -> str:
  """Whether it fits, as a sentence."""
  if plan.fits is None:
    return "whether it fits is not known"
  return f"{'fits' if plan.fits else 'DOES NOT FIT'}: {size_text(plan.memory)} of {size_text(plan.limit)} of a device"


def work_rows(plan: Plan) -> list[tuple[str, ...]]:
  """Operations and bytes of a step."""
  rows: list[tuple[str, ...]] = [("work of a device in a step", ""), ("products", f"{plan.flops / 1e12:.3f} TFLOP"), ("bytes to and from memory", size_text(plan.nbytes))]
  if plan.compiled and not plan.compiled.refused:
    rows += [
      ("the compiler's own counts", f"{plan.compiled.reported_flops / 1e12:.3f} TFLOP, {size_text(plan.compiled.reported_bytes)}"),
    ]
  return rows


def exchange_rows(plan: Plan) -> list[tuple[str, ...]]:
  """Collectives of a step."""
  return [
    (one.kind, one.axis, f"{one.members:,}", f"{one.times:,}", size_text(one.nbytes), duration(one.seconds) if one.seconds else "–")
    for one in plan.exchanges
  ]


def time_rows(plan: Plan) -> list[tuple[str, ...]]:
  """Time, speed and cost."""
  time = plan.time
  assert time
  rows: list[tuple[str, ...]] = [
    ("time of a step, at best", duration(time.step)), ("products at peak speed", duration(time.products)),
    ("bytes at the memory's speed", duration(time.memory)), ("operations, each at the slower of both", duration(time.operations)),
    ("collectives", duration(time.exchange)), ("limited by", time.bound), ("images/s of all devices", f"{plan.images_per_second:,.0f}"),
    ("share of peak", f"{100 * plan.share_of_peak:.0f} %"),
  ]
  if plan.images:
    rows.append((f"hours of an epoch of {plan.images:,} images", f"{plan.hours_per_epoch:.3g}"))
  if plan.images and plan.price:
    rows.append((f"cost of an epoch at {plan.price:g} per device and hour", f"{plan.cost_per_epoch:,.2f}"))
  return rows


def setting_rows(plan: Plan) -> list[tuple[str, ...]]:
  """Settings that were tried."""

  def fits(memory: int) -> str:
    return "" if not plan.limit or not memory else "fits: " if memory <= plan.limit else "does not fit: "

  return [
    (one.setting.text, size_text(one.memory) if one.memory else "–", fits(one.memory) + (one.note or one.setting.effect)) for one in plan.tried
  ]


def plain(plan: Plan) -> dict[str, Any]:
  """A plan as JSON values."""
  time = plan.time
  return {
    "experiment": plan.experiment, "overrides": dict(plan.overrides), "topology": plan.topology.name, "devices": plan.topology.count,
    "identities": plan.identities, "batch": plan.batch, "compiled": plan.compiled is not None,
    "refused_bytes": plan.compiled.refused if plan.compiled else 0, "memory": dict(plan.parts), "memory_bytes": plan.memory,
    "limit_bytes": plan.limit, "fits": plan.fits, "estimated_bytes": plan.estimated, "flops": plan.flops, "memory_traffic_bytes": plan.nbytes,
    "reported": {"flops": plan.compiled.reported_flops, "bytes": plan.compiled.reported_bytes} if plan.compiled else None,
    "versions": dict(plan.compiled.versions or {}) if plan.compiled else None, "compile_seconds": plan.compiled.seconds if plan.compiled else None,
    "exchanges": [one._asdict() for one in plan.exchanges],
    "time": {**time._asdict(), "step": time.step, "bound": time.bound} if time else None,
    "images_per_second": plan.images_per_second, "share_of_peak": plan.share_of_peak, "images": plan.images,
    "hours_per_epoch": plan.hours_per_epoch, "price": plan.price, "cost_per_epoch": plan.cost_per_epoch,
    "settings": [{"set": dict(one.setting.overrides), "memory_bytes": one.memory, "note": one.note or one.setting.effect} for one in plan.tried],
    "enough": _enough(plan.enough), "fitting_bytes": plan.fitting, "notes": list(plan.notes),
  }


def _enough(setting: Setting | None) -> dict[str, str] | None:
  return None if setting is None else dict(setting.overrides)


def duration(seconds: float) -> str:
  """Seconds in a fitting unit."""
  for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
    if seconds >= size:
      return f"{seconds / size:.3g} {unit}"
  return "0 s" if not seconds else f"{seconds / 1e-9:.3g} ns"


def percent(share: float) -> str:
  """A signed share in per cent."""
  return f"{100 * share:+.1f} %".replace("-", "−")


def columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
  """Rows with cells below each other; the first two columns are padded."""
  widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(max(map(len, rows)))]
  for row in rows:
    yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


__all__ = ["columns", "duration", "exchange_rows", "percent", "plain", "plan_lines", "setting_rows", "time_rows", "verdict", "work_rows"]
