"""Named sets of XLA flags for GPUs and TPUs, to be set before JAX starts.

  jaxface train EXPERIMENT --xla-flags gpu_overlap
  JAXFACE_XLA_FLAGS=tpu_overlap jaxface train EXPERIMENT

  os.environ.update(jaxface.xla_flags.environment("gpu_overlap"))     # in a program of your own, before `import jax`

XLA reads XLA_FLAGS, and libtpu LIBTPU_INIT_ARGS, when JAX makes its first device, and ends the process at a flag that it does not know.
Flags come and go between versions, so `apply` first looks for each name in the installed libraries.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

VARIABLE = "JAXFACE_XLA_FLAGS"
XLA_FLAGS, LIBTPU_INIT_ARGS = "XLA_FLAGS", "LIBTPU_INIT_ARGS"

_DEBUG_OPTIONS = "openxla/xla, xla/debug_options_flags.cc"
_GUIDANCE = "OpenXLA, XLA Flags Guidance"
_TOOLBOX = "NVIDIA, JAX-Toolbox, GPU performance"


class UnknownFlag(ValueError):
  """A set of flags, or a flag, that does not exist here; the message names it and what would be right."""


@dataclass(frozen=True)
class Flag:
  """A flag.

  Attributes:
    name: without dashes.
    value: its value.
    effect: what it does.
    source: where it is documented.
  """

  name: str
  value: str
  effect: str
  source: str

  def __str__(self) -> str:
    return f"--{self.name}={self.value}"


@dataclass(frozen=True)
class FlagSet:
  """Flags that belong together.

  Attributes:
    use: for what.
    variable: environment variable that takes them: "XLA_FLAGS" or "LIBTPU_INIT_ARGS".
    flags: the flags.
  """

  use: str
  variable: str
  flags: tuple[Flag, ...]


_HIDE = Flag(
  "xla_gpu_enable_latency_hiding_scheduler", "true",
  "orders operations so that collectives run while others compute; needs memory for results that wait longer", _TOOLBOX,
)
_FUSE = Flag("xla_tpu_enable_async_collective_fusion", "true", "fuses collectives with computations that run meanwhile", _GUIDANCE)

SETS: dict[str, FlagSet] = {
  "gpu_overlap": FlagSet(
    "several GPUs: exchange gradients while the backward pass computes", XLA_FLAGS,
    (
      _HIDE,
      Flag("xla_gpu_enable_pipelined_all_reduce", "true", "moves all-reduces of a loop's body into the next iteration", _TOOLBOX),
      Flag("xla_gpu_enable_pipelined_all_gather", "true", "the same for all-gathers", _TOOLBOX),
      Flag("xla_gpu_enable_pipelined_reduce_scatter", "true", "the same for reduce-scatters", _TOOLBOX),
      Flag("xla_gpu_all_reduce_combine_threshold_bytes", "134217728", "joins all-reduces up to 128 MB: fewer starts, less overlap", _TOOLBOX),
      Flag("xla_gpu_enable_highest_priority_async_stream", "true", "collectives go before computations where both wait", _DEBUG_OPTIONS),
    ),
  ),
  "gpu_library": FlagSet(
    "a GPU: matrix products by cuBLAS instead of generated kernels; compiles faster", XLA_FLAGS,
    (
      Flag("xla_gpu_enable_triton_gemm", "false", "no Triton kernels for matrix products, and no search among their tiles", _TOOLBOX),
      Flag("xla_gpu_enable_cublaslt", "true", "products by cuBLASLt, which adds biases and activations", _DEBUG_OPTIONS),
    ),
  ),
  "gpu_search": FlagSet(
    "a GPU: search longer for the fastest kernels; compiles much longer", XLA_FLAGS,
    (
      Flag("xla_gpu_exhaustive_tiling_search", "true", "tries all tiles of generated matrix products", _DEBUG_OPTIONS),
      Flag("xla_gpu_cudnn_gemm_fusion_level", "2", "tries cuDNN's fusions for matrix products too", _DEBUG_OPTIONS),
    ),
  ),
  "gpu_reproducible": FlagSet(
    "a GPU: the same bits in every run on one machine; slower", XLA_FLAGS,
    (
      Flag("xla_gpu_exclude_nondeterministic_ops", "true", "an operation without a deterministic kernel is an error", _DEBUG_OPTIONS),
      Flag("xla_gpu_autotune_level", "0", "kernels are chosen by rule, not by their time, which differs between runs", _DEBUG_OPTIONS),
    ),
  ),
  "tpu_overlap": FlagSet(
    "several TPUs: exchange gradients while the backward pass computes", LIBTPU_INIT_ARGS,
    (
      _FUSE,
      Flag("xla_tpu_enable_async_collective_fusion_fuse_all_reduce", "true", "all-reduces too, which are left out by default", _GUIDANCE),
      Flag("xla_tpu_enable_async_collective_fusion_fuse_all_gather", "true", "and all-gathers", _GUIDANCE),
      Flag("xla_tpu_enable_async_all_to_all", "true", "all-to-alls run beside computations", _GUIDANCE),
    ),
  ),
  "tpu_pipeline": FlagSet(
    "several TPUs with parameters gathered in a loop (mesh.fsdp with accumulation)", LIBTPU_INIT_ARGS,
    (
      Flag("xla_should_allow_loop_variant_parameter_in_chain", "kEnabled", "with the next two: an all-gather starts an iteration early", _GUIDANCE),
      Flag("xla_should_add_loop_invariant_op_in_chain", "kEnabled", "see above", _GUIDANCE),
      Flag("xla_tpu_enable_ici_ag_pipelining", "true", "see above", _GUIDANCE),
    ),
  ),
  "tpu_memory": FlagSet(
    "a TPU whose memory does not suffice: a schedule with less, slower", LIBTPU_INIT_ARGS,
    (
      Flag("xla_latency_hiding_scheduler_rerun", "5", "schedules again with a lower limit, up to five times", _GUIDANCE),
      Flag("xla_tpu_rwb_fusion", "false", "no fusions of a reduction with its broadcast", _GUIDANCE),
      Flag("xla_memory_scheduler", "kBrkga", "a search for the order that needs least memory; compiles longer", _GUIDANCE),
    ),
  ),
}


def flag_set(name: str) -> FlagSet:
  """A set by its name.

  Raises:
    UnknownFlag: there is none; the message lists all.
  """
  if name not in SETS:
    raise UnknownFlag(f"no set of XLA flags {name!r}: takes {', '.join(SETS)}")
  return SETS[name]


def environment(names: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
  """The variables of sets.

  Args:
    names: one set, or several with commas.
    given: variables that are set already; None for this process's. Their flags come last, and so prevail.
  Returns:
    Value by variable.
  Raises:
    UnknownFlag: see `flag_set`.
  """
  given = os.environ if given is None else given
  found: dict[str, list[str]] = {}
  for name in filter(None, (part.strip() for part in names.split(","))):
    one = flag_set(name)
    there = given.get(one.variable, "").split()
    found.setdefault(one.variable, []).extend(str(flag) for flag in one.flags if str(flag) not in there)
  return {variable: " ".join([*flags, given.get(variable, "")]).strip() for variable, flags in found.items()}


def apply(names: str, variables: MutableMapping[str, str]) -> None:
  """Sets the variables of sets, after a look whether the installed XLA knows their flags.

  Args:
    names: as for `environment`.
    variables: such as `os.environ`; XLA reads it once, so JAX must not have started.
  Raises:
    UnknownFlag: an unknown set, or flags that the installed libraries do not know.
  """
  wanted = environment(names, variables)
  for variable in wanted:
    flags = [flag.name for name in names.split(",") if name.strip() for flag in flag_set(name.strip()).flags
             if flag_set(name.strip()).variable == variable]
    for library in libraries(variable):
      if unknown := unknown_flags(flags, library):
        raise UnknownFlag(
          f"{_version(library)} does not know {', '.join(unknown)} of the set of XLA flags {names!r} and would end this process:"
          f" set {variable} yourself, without them"
        )
  variables.update(wanted)


def libraries(variable: str) -> list[Path]:
  """The installed libraries that read flags from a variable: jaxlib's and the plugins' of GPUs, or libtpu's."""
  if variable == LIBTPU_INIT_ARGS:
    return _files("libtpu", "libtpu.so")
  return [*_files("jaxlib", "libjax_common.so"), *_files("jax_plugins", "xla_*/xla_*_plugin.so")]


