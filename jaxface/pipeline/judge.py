"""The end of a run: writes the figures of each evaluation set, and a report."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxface.data.source import pictures_of, read_image
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_names import threshold_notes
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.base import ProtocolFigures
from jaxface.evaluation.protocols.logged import logged_figures, score_name
from jaxface.evaluation.report.report import Report, write_report
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.inference.verify import VerificationHook
from jaxface.pipeline.say import say
from jaxface.training.goodput import read_goodput
from jaxface.training.logs import read_metrics
from jaxface.training.loop import Trained
from jaxface.training.parts import Run
from jaxface.training.workdir import Workdir, environment

FACES_SHOWN = 24


class Judged(NamedTuple):
  """Result of one evaluation set.

  Attributes:
    name: name of the set.
    figures: figures of the trained network: `Verification` of a pair list, else `ProtocolFigures`; None if the evaluation failed.
    before: figures of the initial network, if it was evaluated.
    report: HTML file; None if the evaluation failed.
    line: the figures and the report's path, or the failure, for a terminal.
  """

  name: str
  figures: Verification | ProtocolFigures | None
  before: Verification | ProtocolFigures | None
  report: Path | None
  line: str


def judge(
  hook: VerificationHook, trained: Trained, run: Run, workdir: Workdir, *, first: bool, command: str
) -> Judged:
  """Writes the figures of the trained network on one set as JSON, and a report of the run.

  Args:
    hook: hook of the set, which was called with the trained network.
    trained: result of the training.
    run: parts of the run.
    workdir: workdir of the run.
    first: whether the set is the run's first one.
    command: command line shown in the report.
  """
  name, found, after = hook.config.name, hook.found, hook.latest
  file = workdir.path / f"{name}.json"
  if found is None or after is None:
    write_json(file, {"protocol": hook.rules.name, "failed": hook.failure})
    return Judged(name, None, None, None, f"{name}: no figures, the evaluation failed ({hook.failure})")
  if isinstance(after, Verification):
    for line in threshold_notes(after.pairs, after.folds.threshold_from):
      say(f"evaluation {name}: {line}")
  before = _before(hook)
  chose = first and trained.chosen
  pretrained, source = run.network.init_from, run.data.source
  began = "pretrained" if pretrained else "untrained"
  was = before.verification if isinstance(before, Evaluation) else before
  write_json(file, {
    **found.figures,
    "chose_the_state": chose,
    "before": before and {"network": began, "init_from": pretrained, **_told(before)},
  })
  goodput = read_goodput(workdir.path)
  report = workdir.path / ("report.html" if first else f"report_{name}.html")
  write_report(
    report,
    Report(
      title=f"{run.name}: {name}",
      after=after,
      before=was,
      lead=f"{run.network.name}, {trained.step:,} steps of {run.batches.size} images,"
           f" {source.num_records:,} images of {source.num_identities:,} identities."
           + (f" Training started from the pretrained network {pretrained}." if pretrained else "")
           + (" The best state was selected on this set, so its figures are optimistic." if chose else ""),
      command=command,
      metrics=read_metrics(workdir.path),
      config=run.config,
      environment=environment(),
      time=goodput.rows() if goodput else (),
      time_note=str(goodput or ""),
      faces=[(caption, encode_jpeg(image)) for caption, image in _sample(source)],
      image_of=pictures_of(hook.source),
    ),
  )
  fair = " (optimistic: the state was selected on this set)" if chose else ""
  return Judged(name, after, was, report, f"{name}: {_line(hook, found, before, began)}{fair} · report {report}")


def _told(found: Evaluation | ProtocolFigures) -> dict[str, float]:
  """The figures of the initial network that the JSON file has."""
  figures = logged_figures(found)
  return {key: figures[key] for key in ("accuracy", "auc", "eer")} if isinstance(found, Evaluation) else figures


def _line(hook: VerificationHook, found: Evaluation | ProtocolFigures, before: Evaluation | ProtocolFigures | None, began: str) -> str:
  """The main figures."""
  after = found.verification if isinstance(found, Evaluation) else None
  key, label = ("auc", "AUC") if after else (score_name(hook.rules.name),) * 2
  value, was = (logged_figures(one).get(key) if one else None for one in (found, before))
  main = "undefined" if value is None else f"{value:.4f}"
  text = f"{label} {main}" if was is None else f"{label} {began} {was:.4f} → trained {main}"
  return f"{text}, accuracy {100 * after.accuracy:.2f} % ± {100 * after.accuracy_se:.2f}" if after else text


def _before(hook: VerificationHook) -> Evaluation | ProtocolFigures | None:
  """The figures of step 0, of the images that the latest evaluation could read; None if they were not evaluated."""
  if hook.before_file is None or not hook.before_file.is_file():
    return None
  try:
    embeddings = read_embeddings(hook.before_file)
    row_of = {name: row for row, name in enumerate(embeddings.names)}
    every = hook.source.names()
    names = [every[record] for record in hook.read_n]
    if not row_of.keys() >= set(names):
      return None  # the run began with another verification set
    return hook.evaluate(embeddings.embedding_nd[[row_of[name] for name in names]], names)
  except (ValueError, DamagedData) as error:
    say(f"evaluation {hook.config.name}: no figures before training: {error}")
    return None


def _sample(source: Any) -> list[tuple[str, np.ndarray]]:
  """A few training faces, the same in each report."""
  names = source.names()
  faces: list[tuple[str, np.ndarray]] = []
  for record in np.random.default_rng(0).permutation(source.num_records):
    if len(faces) == FACES_SHOWN:
      break
    with contextlib.suppress(DamagedData):  # counted during training; the report skips them
      faces.append((names[record], read_image(source, int(record))))
  return faces


__all__ = ["Judged", "judge"]
