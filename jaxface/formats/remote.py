"""Places that fsspec reaches: buckets, servers, memory. Its errors, of which each kind of place has its own, get one form."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def is_url(path: str | Path) -> bool:
  """Whether a path is a URL, such as gs://BUCKET/PATH."""
  return isinstance(path, str) and "://" in path


def file_system(place: str) -> tuple[Any, str]:
  """The file system of a path or URL, and the path in it.

  Raises:
    ValueError: an unknown kind of URL; lists the known ones.
    ImportError: fsspec, or its package for this kind of URL, is not installed.
  """
  try:
    import fsspec
  except ImportError as error:
    raise ImportError(f"{place} needs the extra hub: pip install 'jaxface[hub]'") from error
  try:
    return fsspec.core.url_to_fs(place)
  except ValueError as error:
    raise ValueError(f"{place}: {error}; give a path, or a URL of one of {', '.join(fsspec.available_protocols())}") from error
  except ImportError as error:
    raise ImportError(f"{place}: {error}") from error


@contextmanager
def reaching(place: str) -> Iterator[None]:
  """Errors of a service become `OSError` with the place."""
  try:
    yield
  except (OSError, ValueError):
    raise
  except Exception as error:
    raise OSError(f"{place} cannot be reached: {type(error).__name__}: {error}") from error


__all__ = ["file_system", "is_url", "reaching"]
