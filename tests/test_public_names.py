"""What users may import, as one list: it changes on purpose only. Imports are light, and what is public is documented."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jaxface

GOLDEN = Path(__file__).parent / "public_names.txt"
PACKAGES = ["alignment", "data", "descriptors", "detection", "evaluation", "formats", "gallery", "geometry", "heads", "inference", "interop", "layers", "losses", "models",
            "pipeline", "planning", "testing", "training", "verifiers"]


def public() -> list[str]:
  """Every public name by its dotted path, sorted."""
  packages = [(f"jaxface.{name}", importlib.import_module(f"jaxface.{name}")) for name in PACKAGES]
  names = [f"jaxface.{name}" for name in jaxface.__all__]
  return sorted(names + [f"{path}.{name}" for path, package in packages for name in package.__all__])


def test_public_names_change_on_purpose_only():
  names, golden = public(), GOLDEN.read_text().split()
  added, gone = sorted(set(names) - set(golden)), sorted(set(golden) - set(names))
  assert not added and not gone, (
    f"new: {added}; gone: {gone}. If that is meant: python tests/test_public_names.py, and a line in CHANGELOG.md"
  )


def test_every_public_name_is_there_and_documented():
  for path in public():
    package, _, name = path.rpartition(".")
    value = getattr(importlib.import_module(package), name)
    if callable(value) or inspect.ismodule(value):
      assert len(inspect.getdoc(value) or "") > 15, f"{path} has no docstring"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_what_it_offers(name):
  package = importlib.import_module(f"jaxface.{name}")
  assert package.__doc__ and len(package.__doc__) > 60
  assert set(package.__all__) <= set(dir(package))
  with pytest.raises(AttributeError, match="nothing_such"):
    _ = package.nothing_such


def test_no_public_name_is_also_a_module():
  # `from jaxface.layers import conv` would be the function in one place and the module in another.
  for name in PACKAGES:
    package = importlib.import_module(f"jaxface.{name}")
    modules = {file.stem for file in Path(package.__file__).parent.glob("*.py")}
    assert modules & set(package.__all__) == set(), name


def test_stubs_name_only_what_stands_in_their_files():
  for stub in Path(jaxface.__file__).parent.rglob("__init__.pyi"):
    for node in ast.walk(ast.parse(stub.read_text())):
      if isinstance(node, ast.ImportFrom) and node.module:
        module = importlib.import_module("." * node.level + node.module, _package(stub))
        assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], stub


def _package(stub: Path) -> str:
  folder = stub.parent.relative_to(Path(jaxface.__file__).parent)
  return ".".join(("jaxface", *folder.parts))


@pytest.mark.parametrize(
  "line, loaded",
  [
    ("import jaxface", []),
    ("import jaxface; jaxface.losses.ArcFace", ["jax"]),
    ("import jaxface; jaxface.models.create", ["jax", "flax"]),
    ("import jaxface; jaxface.evaluation.verify", []),
  ],
)
def test_imports_are_light(line, loaded):
  watched = ("jax", "flax", "optax", "orbax", "tensorflow", "tensorflow_datasets", "pyarrow", "torch", "onnx", "scipy")
  code = f"import sys; {line}; print(*[name for name in {watched} if name in sys.modules])"
  found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
  assert set(found) <= {*loaded, "scipy"} if "jax" in loaded else found == loaded


if __name__ == "__main__":
  GOLDEN.write_text("\n".join(public()) + "\n")
