"""Speed and correctness of jaxface on a GPU or TPU, beside PyTorch where it is installed.

  python -m benchmarks.accelerator [--minutes 8] [--json FILE] [--eager] [--only WORD ...] [--xla-flags SET]
  python -m benchmarks.accelerator --show FILE

Needs jax, flax, optax, chex and numpy, in the checkout; nothing else is imported. The parts run in the order of their importance, each
in processes of its own: the device with its versions and the speed of a matrix product; losses, gradients, a training step and
augmentation against the CPU's; training steps of networks in bfloat16 with their share of the published peak, memory, compile time and
time by part; the class centres alone, dense and sampled, up to as many classes as fit; semi-hard mining; locally connected layers. A
part that no longer fits into the time is skipped, and named. --json is written whole after each part, so that a run that is killed
leaves its figures. PyTorch runs the same work in turns with ours: channels last, autocast, eager and by `torch.compile` (--eager leaves
the latter out). Exits with 1 if a part failed or a result was wrong.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accelerator import check, device, heads, losses, nets
from benchmarks.accelerator.budget import FAILED, Part, Report, Tables, run_parts
from benchmarks.accelerator.show import markdown
from benchmarks.accelerator.sides import Place, device_settings, torch_peers
from benchmarks.accelerator.sizes import FULL, TINY, Sizes
from benchmarks.torch_sides import EAGER


def plan(sizes: Sizes, peers: list[str], facts: dict[str, Any], place: Callable[[], Place]) -> list[Part]:
  """All parts after the device, the most important first.

  Args:
    sizes: sizes of the measurements.
    peers: sides of PyTorch.
    facts: filled by the part of the device, which is run first.
    place: where sides run.
  """
  eager = [peer for peer in peers if peer == EAGER]
  step = {"identities": sizes.identities, "round_seconds": sizes.round_seconds}
  own = list(sizes.nets)
  compile_seconds = 60.0 * (len(peers) - len(eager))

  def net(name: str, batch: int, sides: list[str], *, profile: bool = False) -> Callable[[], Tables]:
    return lambda: nets.measure(name, sizes.nets[name], batch, place(), sides, flops_peak=facts.get("peak"), profile=profile, **step)

  def head(case: str, classes: int) -> Part:
    sides = peers if case in ("dense head", "a tenth") else []
    return Part(f"class centres, {classes:,}, {case}", 25 + 15 * len(sides), partial(lambda: heads.measure(case, classes, place(), sizes, sides)))

  first = [Part(f"{name}, batch {sizes.nets[name].batch}", 60, net(name, sizes.nets[name].batch, eager, profile=True)) for name in own]
  first[0] = Part(first[0].name, 60 + compile_seconds, net(own[0], sizes.nets[own[0]].batch, peers, profile=True))
  centers = [[head(case, classes) for case in heads.CASES] for classes in sizes.classes]
  triplets = [Part(f"semi-hard triplets, {size}", 20, partial(losses.mining, size, place(), sizes, peers)) for size in sizes.triplets]
  layers = [Part(f"locally connected, {name}", 30, partial(losses.local, name, place(), sizes, peers)) for name in sizes.local]
  largest = [Part(f"as many classes as fit, {case}", 60, partial(lambda case: heads.most_classes(case, place(), sizes), case))
             for case in ("a tenth, in blocks", "all, in blocks", "dense head")]
  rest = [
    Part(f"{name}, batch {batch}", 45, net(name, batch, eager))
    for turn in range(max(map(len, sizes.batches.values()), default=0))
    for name in own if turn < len(sizes.batches.get(name, ())) for batch in sizes.batches[name][turn : turn + 1]
  ]
  compiled = [Part(f"{name}, batch {sizes.nets[name].batch}, with torch.compile", 60 + compile_seconds, net(name, sizes.nets[name].batch, peers))
              for name in own[1:] if peers != eager]
  return [*first[:1], *centers[0], *first[1:2], *triplets[:1], *first[2:], *[part for each in centers[1:] for part in each], *layers,
          *triplets[1:], *largest, *rest, *compiled]


def device_part(sizes: Sizes, report: Report, facts: dict[str, Any], place: Callable[[], Place]) -> Part:
  """The part that all others need."""

  def run() -> Tables:
    side = place().open(device.describe, sizes.product, sizes.round_seconds)
    facts.update(side.facts)
    side.close()
    report.machine = {name: value for name, value in facts.items() if name not in ("steps", "measured")}
    return {device.TABLE: [device.row(facts, sizes.product)]}

  return Part("device", 25, run)


def check_part(sizes: Sizes, wrong: list[str], place: Callable[[], Place]) -> Part:
  """The correctness pass; names of results that are wrong are appended to `wrong`."""

  def run() -> Tables:
    small = next((net for name, net in sizes.nets.items() if name == "iresnet18"), next(iter(sizes.nets.values())))
    side = place().open(check.check_side, small, sizes.identities, sizes.check_side, sizes.check_batch)
    results = [check.Result(*result) for result in side.facts["results"]]
    side.close()
    wrong.extend(result.name for result in results if not result.passed)
    return {check.TABLE: [check.row(result) for result in results]}

  return Part("correctness", 75, run)


def main(arguments: list[str] | None = None) -> int:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.accelerator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--minutes", type=float, default=8.0, help="time for all parts (default: %(default)s)")
  parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file after each part")
  parser.add_argument("--show", type=Path, metavar="FILE", help="only print the tables of a file that --json wrote")
  parser.add_argument("--eager", action="store_true", help="without torch.compile")
  parser.add_argument("--without-torch", action="store_true", help="without PyTorch")
  parser.add_argument("--only", nargs="+", metavar="WORD", help="only parts with one of these words in their names, after the device")
  parser.add_argument("--xla-flags", metavar="SET", help="a set of XLA flags, see docs/xla_flags.md")
  parser.add_argument("--tiny", action="store_true", help="tiny sizes in this process, without PyTorch, to try it on a CPU; the figures mean nothing")
  options = parser.parse_args(arguments)
  if options.show:
    print(markdown(Report.read(options.show)))
    return 0
  start = time.monotonic()
  device_settings()
  if options.xla_flags:
    from jaxface.xla_flags import apply

    apply(options.xla_flags, os.environ)
  sizes = TINY if options.tiny else FULL
  deadline = start + 60 * options.minutes
  facts: dict[str, Any] = {}
  wrong: list[str] = []
  given = sys.argv[1:] if arguments is None else arguments
  report = Report(shlex.join(["python", "-m", "benchmarks.accelerator", *given]), options.minutes)

  def place() -> Place:
    # A part that hangs leaves most of the time to the others.
    own = time.monotonic() + max(120.0, 60 * options.minutes / 3)
    return Place(min(deadline, own), options.tiny, facts.get("platform") != "tpu", sizes.rounds)

  def say(line: str) -> None:
    print(f"[{time.monotonic() - start:5.0f} s] {line}", file=sys.stderr, flush=True)

  run_parts([device_part(sizes, report, facts, place)], report, deadline, file=options.json, say=say)
  peers = [] if options.without_torch or options.tiny or facts.get("platform") == "tpu" else torch_peers(options.eager)
  parts = [check_part(sizes, wrong, place), *plan(sizes, peers, facts, place)]
  if options.only:
    parts = [part for part in parts if any(word in part.name for word in options.only)]
  if facts:
    run_parts(parts, report, deadline, file=options.json, say=say)
  print(markdown(report))
  for name in wrong:
    print(f"wrong on this device: {name}", file=sys.stderr)
  return int(bool(wrong) or any(part["state"] == FAILED for part in report.parts))


if __name__ == "__main__":
  sys.exit(main())
