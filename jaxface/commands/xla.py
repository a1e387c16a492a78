"""Sets of XLA flags of a command, before JAX starts: `--xla-flags`, or the variable JAXFACE_XLA_FLAGS."""

import os
from collections.abc import Mapping, Sequence

from jaxface.xla_flags import VARIABLE, apply, environment

OPTION = "--xla-flags"


def use_flags(arguments: Sequence[str]) -> None:
  """Sets the environment variables of the sets that the arguments name, or else JAXFACE_XLA_FLAGS.

  Raises:
    UnknownFlag: an unknown set, or flags that the installed XLA does not know.
  """
  if names := _asked(arguments) or os.environ.get(VARIABLE, ""):
    apply(names, os.environ)


def check_used(names: str | None, variables: Mapping[str, str] | None = None) -> None:
  """Raises if sets are not in the environment: JAX may have started without them.

  Raises:
    ValueError: says how they can be given.
  """
  variables = os.environ if variables is None else variables
  for variable, value in environment(names or "", {}).items():
    if not set(value.split()) <= set(variables.get(variable, "").split()):
      raise ValueError(f"{OPTION} {names} must be set before JAX starts: write it out in the command line, or set {VARIABLE}={names}")


def _asked(arguments: Sequence[str]) -> str:
  for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
    if word == OPTION:
      return following
    if word.startswith(f"{OPTION}="):
      return word.partition("=")[2]
  return ""
