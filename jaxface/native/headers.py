"""Prints, for CMake, the folder of XLA's headers and that of oneDNN's CMake files, in this Python's environment."""

import importlib.metadata
import importlib.util

jaxlib = importlib.util.find_spec("jaxlib")
print(f"{jaxlib.submodule_search_locations[0]}/include" if jaxlib else "", end=";")
try:
  files = importlib.metadata.files("onednn-devel-cpu-gomp") or []
except importlib.metadata.PackageNotFoundError:
  files = []
print(*(file.locate().resolve().parent for file in files if file.name == "dnnl-config.cmake"))
