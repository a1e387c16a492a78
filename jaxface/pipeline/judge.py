"""Verification inside a run: selects images and pairs, and writes the figures."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxface.data.config import open_records
from jaxface.data.source import pictures_of, read_image
from jaxface.data.subset import NamedSource
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.holdout import holdout_pairs
from jaxface.evaluation.pairs.pair_names import list_notes, matched, threshold_notes
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.evaluation.report.report import Report, write_report
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.formats.pairs import read_pairs
from jaxface.inference.verify import VerificationHook
from jaxface.models.config import ModelConfig
from jaxface.pipeline.say import say
from jaxface.training.logs import read_metrics
from jaxface.training.loop import Trained
from jaxface.training.parts import Run
from jaxface.training.workdir import Workdir, environment

FACES_SHOWN = 24


def make_hook(
  config: VerificationConfig, model: ModelConfig, holdout: Any, workdir: Workdir, *, threads: int, devices: int,
  on_damage: str = "raise",
) -> VerificationHook:
  """The hook of one verification set: its own records, or the identities held out of the training set.

  Args:
    config: the verification set.
    model: the network that is trained.
    holdout: records of the identities held out; None if there are none.
    workdir: workdir of the run.
    threads: number of decoding threads, 0 for one per core.
    devices: number of devices of the run, 0 for all.
    on_damage: what happens to an image that cannot be read, see `VerificationHook`.
  Raises:
    ValueError: the set names no images and no identities are held out.
  """
  source = open_records(config.records, threads) if config.records else holdout
  if source is None:
    raise ValueError(
      f"evaluation {config.name!r} names neither images nor records, and data.holdout is 0: give one, or set"
      " --data.holdout 0.1 to verify on identities held out of training"
    )
  if config.pairs:
    pairs = matched(read_pairs(config.pairs), source.names())
    for line in list_notes(pairs):
      say(f"evaluation {config.name}: {line}")
  else:
    try:
      pairs = holdout_pairs(source.names(), source.label_n, seed=config.seed)
    except ValueError as error:
      raise ValueError(
        f"evaluation {config.name!r}: {error}. Hold more people out of training (--data.holdout), or give a pair list"
      ) from error
  # Only images of the list need embeddings: 7,701 of LFW's 13,233.
  source = NamedSource(source, {*pairs.left, *pairs.right})
  return VerificationHook(
    config, source, pairs, model, before_file=workdir.path / f"before_{config.name}.npz",
    # Several hosts use all their devices (`make_mesh`), and each embeds its share with its own.
    devices=devices if jax.process_count() == 1 else 0, on_damage=on_damage,
  )


class Judged(NamedTuple):
  """Result of one verification set.

  Attributes:
    name: name of the set.
    figures: figures of the trained network.
    before: figures of the initial network, if it was verified.
    report: HTML file.
    line: the figures and the report's path, for a terminal.
  """

  name: str
  figures: Verification
  before: Verification | None
  report: Path
  line: str


def judge(
  hook: VerificationHook, trained: Trained, run: Run, workdir: Workdir, *, first: bool, command: str
) -> Judged:
  """Verifies the trained network on one set, and writes the figures as JSON and a report of the run.

  Args:
    hook: hook of the set.
    trained: result of the training.
    run: parts of the run.
    workdir: workdir of the run.
    first: whether the set is the run's first one.
    command: command line shown in the report.
  """
  name = hook.config.name
  after = hook.latest
  assert after is not None
  for line in threshold_notes(after.pairs, after.folds.threshold_from):
    say(f"evaluation {name}: {line}")
  before = _before(hook)
  chose = first and run.plan.best
  pretrained, source = run.network.init_from, run.data.source
  began = "pretrained" if pretrained else "untrained"
  write_json(workdir.path / f"{name}.json", {
    **after.to_json(),
    "chose_the_state": chose,
    "before": before and {
      "network": began, "init_from": pretrained, "accuracy": before.accuracy, "auc": before.auc, "eer": before.eer,
    },
  })
  report = workdir.path / ("report.html" if first else f"report_{name}.html")
  write_report(
    report,
    Report(
      title=f"{run.name}: {name}",
      after=after,
      before=before,
      lead=f"{run.network.name}, {trained.step:,} steps of {run.batches.size} images,"
           f" {source.num_records:,} images of {source.num_identities:,} identities."
           + (f" Training started from the pretrained network {pretrained}." if pretrained else "")
           + (" The best state was selected on this set, so its figures are optimistic." if chose else ""),
      command=command,
      metrics=read_metrics(workdir.path),
      config=run.config,
      environment=environment(),
      faces=[(caption, encode_jpeg(image)) for caption, image in _sample(source)],
      image_of=pictures_of(hook.source),
    ),
  )
  was = f"AUC {began} {before.auc:.4f} → trained {after.auc:.4f}" if before else f"AUC {after.auc:.4f}"
  fair = " (optimistic: the state was selected on this set)" if chose else ""
  line = f"{name}: {was}, accuracy {100 * after.accuracy:.2f} % ± {100 * after.accuracy_se:.2f}{fair} · report {report}"
  return Judged(name, after, before, report, line)


def _before(hook: VerificationHook) -> Verification | None:
  if hook.before_file is None or not hook.before_file.is_file():
    return None
  embeddings = read_embeddings(hook.before_file)
  pairs = hook.pairs if hook.latest is None else hook.latest.pairs  # those whose images can be read
  if not {*pairs.left, *pairs.right} <= set(embeddings.names):
    return None  # the run began with another verification set
  return verify_pairs(embeddings.embedding_nd, embeddings.names, pairs)


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


__all__ = ["Judged", "judge", "make_hook"]
