"""Runs jaxface from its folder on a machine that has nothing but JAX, Flax, optax, chex and NumPy.

jaxface's packages load their names lazily by `lazy_loader`, a dependency that `pip install` brings and such a machine lacks. This
is the one function of it that they call.
"""

import ast
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path


def attach_stub(package: str, file: str) -> tuple[Callable, Callable, list[str]]:
  """`lazy_loader.attach_stub`: the names that a package's stub lists are imported when they are first used.

  Args:
    package: its name.
    file: its `__init__.py`, with an `__init__.pyi` beside it.
  Returns:
    `__getattr__`, `__dir__`, `__all__` of the package.
  """
  tree = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
  imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
  module_of = {alias.asname or alias.name: node.module for node in imports for alias in node.names}

  def get(name: str) -> object:
    if name not in module_of:
      raise AttributeError(f"No {package} attribute {name}")
    module = module_of[name]
    # `from . import name` is a module, `from .module import name` one of its names.
    value = importlib.import_module(f"{package}.{module or name}")
    value = getattr(value, name) if module else value
    setattr(sys.modules[package], name, value)
    return value

  names = sorted(module_of)
  return get, lambda: list(names), list(names)


def prepare() -> None:
  """Stands in for `lazy_loader` if it is not installed; call it before jaxface is imported."""
  if "lazy_loader" not in sys.modules and importlib.util.find_spec("lazy_loader") is None:
    module = types.ModuleType("lazy_loader")
    module.__dict__["attach_stub"] = attach_stub
    sys.modules["lazy_loader"] = module


__all__ = ["attach_stub", "prepare"]
