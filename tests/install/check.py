"""Install jaxface from its wheel and from its source distribution into empty environments, and use it there.

  python tests/install/check.py              # on every Python from 3.11 up that is found; long
  python tests/install/check.py --newest     # short form on the newest one, if it is another than the one that runs this

Pythons are looked for in the folder of pyenv and on PATH. Each gets three environments outside the checkout: one from the wheel,
one from the source distribution, and one from the source distribution on a machine that has neither compiler nor CMake. Wheel
and source distribution are built from the checkout first. No step sees the checkout. A step that fails ends its environment's
row; the others go on. The last lines are a table, and the exit code is 1 when a step failed.

--short leaves out embedding, export and tests, and installs the dependencies of each Python once. PIP_NO_CACHE_DIR=1 in the
environment makes pip download everything again.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 11)
STEPS = ("install", "import", "doctor", "train", "embed", "export", "tests")
SHORT_STEPS = ("install", "import", "doctor", "train")
ORIGINS = ("wheel", "sdist", "sdist, no compiler")
LOG_LINES = 60

_PROBE = (
  "import ensurepip, json, sys, sysconfig, venv;"
  " print(json.dumps([sys.version_info[:3], sys.version_info[3], bool(sysconfig.get_config_var('Py_GIL_DISABLED'))]))"
)
_IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
for name in ("jaxface", "tfrecords_tools"):
  package = importlib.import_module(name)
  if not pathlib.Path(package.__file__).is_relative_to(sys.prefix):
    sys.exit(f"{name} was imported from {package.__file__}, not from {sys.prefix}")
  for module in pkgutil.walk_packages(package.__path__, name + "."):
    # jaxface.testing needs an extra, as it says; its tests come later.
    if not module.name.endswith("__main__") and not module.name.startswith("jaxface.testing."):
      importlib.import_module(module.name)
"""
# Seconds of training: what is wanted is that every part runs, not what it learns.
_TINY = {
  "steps": 6, "batch_size": 16, "log_every": 2, "checkpoint_every": 3, "model.size": 32, "data.synthetic.size": 32,
  "data.synthetic.identities": 20, "data.synthetic.images_per_identity": 4,
}


@dataclass(frozen=True)
class Python:
  """An interpreter: its path and its version, such as (3, 12, 1)."""

  path: Path
  version: tuple[int, int, int]

  def __str__(self) -> str:
    return ".".join(map(str, self.version))


@dataclass(frozen=True)
class Step:
  """Commands to run one after the other, what they must print (regular expressions), and the files that they must leave."""

  name: str
  commands: Sequence[Sequence[str | Path]]
  printed: Sequence[str] = ()
  left: Sequence[str] = ()


@dataclass
class Row:
  """What came of one environment: by step, "ok" with seconds, or "FAILED"."""

  python: Python
  origin: str
  results: dict[str, str] = field(default_factory=dict)
  jax: str = "?"


def candidates(environment: dict[str, str]) -> list[Path]:
  """Files that may be interpreters: pyenv's versions, then python3, python3.11 and so on in each folder of PATH."""
  pyenv = Path(environment.get("PYENV_ROOT") or Path.home() / ".pyenv")
  found = sorted(pyenv.glob("versions/*/bin/python"))
  for folder in map(Path, filter(None, environment.get("PATH", "").split(os.pathsep))):
    # A shim of pyenv stands for one of the versions above, or fails.
    if folder != pyenv / "shims":
      found += sorted(path for path in folder.glob("python3*") if re.fullmatch(r"python3(\.\d+)?", path.name))
  return found


