"""Compares three ways to draw a report's charts, on the scores of one evaluation: the table of docs/report.md.

matplotlib's SVG, Vega-Lite (altair, drawn in the browser by its inlined JavaScript or before by vl-convert), and the SVG code that
jaxface had before, which is read from the repository's history.

Command: pip install altair vl-convert-python; python docs/compare_charts.py runs/lfw.npz
"""

import argparse
import gzip
import importlib.metadata
import json
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
from generated import replace_part

from jaxface.evaluation import read_evaluation
from jaxface.evaluation.report import charts

PAGE = Path(__file__).with_name("report.md")
BEFORE = "65ec332"  # the last commit with the hand-written SVG code
BINS = 60
REPEAT = 7


def main() -> None:
  """Measures, prints, and writes the table into the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("evaluation", help=".npz of jaxface evaluate --save")
  one = read_evaluation(parser.parse_args().evaluation).verification
  low, high = charts.score_range([one])
  ways: dict[str, tuple[Callable[[], list[str]], tuple[str, ...], int]] = {
    "matplotlib": (
      lambda: [charts.similarity(one, low, high), charts.roc_chart([("", one)], log=True)],
      ("matplotlib", "fonttools", "kiwisolver", "contourpy", "cycler", "pyparsing"), 0,
    ),
  }
  own = _before()
  ways["hand-written"] = (lambda: [own.similarity(one, low, high), own.roc_chart(one, None, log=True)], (), 0)
  try:
    import vl_convert
  except ImportError:
    print("altair and vl-convert-python are not installed: Vega-Lite is left out", file=sys.stderr)
  else:
    script = len(vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;"))
    ways["Vega-Lite, in the browser"] = (lambda: [json.dumps(spec) for spec in _specs(one, low, high)], ("altair", "narwhals"), script)
    ways["Vega-Lite, drawn before"] = (
      lambda: [vl_convert.vegalite_to_svg(spec) for spec in _specs(one, low, high)], ("altair", "narwhals", "vl-convert-python"), 0,
    )
  rows = ["| way | first two charts (s) | two more, shortest of 7 (s) | two charts (kB) | gzip (kB) | script in each page (kB) | packages installed (MB) |", "|---|---|---|---|---|---|---|"]
  for name, (draw, packages, script) in ways.items():
    start = time.perf_counter()
    draw()
    first = time.perf_counter() - start
    seconds = []
    for _ in range(REPEAT):
      start = time.perf_counter()
      text = "".join(draw())
      seconds.append(time.perf_counter() - start)
    again = min(seconds)  # other programs may run
    installed = sum(map(_size, packages))
    rows.append(
      f"| {name} | {first:.2f} | {again:.2f} | {len(text.encode()) / 1e3:.1f} | {len(gzip.compress(text.encode())) / 1e3:.1f} |"
      f" {script / 1e3:.0f} | {installed / 1e6:.0f} |"
    )
  print("\n".join(rows))
  replace_part(PAGE, "docs/compare_charts.py", "\n".join(rows))


def _before() -> types.SimpleNamespace:
  """The two charts as the former code drew them."""
  found = {}
  for name in ("svg", "charts"):
    text = subprocess.run(["git", "show", f"{BEFORE}:jaxface/evaluation/report/{name}.py"], capture_output=True, text=True, check=True).stdout
    module = types.ModuleType(f"before_{name}")
    sys.modules[module.__name__] = module
    exec(compile(text.replace("jaxface.evaluation.report.svg", "before_svg"), name, "exec"), module.__dict__)
    found[name] = module
  return types.SimpleNamespace(similarity=found["charts"].similarity, roc_chart=found["charts"].roc_chart)


def _specs(one, low: float, high: float) -> list[dict]:
  """The same charts as Vega-Lite specifications, with the ROC at 500 points."""
  import altair

  rows = []
  for kind, score_p in (("non-mated", one.score_p[~one.pairs.same]), ("mated", one.score_p[one.pairs.same])):
    count, edge = np.histogram(score_p, BINS, (low, high))
    rows += [{"score": round(float(at), 4), "share": round(float(number) / score_p.size, 5), "kind": kind} for at, number in zip(edge, count)]
  histogram = altair.Chart(altair.Data(values=rows)).mark_area(interpolate="step-after", opacity=0.4, line=True).encode(
    x=altair.X("score:Q", title="cosine similarity"), y=altair.Y("share:Q", title="share of pairs").stack(None), color="kind:N"
  )
  far, tar = one.roc.far, one.roc.tar
  keep = np.unique(np.linspace(0, len(far) - 1, 500).round().astype(int))
  rows = [{"far": round(max(float(far[at]), 1e-4), 6), "tar": round(float(tar[at]), 6)} for at in keep]
  curve = altair.Chart(altair.Data(values=rows)).mark_line(interpolate="step-after").encode(
    x=altair.X("far:Q", title="FAR").scale(type="log"), y=altair.Y("tar:Q", title="TAR").scale(zero=False)
  )
  return [drawn.properties(width=400, height=240).to_dict() for drawn in (histogram, curve)]


def _size(package: str) -> int:
  """Bytes of an installed package."""
  try:
    files = importlib.metadata.files(package) or []
  except importlib.metadata.PackageNotFoundError:
    return 0
  return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file() and path.suffix != ".pyc")


if __name__ == "__main__":
  main()
