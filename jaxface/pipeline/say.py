"""Prints notes for the user, on one host only."""

import sys

import jax


def say(note: str) -> None:
  """Prints a note for the user, on the first host only."""
  if jax.process_index() == 0:
    print(f"note: {note}", file=sys.stderr)


__all__ = ["say"]
