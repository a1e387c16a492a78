"""Describes the installation: experiments, versions, devices, and missing packages."""

import importlib.util
import os

from jaxface.layers.explain import convolution
from jaxface.training.config import experiment_folder, list_experiments, load_any_experiment
from jaxface.training.workdir import environment

# Optional packages, and their names for pip.
SOURCES = {"onnx": "onnx", "onnxruntime": "onnxruntime", "torch": "'jaxface[bench]'"}


def describe_experiments() -> dict[str, str]:
  """The experiments of jaxface: the first line of each docstring, by name."""
  texts = {name: load_any_experiment(name)[1].strip() for name in list_experiments()}
  return {name: text.partition("\n")[0] for name, text in texts.items()}


def describe_installation() -> dict[str, str]:
  """Versions, devices, the convolution backend, and missing packages of this machine, by name."""
  found = environment()
  missing = {package: f"missing: pip install {source}" for package, source in SOURCES.items() if not importlib.util.find_spec(package)}
  return {
    "python": f"{found['python']} on {found['platform']}, {found['cores']} cores",
    **found["packages"],
    "devices": ", ".join(found["devices"]),
    "convolution": convolution(),
    "experiments": str(experiment_folder()),
    "JAXFACE_DATA": os.environ.get("JAXFACE_DATA", "not set: experiments on named datasets need it"),
    **missing,
  }


__all__ = ["describe_experiments", "describe_installation"]
