"""Writes the tables of docs/plan.md: plans of two networks for pods of TPUs, and the figures of three benchmarks.

  pip install libtpu==0.0.52
  python docs/make_plan_page.py [--compile] [--only TEXT]
  python -m benchmarks.plan_memory --json docs/plan_memory.json
  python -m benchmarks.step_model --json docs/step_model.json
  python -m benchmarks.weak_scaling --json docs/weak_scaling.json
  python docs/make_plan_page.py --page-only

Plans are kept in docs/plan.json, and each is made once: without --compile from steps that `jaxface plan` compiled before, and by estimate
where there is none.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from generated import replace_part

from benchmarks.page import Findings, describe
from jaxface.formats.atomic import write_json
from jaxface.planning import make
from jaxface.planning.compiled import compile_for
from jaxface.planning.text import plain
from jaxface.training.resolve import describe as describe_fields

FOLDER = Path(__file__).parent
PAGE, PLANS, HEADS = FOLDER / "plan.md", FOLDER / "plan.json", FOLDER / "plan_heads.json"
BENCHMARKS = ("plan_memory", "step_model", "weak_scaling")
NETWORKS = ("iresnet50", "iresnet100")
TOPOLOGIES = ("v5e:8x8", "v5e:16x16", "v5p:4x4x4")
IDENTITIES = (1_000_000, 10_000_000, 30_000_000, 100_000_000)
BATCH = 8192
# A step that is quick to compile, of the experiment quickstart, and compares the estimate of a sampled head on 256 devices.
MORE = [("quickstart", "v5e:16x16", 100_000_000, {"terms.0.sample_rate": "0.1"})]
FIELDS = (
  "overrides", "topology", "devices", "identities", "batch", "compiled", "refused_bytes", "memory", "memory_bytes", "limit_bytes", "fits",
  "estimated_bytes", "flops", "memory_traffic_bytes", "reported", "compile_seconds", "versions", "exchanges", "time", "images_per_second",
  "share_of_peak", "enough", "fitting_bytes",
)


def cases() -> list[tuple[str, str, int, dict[str, str]]]:
  """Network, topology, identities, and further fields of each plan."""
  return [*MORE, *((net, topology, count, {}) for net in NETWORKS for count in IDENTITIES for topology in TOPOLOGIES)]


def key_of(net: str, topology: str, count: int, more: dict[str, str]) -> str:
  """Name of a case."""
  return " ".join([net, topology, f"{count}", *(f"--{name} {value}" for name, value in more.items())])


def keep_estimates() -> None:
  """Makes equal steps be traced once: a v5e of 8 × 8 and a v5p of 4 × 4 × 4 have as many devices."""
  kept: dict[str, Any] = {}
  trace = make._estimated

  def estimated(config: Any, identities: int, devices: Any) -> Any:
    key = f"{describe_fields(config)} {identities} {devices.count} {devices.platform}"
    if key not in kept:
      kept[key] = trace(config, identities, devices)
    return kept[key]

  make._estimated = estimated


def planned(net: str, topology: str, count: int, more: dict[str, str], compiling: bool) -> dict[str, Any]:
  """A plan's figures."""
  experiment, own = ("quickstart", {}) if net == "quickstart" else ("arcface_r50", {"model.name": net, "model.dtype": "bfloat16"})
  fields = {**own, "batch_size": str(BATCH), **more}
  if not compiling:
    make.compile_for = lambda *given, **options: compile_for(*given, **options, only_kept=True)
  found = make.plan(experiment, topology, identities=count, overrides=fields, say=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
  figures = plain(found)
  return {name: figures[name] for name in FIELDS}


def estimated_heads() -> list[dict[str, Any]]:
  """The estimate of each step of `benchmarks.pod_head` beside what the compiler said of it (docs/pod_head.json), in bytes."""
  from jax.sharding import AbstractMesh, AxisType

  from benchmarks.head_step import head_step
  from benchmarks.pod_head import BATCH, CASES, SIZE
  from jaxface.planning.abstract_step import AbstractStep
  from jaxface.planning.estimate import estimate, traced

  pod = Findings.read(FOLDER / "pod_head.json")
  mesh = AbstractMesh((pod.facts["chips"],), ("data",), axis_types=(AxisType.Auto,))

  def step(classes: int, settings: dict[str, Any]) -> AbstractStep:
    head = head_step(classes, SIZE, BATCH, mesh, **settings)
    return AbstractStep(head.step, mesh, head.state, head.batch)

  rows = []
  for (classes, settings), known in zip(CASES, pod.rows, strict=True):
    found = estimate(*traced(lambda classes=classes, settings=settings: step(classes, settings)), tpu=True)
    compiled = 1e9 * (known["centres and momentum, GB per chip"] + known["temporaries, GB per chip"])
    rows.append({"identities": classes, "settings": known["settings"], "compiled": compiled, "estimated": found.arguments + found.temporaries})
  return rows


def heads_table(rows: list[dict[str, Any]]) -> str:
  """The estimate beside the compiler's figure for class centres alone."""
  lines = ["| class centres alone, v5e:16x16 | settings | compiled, GB | estimated, GB | error |", "|---|---|---|---|---|"]
  lines += [
    f"| {row['identities']:,} | {row['settings']} | {row['compiled'] / 1e9:.3f} | {row['estimated'] / 1e9:.3f} |"
    f" {100 * (row['estimated'] / row['compiled'] - 1):+.1f} % ({(row['estimated'] - row['compiled']) / 1e6:+.0f} MB) |" for row in rows
  ]
  return "\n".join(lines)


def plans_table(plans: dict[str, dict[str, Any]]) -> str:
  """A row for each plan."""
  lines = [
    "| network | devices | identities | memory, GB | of, GB | compiled? | fits | setting that makes it fit | step, ms at best | images/s at best | share of peak |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
  ]
  for net, topology, count, more in cases():
    plan = plans.get(key_of(net, topology, count, more))
    if plan is None:
      continue
    by = "refused by the compiler" if plan["refused_bytes"] else "compiled" if plan["compiled"] else "estimated"
    enough = " ".join(f"`--{name} {value}`" for name, value in (plan["enough"] or {}).items())
    enough += f", {plan['fitting_bytes'] / 1e9:.1f} GB" if plan["enough"] else ""
    given = ", ".join(f"{name} {value}" for name, value in more.items())
    lines.append(
      f"| {net}{f', {given}' if given else ''} | {topology} | {count:,} | {plan['memory_bytes'] / 1e9:.2f} | {plan['limit_bytes'] / 1e9:.1f} | {by} |"
      f" {'yes' if plan['fits'] else 'no'} | {enough or '–'} | {1e3 * plan['time']['step']:.1f} | {plan['images_per_second']:,.0f} |"
      f" {100 * plan['share_of_peak']:.0f} % |"
    )
  missing = [key_of(*case) for case in cases() if key_of(*case) not in plans]
  if missing:
    lines += ["", f"Not made yet ({len(missing)} of {len(cases())}): {'; '.join(missing)}."]
  return "\n".join(lines)


def estimates_table(plans: dict[str, dict[str, Any]]) -> str:
  """The estimate beside the compiler's figure, where a step was compiled."""
  lines = [
    "| network | devices | identities | compiled, GB | estimated, GB | error | products, TFLOP | bytes counted, GB | bytes reported, GB | compile s |",
    "|---|---|---|---|---|---|---|---|---|---|",
  ]
  for name, plan in plans.items():
    if plan["compiled"] and not plan["refused_bytes"]:
      lines.append(
        f"| {name.split()[0]} | {plan['topology']} | {plan['identities']:,} | {plan['memory_bytes'] / 1e9:.2f} | {plan['estimated_bytes'] / 1e9:.2f} |"
        f" {100 * (plan['estimated_bytes'] / plan['memory_bytes'] - 1):+.1f} % | {plan['flops'] / 1e12:.2f} | {plan['memory_traffic_bytes'] / 1e9:.1f} |"
        f" {plan['reported']['bytes'] / 1e9:.1f} | {plan['compile_seconds']:.0f} |"
      )
  return "\n".join(lines)


def exchanges_table(plans: dict[str, dict[str, Any]]) -> str:
  """What devices exchange in each compiled step."""
  lines = ["| network | devices | identities | collective | axis | times | MB of results on a device | ms |", "|---|---|---|---|---|---|---|---|"]
  for name, plan in plans.items():
    if plan["compiled"] and not plan["refused_bytes"]:
      lines += [
        f"| {name.split()[0]} | {plan['topology']} | {plan['identities']:,} | {one['kind']} | {one['axis']} | {one['times']:,} | {one['nbytes'] / 1e6:.2f} |"
        f" {1e3 * one['seconds']:.2f} |" for one in plan["exchanges"]
      ]
  return "\n".join(lines)


def main() -> int:
  """Makes what is missing, and writes the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--compile", action="store_true", help="compile steps that are not kept, minutes each")
  parser.add_argument("--only", default="", metavar="TEXT", help="only plans whose name contains this")
  parser.add_argument("--again", action="store_true", help="make plans again that were estimated")
  parser.add_argument("--heads", action="store_true", help="make the estimates of class centres alone again")
  parser.add_argument("--page-only", action="store_true", help="make no plan")
  options = parser.parse_args()
  keep_estimates()
  plans = json.loads(PLANS.read_text(encoding="utf-8")) if PLANS.is_file() else {}
  for case in [] if options.page_only else cases():
    name = key_of(*case)
    known = name in plans and (plans[name]["compiled"] or not options.again)
    if options.only in name and not known:
      print(name, file=sys.stderr, flush=True)
      plans[name] = planned(*case, options.compile)
      write_json(PLANS, plans)
  if options.heads or (not HEADS.is_file() and not options.page_only):
    write_json(HEADS, estimated_heads())
  heads = heads_table(json.loads(HEADS.read_text(encoding="utf-8")))
  replace_part(PAGE, "docs/make_plan_page.py", "\n\n".join([plans_table(plans), estimates_table(plans), heads, exchanges_table(plans)]))
  for name in BENCHMARKS:
    if (FOLDER / f"{name}.json").is_file():
      findings = Findings.read(FOLDER / f"{name}.json")
      replace_part(PAGE, f"benchmarks.{name}", f"{findings.markdown()}\n\n{describe(findings.machine)}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
