"""Finds and loads libjaxface_cpu.so and the oneDNN that it needs, once, or reports why it cannot."""

import ctypes
import functools
import importlib.metadata
import os
import shutil
from pathlib import Path

# Selects another build of the library, such as one with a sanitizer.
VARIABLE = "JAXFACE_NATIVE_LIBRARY"
LIBRARY = Path(__file__).parents[1] / "native" / "libjaxface_cpu.so"
ONEDNN_PACKAGE, ONEDNN = "onednn-cpu-gomp", "libdnnl.so.3"
# Symbols of the library that this version of jaxface calls.
HANDLERS = (
  "JaxfaceConv", "JaxfaceConvFused", "JaxfaceLocal", "JaxfaceNormMoments", "JaxfaceNormApply", "JaxfaceNormApplyAdd",
  "JaxfaceNormSums", "JaxfaceNormInputGradient", "JaxfaceSettle",
)


class _Version(ctypes.Structure):
  _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int))


def _onednn_file() -> str:
  """Path where pip installed oneDNN, in the environment's prefix, which the loader does not search; else the bare name."""
  try:
    files = importlib.metadata.files(ONEDNN_PACKAGE) or []
  except importlib.metadata.PackageNotFoundError:
    files = []
  found = (str(file.locate()) for file in files if file.name == ONEDNN)
  return next(found, ONEDNN)


def _not_built(path: Path) -> str:
  compiler = any(map(shutil.which, (os.environ.get("CXX") or "c++", "g++", "clang++")))
  again = "`pip install -v --force-reinstall --no-deps` jaxface, or `make native` in a checkout"
  if compiler:
    return f"{path.name} is not built; {again}, says what is missing"
  return f"{path.name} is not built: no C++ compiler (install g++ or clang++, then {again})"


@functools.cache
def _load(path: Path) -> tuple[ctypes.CDLL | None, str]:
  """The library, or None and the reason why it does not load."""
  if not path.is_file():
    return None, _not_built(path)
  try:
    # Once oneDNN is loaded, the loader resolves our library's dependency on it by name.
    ctypes.CDLL(_onednn_file())
  except OSError as error:
    hint = "install the system package libgomp1 (or libgomp)" if "libgomp" in str(error) else f"pip install {ONEDNN_PACKAGE}"
    return None, f"oneDNN does not load: {error}; {hint}"
  again = "build it again (`pip install --force-reinstall --no-deps` jaxface, or `make native` in a checkout)"
  try:
    library = ctypes.CDLL(str(path))
  except OSError as error:
    return None, f"{path.name} does not load: {error}; {again}"
  # An updated checkout still has the library of its previous build.
  lacking = [name for name in HANDLERS if not hasattr(library, name)]
  if lacking:
    return None, f"{path.name} was built from another version of jaxface: it lacks {lacking[0]}; {again}"
  if refused := _refused(library, path):
    return None, f"{path.name} was built for another jaxlib than {importlib.metadata.version('jaxlib')}: {refused}; {again}"
  return library, ""


def _refused(library: ctypes.CDLL, path: Path) -> str:
  """Why XLA rejects a handler of the library: a library built with a newer jaxlib uses a newer interface."""
  import jax  # loaded by the first use of a layer, not by `import jaxface`

  try:
    jax.ffi.register_ffi_target(f"jaxface probe of {path}", jax.ffi.pycapsule(getattr(library, HANDLERS[0])), platform="cpu")
  except jax.errors.JaxRuntimeError as error:
    return str(error).rpartition(" because ")[2].partition(". ")[0]
  return ""


def _loaded() -> tuple[ctypes.CDLL | None, str]:
  return _load(Path(os.environ.get(VARIABLE, LIBRARY)))


def available() -> bool:
  """Whether the library exists and loads."""
  return _loaded()[0] is not None


def why_not() -> str:
  """One line: what is missing and how to get it; empty when the library is available."""
  return _loaded()[1]


def library() -> ctypes.CDLL:
  """The library, loaded once per process.

  Raises:
    RuntimeError: it is not available; the message is `why_not()`.
  """
  found, why = _loaded()
  if found is None:
    raise RuntimeError(why)
  return found


def onednn_version() -> str:
  """Version of the oneDNN in use, such as "3.2.0".

  Raises:
    RuntimeError: the library is not available.
  """
  function = library().dnnl_version
  function.restype = ctypes.POINTER(_Version)
  version = function().contents
  return f"{version.major}.{version.minor}.{version.patch}"


# oneDNN's value for AVX-512 with byte and word operations, the minimum for its bfloat16 convolutions.
_AVX512_CORE = 0x27


@functools.cache
def has_bfloat16() -> bool:
  """Whether oneDNN supports bfloat16 convolution on this processor (as limited by ONEDNN_MAX_CPU_ISA)."""
  return library().dnnl_get_effective_cpu_isa() & _AVX512_CORE == _AVX512_CORE


__all__ = ["available", "has_bfloat16", "library", "onednn_version", "why_not"]
