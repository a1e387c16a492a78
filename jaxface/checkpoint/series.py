"""States of one kind (last or best) in folders `STEP/`: written in the background, complete once their checksums exist.

```
STEP/state/             files of Orbax
STEP/checksums-0.json   their sizes and checksums, and the score of the state; one list for each host. Written last.
STEP.damaged/           a damaged state
```
A folder without its lists is incomplete: it is ignored with a note, and removed when the next state is finished. If there is no
other state, one with all its arrays is kept as STEP.damaged: its lists may have been deleted.
"""

import threading
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from jaxface.checkpoint.checksums import (
  DamagedCheckpoint,
  find_damage,
  is_whole,
  missing_lists,
  read_facts,
  sums_file,
  write_sums,
)
from jaxface.checkpoint.leaves import Tree, WrongCheckpoint
from jaxface.checkpoint.tree import handler, save_args

# Limits on the number of steps and the length of messages that hosts exchange.
_MOST = 256
_TEXT = 1024


def as_path(folder: Path | str) -> epath.Path:
  """An absolute local path, or a folder in a bucket of Google Cloud Storage, gs://BUCKET/PATH.

  Raises:
    ValueError: a scheme that Orbax does not support, or a missing package for buckets.
  """
  scheme, remote, _ = str(folder).partition("://")
  if not remote:
    return epath.Path(folder).absolute()
  if scheme != "gs":
    raise ValueError(
      f"{folder}: states are kept in a folder, or in a bucket of Google Cloud Storage (gs://BUCKET/PATH); Orbax does not write to"
      f" {scheme}://. Mount the bucket, and give the folder"
    )
  path = epath.Path(folder)
  try:
    path.exists()
  except ImportError as error:
    raise ValueError(f"{folder}: a bucket needs gcsfs: pip install gcsfs ({error})") from error
  return path


def first_of_all_hosts(number: float) -> float:
  """The first host's number, on all hosts."""
  if jax.process_count() == 1:
    return number
  return float(np.frombuffer(multihost_utils.broadcast_one_to_all(np.frombuffer(np.float64(number).tobytes(), np.uint8)), np.float64)[0])


def said_by_any_host(text: str) -> str:
  """The first non-empty text of all hosts, on all hosts."""
  if jax.process_count() == 1:
    return text
  raw = text.encode()[:_TEXT]
  said_hn = multihost_utils.process_allgather(np.frombuffer(raw.ljust(_TEXT, b"\0"), np.uint8)).reshape(-1, _TEXT)
  return next((line for each in said_hn if (line := each.tobytes().rstrip(b"\0").decode(errors="replace"))), "")


