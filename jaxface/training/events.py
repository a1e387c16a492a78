"""Writes TensorBoard event files without TensorFlow: TFRecord frames around Event messages of scalars.

Source: TensorFlow, `event.proto` and `summary.proto` (the field numbers below), and TensorBoard's rule that a
session start discards events of earlier files of the run at or after its step.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from jaxface.formats.protobuf import FIXED32, FIXED64, VARINT, block, varint
from jaxface.formats.tfrecord import frame

# Event
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 1, 2, 3, 5, 7
# Summary, Summary.Value
_VALUE, _TAG, _SIMPLE_VALUE = 1, 1, 2
# SessionLog
_STATUS, _START = 1, 1


def _integer(field: int, value: int) -> bytes:
  return varint(field << 3 | VARINT) + varint(value)


def _double(field: int, value: float) -> bytes:
  return varint(field << 3 | FIXED64) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
  try:
    return varint(field << 3 | FIXED32) + struct.pack("<f", value)
  except OverflowError:  # beyond float32
    return varint(field << 3 | FIXED32) + struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def encode_scalars(step: int, values: Mapping[str, float], wall_time: float) -> bytes:
  """One Event message with a summary of scalars.

  Args:
    step: number of the step.
    values: scalar by tag.
    wall_time: seconds since 1970.
  Returns:
    The serialised message, without a frame.
  """
  summary = b"".join(
    block(_VALUE, block(_TAG, tag.encode()) + _float(_SIMPLE_VALUE, value)) for tag, value in values.items()
  )
  return _double(_WALL_TIME, wall_time) + _integer(_STEP, step) + block(_SUMMARY, summary)


class EventFile:
  """A new event file in a folder.

  Args:
    folder: log directory of TensorBoard; created if missing.
    start_step: first step to be written: TensorBoard discards events of older files in the folder at or after it.
  """

  def __init__(self, folder: Path | str, *, start_step: int = 0):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    # The nanoseconds order the files of a run that is resumed within one second.
    name = f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}.{time.time_ns() % 10**9:09d}"
    self.path = folder / name
    self._file = open(self.path, "xb")  # noqa: SIM115
    self._file.write(frame(_double(_WALL_TIME, now) + block(_FILE_VERSION, b"brain.Event:2")))
    session = block(_SESSION_LOG, _integer(_STATUS, _START))
    self._file.write(frame(_double(_WALL_TIME, now) + _integer(_STEP, start_step) + session))
    self._file.flush()

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends the scalars of one step and flushes them, so that a kill loses no written data."""
    self._file.write(frame(encode_scalars(step, values, time.time())))
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


__all__ = ["EventFile", "encode_scalars"]
