"""Prints the folders of XLA's headers and of oneDNN's CMake files in this Python environment, for CMake."""

import importlib.metadata
import importlib.util
from pathlib import Path

jaxlib = importlib.util.find_spec("jaxlib")
folders = (jaxlib and jaxlib.submodule_search_locations) or []
print(*(f"{folder}/include" for folder in folders[:1]), end=";")
try:
  files = importlib.metadata.files("onednn-devel-cpu-gomp") or []
except importlib.metadata.PackageNotFoundError:
  files = []
print(*(Path(str(file.locate())).resolve().parent for file in files if file.name == "dnnl-config.cmake"))
