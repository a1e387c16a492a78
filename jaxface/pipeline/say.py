"""Lines for the user, once whatever the number of hosts."""

import sys

import jax


def say(note: str) -> None:
  """A line for the user on what the run found, once whatever the number of hosts."""
  if jax.process_index() == 0:
    print(f"note: {note}", file=sys.stderr)


__all__ = ["say"]
