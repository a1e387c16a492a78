"""Runs a function over many tasks on Apache Beam: the interface of `Workers`, on any of Beam's runners.

Tasks and results are files of JSON in a folder that all workers see: a pipeline then carries only numbers, whatever the runner allows, and
a task that Beam runs twice writes the same file twice.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_type_hints

from jaxface.formats.errors import FULL_DISK, DamagedData
from jaxface.formats.parallel import Result, Task, Workers
from jaxface.formats.plain import from_plain, to_plain
from jaxface.formats.remote import read_whole, remove_folder, write_whole


class BeamFailed(OSError):
  """A pipeline of Beam ended with an error; the message has the runner and what it said."""


class BeamWorkers(Workers):
  """Workers of a runner of Apache Beam, which have the same version of jaxface and the packages of the extra `beam`.

  Args:
    options: options of Beam, such as ("--runner=DataflowRunner", "--project=mine"); without a runner the local one runs.
    place: folder or URL for tasks and results; all workers see it by this name. It is removed with the `with` block.
  Raises:
    ImportError: apache-beam is not installed.
  """

  def __init__(self, options: Sequence[str], place: str):
    super().__init__(1)
    self.options, self.place = list(options), place.rstrip("/")
    self._pipelines = 0
    pipeline_options(self.options)

  def __exit__(self, *exception: object) -> None:
    remove_folder(self.place)

  def unordered(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
    """Runs tasks in one pipeline and yields their results when it has ended.

    Args:
      function: a module-level function of one argument `task`; annotations give the types of task and result, see `from_plain`.
      tasks: its arguments.
    Returns:
      An iterator of (number of the task, result).
    Raises:
      DamagedData, ValueError, OSError: the error of the first task that failed so; a full disk, among others.
      BeamFailed: any other error of a task or of the runner.
    """
    if not tasks:
      return
    import apache_beam as beam

    from jaxface import __version__

    folder, kinds = f"{self.place}/{self._pipelines}", get_type_hints(function)
    self._pipelines += 1
    for number, task in enumerate(tasks):
      write_whole(_file(folder, "task", number), json.dumps(to_plain(task)).encode())
    name = f"{function.__module__}:{function.__name__}"
    options = pipeline_options(self.options)
    try:
      with beam.Pipeline(options=options) as pipeline:
        numbers = pipeline | "Tasks" >> beam.Create(range(len(tasks))) | "Spread" >> beam.Reshuffle()
        _ = numbers | function.__name__.strip("_") >> beam.Map(run_task, function=name, folder=folder, version=__version__)
    except Exception as error:
      lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
      raise BeamFailed(f"Apache Beam ({', '.join(self.options) or 'local runner'}): {lines[-1].strip()}") from error
    for number in range(len(tasks)):
      yield number, from_plain(kinds["return"], _result(folder, number))


def pipeline_options(options: Sequence[str]) -> Any:
  """The options as Beam's object.

  Raises:
    ImportError: apache-beam is not installed.
  """
  try:
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as error:
    raise ImportError(f"packing on Apache Beam needs the extra beam: pip install 'jaxface[beam]' ({error})") from error
  return PipelineOptions(list(options))


def run_task(number: int, function: str, folder: str, version: str) -> None:
  """Runs a task and writes its result, or an error that another attempt would give again.

  Args:
    number: of the task.
    function: MODULE:NAME.
    folder: of tasks and results.
    version: of jaxface where the pipeline was started.
  Raises:
    Exception: any other error; Beam tries the task again.
  """
  from jaxface import __version__

  content: dict[str, Any]
  try:
    if __version__ != version:
      raise ValueError(f"a worker of Beam has jaxface {__version__}, but {version} started the pipeline: install the same on both")
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    task = from_plain(get_type_hints(call)["task"], json.loads(read_whole(_file(folder, "task", number))))
    content = {"result": to_plain(call(task))}
  except DamagedData as error:
    content = {"damaged": [error.what, error.file, error.offset, error.record]}
  except ValueError as error:
    content = {"wrong": str(error)}
  except OSError as error:
    if error.errno not in FULL_DISK:
      raise
    content = {"full": [error.errno, error.strerror, error.filename]}
  write_whole(_file(folder, "result", number), json.dumps(content).encode())


def _result(folder: str, number: int) -> Any:
  content = json.loads(read_whole(_file(folder, "result", number)))
  if "damaged" in content:
    what, file, offset, record = content["damaged"]
    raise DamagedData(what, file=file, offset=offset, record=record)
  if "wrong" in content:
    raise ValueError(content["wrong"])
  if "full" in content:
    raise OSError(*content["full"])
  return content["result"]


def _file(folder: str, kind: str, number: int) -> str:
  return f"{folder}/{kind}-{number:06d}.json"


__all__ = ["BeamFailed", "BeamWorkers", "pipeline_options", "run_task"]