def probe(path: Path) -> Python | None:
  """The interpreter at `path`, or None for one that cannot make environments, a pre-release or a free-threaded build."""
  try:
    done = subprocess.run([path, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=60)
  except (OSError, subprocess.TimeoutExpired):
    return None
  if done.returncode:
    return None
  (major, minor, micro), level, free_threaded = json.loads(done.stdout)
  return None if free_threaded or level != "final" else Python(path, (major, minor, micro))


def find_pythons(paths: Iterable[Path], prober: Callable[[Path], Python | None] = probe) -> list[Python]:
  """The newest release of each version from 3.11 up, oldest version first."""
  best: dict[tuple[int, int], Python] = {}
  for python in filter(None, map(prober, paths)):
    minor = python.version[:2]
    if minor >= OLDEST and (minor not in best or python.version > best[minor].version):
      best[minor] = python
  return [best[minor] for minor in sorted(best)]


def run_step(step: Step, *, cwd: Path, environment: dict[str, str]) -> tuple[bool, str]:
  """Run a step's commands in `cwd`; whether all went well, and what was printed."""
  text = ""
  for command in step.commands:
    text += f"$ {' '.join(map(str, command))}\n"
    done = subprocess.run(
      command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    text += done.stdout
    if done.returncode:
      return False, f"{text}exit code {done.returncode}\n"
  for pattern in step.printed:
    if not re.search(pattern, text):
      return False, f"{text}the output does not have {pattern!r}\n"
  for name in step.left:
    if not (cwd / name).exists():
      return False, f"{text}{name} was not written\n"
  return True, text


def run_steps(row: Row, steps: Iterable[Step], *, cwd: Path, environment: dict[str, str]) -> None:
  """Run steps until one fails; fill the row and print each result, with the output of a failure."""
  for step in steps:
    start = time.monotonic()
    fine, text = run_step(step, cwd=cwd, environment=environment)
    row.results[step.name] = f"ok {time.monotonic() - start:.0f} s" if fine else "FAILED"
    print(f"Python {row.python}, {row.origin}: {step.name} {row.results[step.name]}", flush=True)
    if not fine:
      print(*(f"  | {line}" for line in text.splitlines()[-LOG_LINES:]), sep="\n", flush=True)
      return


def table(rows: Sequence[Row], steps: Sequence[str]) -> str:
  """Rows against steps; "-" where a step did not run."""
  lines = [("Python", "JAX", "from", *steps)]
  lines += [(str(row.python), row.jax, row.origin, *(row.results.get(step, "-") for step in steps)) for row in rows]
  widths = [max(map(len, column)) for column in zip(*lines)]
  return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def build(folder: Path) -> dict[str, Path]:
  """Wheel and source distribution of the checkout, each built as pip builds it for others: isolated."""
  code = f"import scikit_build_core.build as b; b.build_sdist({str(folder)!r})"
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
  wheel = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", folder, ROOT]
  subprocess.run(wheel, cwd=folder, check=True)
  sdist = next(folder.glob("*.tar.gz"))
  return {"wheel": next(folder.glob("*.whl")), "sdist": sdist, "sdist, no compiler": sdist}


def clean_environment(bin_folder: Path, *, compiler: bool) -> dict[str, str]:
  """The variables of this process without those that lead to the checkout, to other packages or to real data."""
  dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "JAXFACE_DATA", "XLA_FLAGS", "MAKEFLAGS", "MAKELEVEL")
  kept = {name: value for name, value in os.environ.items() if name not in dropped}
  # The programs that XLA compiled are kept, as for all tests (tests/conftest.py): most steps spend their time on compiling.
  cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxface" / "compiled"
  kept = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2", **kept}
  kept |= {"PYTHONNOUSERSITE": "1", "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
  if not compiler:
    # CMake looks into the folders of the system as well: a compiler that is named and absent stops it.
    kept |= {"PATH": str(bin_folder), "CXX": "/nonexistent"}
  return kept


def steps_of(origin: str, package: Path, bin_folder: Path, *, alone: bool, tests: Path) -> list[Step]:
  """All steps for one environment.

  Args:
    origin: one of ORIGINS.
    package: the wheel or the source distribution.
    bin_folder: the environment's programs.
    alone: whether the environment has the dependencies already, so that jaxface alone is installed (again).
    tests: folder with a copy of the tests and of pyproject.toml.
  """
  python, jaxface = bin_folder / "python", bin_folder / "jaxface"
  pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
  quiet, said, built = ["-qq"], "", "convolution +onednn"
  if origin == "sdist, no compiler":
    built = "convolution +pure: oneDNN would be faster, but .*no C[+][+] compiler"
    quiet, said = ["-v"], "jaxface goes without oneDNN: no C[+][+] compiler"
  elif not any(map(shutil.which, (os.environ.get("CXX") or "c++", "g++", "clang++"))):
    built = "no C[+][+] compiler"
  tiny = [word for name, value in _TINY.items() for word in (f"--{name}", str(value))]
  packing = [[python, "-m", "tfrecords_tools", "pack", "faces", "records"], [python, "-m", "tfrecords_tools", "verify", "records"]]
  pytest = [python, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "-m", "not slow and not multihost and not real_data"]
  return [
    Step("install", [[*pip, *quiet, *(["--force-reinstall", "--no-deps"] if alone else []), package]], [said]),
    Step("import", [[python, "-c", _IMPORT_ALL], [jaxface, "experiments"]], ["quickstart"]),
    Step("doctor", [[jaxface, "doctor"]], [built]),
    Step(
      "train", [[jaxface, "train", "quickstart", *tiny]], [built, "AUC untrained 0[.][0-9]+ → trained 0[.][0-9]+"],
      [f"runs/quickstart/{name}" for name in ("report.html", "model", "quickstart.onnx")],
    ),
    Step(
      "embed",
      [
        [jaxface, "synthesize", "faces", "--identities", "3", "--images", "2", "--size", "32"], *packing,
        [jaxface, "embed", "--model", "runs/quickstart", "--records", "records", "--out", "faces.npz"],
      ],
      left=["faces.npz"],
    ),
    Step("export", [[jaxface, "export", "--model", "runs/quickstart", "--out", "again.onnx"]], left=["again.onnx"]),
    Step("tests", [[*pip, "-qq", "jaxface[test]"], [*pytest, "-c", tests / "pyproject.toml", f"--rootdir={tests}", tests / "tests"]]),
  ]


def copy_tests(folder: Path) -> Path:
  """The tests that mirror a package, with pytest's settings; those of docs, benchmarks and packaging need the checkout."""
  packages = [path.name for path in (ROOT / "jaxface").iterdir() if path.is_dir()] + ["tfrecords_tools"]
  for name in packages:
    if (ROOT / "tests" / name).is_dir():
      shutil.copytree(ROOT / "tests" / name, folder / "tests" / name, ignore=shutil.ignore_patterns("__pycache__"))
  shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
  shutil.copy(ROOT / "pyproject.toml", folder)
  return folder


def check_python(python: Python, packages: dict[str, Path], folder: Path, *, short: bool) -> list[Row]:
  """All environments of one interpreter; they are deleted again, since each takes more than a gigabyte."""
  rows = []
  for origin in ORIGINS:
    row = Row(python, origin)
    rows.append(row)
    bin_folder = folder / "environment" / "bin"
    alone = short and bin_folder.is_dir()
    if not alone:
      shutil.rmtree(folder / "environment", ignore_errors=True)
      subprocess.run([python.path, "-m", "venv", folder / "environment"], check=True)
    empty = folder / f"empty{len(rows)}"
    empty.mkdir()
    steps = steps_of(origin, packages[origin], bin_folder, alone=alone, tests=folder.parent / "copy")
    wanted = SHORT_STEPS if short else STEPS
    compiler = origin != "sdist, no compiler"
    steps = [step for step in steps if step.name in wanted and (compiler or step.name != "tests")]
    run_steps(row, steps, cwd=empty, environment=clean_environment(bin_folder, compiler=compiler))
    code = "import importlib.metadata as m; print(m.version('jax'))"
    row.jax = subprocess.run([bin_folder / "python", "-c", code], capture_output=True, text=True).stdout.strip() or "none"
  shutil.rmtree(folder)
  return rows


def main(arguments: Sequence[str] | None = None) -> int:
  """Find, build, check, print the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--short", action="store_true", help=f"only {', '.join(SHORT_STEPS)}")
  parser.add_argument("--newest", action="store_true", help="the short form, on the newest Python alone")
  parser.add_argument("--only", metavar="X.Y", help="only this version of Python")
  options = parser.parse_args(arguments)
  pythons = find_pythons(candidates(dict(os.environ)))
  print("Pythons found:", ", ".join(f"{python} ({python.path})" for python in pythons) or "none", flush=True)
  if options.only:
    pythons = [python for python in pythons if ".".join(map(str, python.version[:2])) == options.only]
  if options.newest:
    pythons = [python for python in pythons[-1:] if python.version[:2] > sys.version_info[:2]]
    if not pythons:
      print(f"INSTALL CHECK SKIPPED: no Python newer than {sys.version_info[0]}.{sys.version_info[1]} was found")
      return 0
  if not pythons:
    print("no Python to check")
    return 2
  short = options.short or options.newest
  with tempfile.TemporaryDirectory(prefix="jaxface_install_") as name:
    folder = Path(name)
    for part in ("packages", "copy/tests", *map(str, pythons)):
      (folder / part).mkdir(parents=True)
    packages = build(folder / "packages")
    copy_tests(folder / "copy")
    rows = [row for python in pythons for row in check_python(python, packages, folder / str(python), short=short)]
  print(table(rows, SHORT_STEPS if short else STEPS), flush=True)
  return int(any("FAILED" in row.results.values() for row in rows))


if __name__ == "__main__":
  sys.exit(main())