class Series:
  """States by step, of which the newest are kept.

  All hosts share one folder and use the listing of the first host, so that their decisions agree.

  Args:
    folder: folder of the states; created if missing.
    keep: number of states to keep.

  Attributes:
    steps: steps of the finished states in order, including damaged ones until they are set aside.
    notes: lines on incomplete states, on the first host.
  """

  def __init__(self, folder: epath.Path, keep: int):
    self.folder, self.keep = folder, keep
    name = folder.name
    # Two series that save at the same time need different barriers.
    options = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=name)
    self._checkpointer = ocp.AsyncCheckpointer(handler(options), multiprocessing_options=options)
    self._thread: threading.Thread | None = None
    self._error: BaseException | None = None
    self.notes: list[str] = []
    self.steps: list[int] = []
    self.steps = self._find()

  def _find(self) -> list[int]:
    """Steps of the finished states, as the first host sees them."""
    steps, older = [], -1
    if jax.process_index() == 0:
      self.folder.mkdir(parents=True, exist_ok=True)
      found = _numbered(self.folder)
      steps = sorted(step for step, path in found.items() if is_whole(path))[-_MOST:]
      for step in sorted(found.keys() - set(steps)):
        if not is_whole(found[step]) and not (found[step] / "default").exists():
          self.notes.append(self._pass_over(step, found[step], alone=not steps))
      older = max((step for step, path in found.items() if (path / "default").exists()), default=-1)
    if jax.process_count() > 1:
      told = np.full(_MOST + 1, -1, np.int32)
      told[: len(steps)], told[-1] = steps, older
      told = np.asarray(multihost_utils.broadcast_one_to_all(told))
      steps, older = [int(step) for step in told[:-1] if step >= 0], int(told[-1])
    if older >= 0:
      raise WrongCheckpoint(
        f"{self.folder / str(older)} was written by an earlier release, whose states have no checksums: continue the run with"
        " that release, or begin another one from its model (another --workdir, --model.init_from)"
      )
    return steps

  def _pass_over(self, step: int, path: epath.Path, *, alone: bool) -> str:
    """A note on an incomplete state, which is set aside if it has all its arrays and there is no other state."""
    if not (path / "state").exists():
      return f"the state of step {step} was not finished: {path}. It is not used, and is removed when the next one is finished"
    lists = " and ".join(missing_lists(path))
    what = (
      f"the state of step {step} is not used, since {path} has no {lists}: deleted, or the run was killed before it was written."
    )
    if not alone:
      return f"{what} It is removed when the next state is finished; to use it, end the run and put {lists} back from a copy"
    aside = self.set_aside(step)
    return f"{what} It is kept as {aside.name}; to use it, end the run, put {lists} back from a copy, and rename it to {step}"

  def path(self, step: int) -> epath.Path:
    """Folder of a state."""
    return self.folder / str(step)

  def score(self, step: int) -> float | None:
    """Saved score of a state; None if its list is damaged, and on hosts other than the first."""
    if jax.process_index():
      return None
    try:
      return read_facts(self.path(step))["score"]
    except DamagedCheckpoint:
      return None

  def save(self, step: int, state: Tree, score: float | None = None) -> None:
    """Start writing a state after the one before is finished; returns when it is copied to the host."""
    self.wait()
    path = self.path(step)
    if jax.process_index() == 0:  # the next call has a barrier before the others write
      _remove(path)
      path.mkdir(parents=True, exist_ok=True)
    self._checkpointer.save(path / "state", args=save_args(state))
    self.steps = [*(each for each in self.steps if each != step), step]
    self._thread = threading.Thread(target=self._finish, args=(path, step, score), name=f"jaxface-{self.folder.name}")
    self._thread.start()

  def _finish(self, path: epath.Path, step: int, score: float | None) -> None:
    try:
      self._checkpointer.wait_until_finished()
      write_sums(path, host=jax.process_index(), hosts=jax.process_count(), facts={"step": step, "score": score})
      self._prune()
    except BaseException as error:  # raised by `wait`
      self._error = error

  def _prune(self) -> None:
    """Remove all states except the newest finished ones and the one that was written last."""
    if jax.process_index():
      return
    found = _numbered(self.folder)
    finished = [step for step in self.steps if step in found and is_whole(found[step])]
    kept = {*finished[-self.keep :], self.steps[-1]}
    for step, path in found.items():
      if step not in kept:
        _remove(path)

  def wait(self) -> None:
    """Block until the current save is finished; raises its error."""
    if self._thread is not None:
      self._thread.join()
      self._thread = None
    if self._error is not None:
      error, self._error = self._error, None
      raise error
    self.steps = self.steps[-self.keep :]

  def damage(self, step: int) -> str:
    """Description of the damage of a state, "" if there is none. The hosts divide the files and share the result."""
    return said_by_any_host(find_damage(self.path(step), share=jax.process_index(), shares=jax.process_count()))

  def set_aside(self, step: int) -> epath.Path:
    """Remove a state from the series and rename its folder; returns the new path."""
    self.steps = [each for each in self.steps if each != step]
    aside = self.folder / f"{step}.damaged"
    if jax.process_index() == 0:
      _remove(aside)
      self.path(step).rename(aside)
    return aside

  def close(self) -> None:
    """Wait, and close Orbax."""
    try:
      self.wait()
    finally:
      self._checkpointer.close()


def _numbered(folder: epath.Path) -> dict[int, epath.Path]:
  """Folders whose name is a number."""
  if not folder.exists():
    return {}
  return {int(each.name): each for each in folder.iterdir() if each.name.isdecimal()}


def _remove(path: epath.Path) -> None:
  """Remove a state, its list first, so that the rest is incomplete after a crash."""
  sums_file(path).unlink(missing_ok=True)
  path.rmtree(missing_ok=True)


def holds_states(folder: Path | str) -> bool:
  """Whether a folder of `Checkpoints` contains a finished state, one of an earlier release, or a damaged one."""
  root = as_path(folder)
  return any(
    is_whole(path) or (path / "default").exists()
    for kind in ("last", "best") for path in _numbered(root / kind).values()
  ) or any(path.name.endswith(".damaged") for kind in ("last", "best") if (root / kind).exists() for path in (root / kind).iterdir())