def _files(package: str, pattern: str) -> list[Path]:
  spec = importlib.util.find_spec(package)
  folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
  return [file for folder in folders for file in sorted(Path(folder).glob(pattern))]


def unknown_flags(names: Iterable[str], library: Path) -> list[str]:
  """Those of some flags that a library does not have.

  The names are looked for in the file, about 0.1 s each, which is quicker than to start JAX and does not end the process. The library of
  XLA has each name as a string, libtpu as part of a symbol.

  Args:
    names: flags, without dashes.
    library: the file.
  """
  with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
    return [
      name for name in names
      if content.find(f"AbslFlagHelpGenFor{name}8NonConst".encode() if "libtpu" in library.name else name.encode() + b"\0") < 0
    ]


def _version(library: Path) -> str:
  for package in ("libtpu", "jaxlib"):
    if package in library.parts:
      return f"{package} {metadata.version(package)}"
  return library.name


def table() -> str:
  """All sets as Markdown, for the documentation."""
  parts = []
  for name, one in SETS.items():
    rows = [f"| `{flag}` | {flag.effect} | {flag.source} |" for flag in one.flags]
    parts.append("\n".join([f"### {name}", "", f"{one.use[0].upper()}{one.use[1:]}. Set in `{one.variable}`.", "", "| flag | effect | source |", "|---|---|---|", *rows]))
  return "\n\n".join(parts)


__all__ = ["LIBTPU_INIT_ARGS", "SETS", "VARIABLE", "XLA_FLAGS", "Flag", "FlagSet", "UnknownFlag", "apply", "environment", "flag_set", "libraries", "table", "unknown_flags"]
