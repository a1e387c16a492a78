"""Writes the tables and the picture of docs/scale.md from the figures of three benchmarks.

  python -m benchmarks.class_growth --json docs/class_growth.json
  pip install libtpu==0.0.52
  python -m benchmarks.pod_head --json docs/pod_head.json
  python -m benchmarks.pair_growth --embeddings lfw.npz --json docs/pair_growth.json
  python docs/make_scale_page.py
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from generated import replace_part

from benchmarks.page import Findings, describe
from jaxface.formats.atomic import atomic_file

FOLDER = Path(__file__).parent
PAGE = FOLDER / "scale.md"
PARTIAL_FC_DEVICES = 8
NAMES = ("class_growth", "pod_head", "pair_growth")


def draw(growth: Findings, path: Path) -> None:
  """Time and memory over the number of identities, one line for each size of the embedding."""
  plt.rcParams.update({"svg.hashsalt": "jaxface", "font.size": 10})
  figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
  labels = ("milliseconds of a step", "megabytes")
  for size in sorted({row["features"] for row in growth.rows}):
    rows = [row for row in growth.rows if row["features"] == size]
    identities = [row["identities"] for row in rows]
    axes[0].plot(identities, [row["step ms"] for row in rows], "o-", label=f"{size} features")
    line = axes[1].plot(identities, [row["state MB"] for row in rows], "o-", label=f"state, {size} features")[0]
    axes[1].plot(
      identities, [row["temporaries MB"] for row in rows], "s--", color=line.get_color(), label=f"temporaries, {size} features"
    )
  for axis, label in zip(axes, labels):
    axis.set(xscale="log", yscale="log", xlabel="identities", ylabel=label)
    axis.set_ylim(top=30 * axis.get_ylim()[1])
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", ncols=2, fontsize=8)
  with atomic_file(path) as temporary:
    figure.savefig(temporary, format="svg", metadata={"Date": None})


def bytes_per_identity(pod: Findings) -> str:
  """How memory grows with identities: Partial FC's published figures beside the pod's rows, over all devices."""

  def growth(few: dict[str, Any], many: dict[str, Any]) -> float:
    gigabytes = sum(many[name] - few[name] for name in many if name.endswith("GB per chip"))
    return gigabytes * 1e9 * pod.facts["chips"] / (many["identities"] - few["identities"])

  def row(identities: int, *settings: str) -> dict[str, Any]:
    return next(row for row in pod.rows if row["identities"] == identities and row["settings"] == ", ".join(settings))

  sampled, large = "sample_rate 0.1", 100_000_000
  lines = [
    ("Partial FC, from 8 M to 29 M identities", PARTIAL_FC_DEVICES * (32.3 - 12.3) * 1e9 / 21e6),
    ("jaxface, scores stored, from 30 M to 100 M", growth(row(30_000_000, sampled), row(large, sampled))),
    ("jaxface, in blocks, from 10 M to 100 M", growth(row(10_000_000, "block 2048"), row(large, sampled, "block 2048"))),
  ]
  return "\n".join(["| | bytes per identity |", "|---|---|", *(f"| {name} | {value:,.0f} |" for name, value in lines)])


def main() -> None:
  """Writes the page and the picture."""
  found = {name: Findings.read(FOLDER / f"{name}.json") for name in NAMES}
  for name, findings in found.items():
    replace_part(PAGE, f"benchmarks.{name}", f"{findings.markdown()}\n\n{describe(findings.machine)}")
  replace_part(PAGE, "docs/make_scale_page.py", bytes_per_identity(found["pod_head"]))
  draw(found["class_growth"], FOLDER / "scale.svg")


if __name__ == "__main__":
  main()
