"""Versions, devices, and what is missing on this machine."""

import argparse
import importlib.util
import os

import jax

from jaxface.layers import native
from jaxface.layers.formulation import current_formulation
from jaxface.training.config import experiment_folder
from jaxface.training.workdir import environment

SOURCES = {"onnx": "onnx", "onnxruntime": "onnxruntime", "torch": "'jaxface[bench]'"}


def convolution() -> str:
  """What computes convolutions here, and why it is not oneDNN where it could be."""
  try:
    name = current_formulation()
  except ValueError as error:
    return str(error)
  if jax.default_backend() != "cpu":
    return f"xla on {jax.default_backend()} ({name} on its host's CPU)"
  if name == "onednn":
    return f"{name} {native.onednn_version()}"
  return name if native.available() else f"{name}: oneDNN would be faster, but {native.why_not()}"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print what was found."""
  parser.parse_args(arguments)
  found = environment()
  print(f"python       {found['python']} on {found['platform']}, {found['cores']} cores")
  for name, number in found["packages"].items():
    print(f"{name:20} {number}")
  print(f"devices      {', '.join(found['devices'])}")
  print(f"convolution  {convolution()}")
  print(f"experiments  {experiment_folder()}")
  print(f"JAXFACE_DATA {os.environ.get('JAXFACE_DATA', 'not set: experiments on named datasets will ask for it')}")
  for package, source in SOURCES.items():
    if importlib.util.find_spec(package) is None:
      print(f"{package:12} missing: pip install {source}")
  return 0
