"""From images to a verified, saved and exported model: what one experiment does from end to end."""

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.commands.doctor import convolution
from jaxface.commands.lineage import run_lineage
from jaxface.data.config import open_records, open_source
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pair_names import list_notes, matched, threshold_notes
from jaxface.evaluation.pairs import holdout_pairs
from jaxface.evaluation.report import Report, write_report
from jaxface.evaluation.verification import Verification, verify_pairs
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.packing import pack
from jaxface.formats.pairs import read_pairs
from jaxface.formats.provenance import Lineage, to_json
from jaxface.geometry.templates import unknown_template
from jaxface.inference.embed import check_template
from jaxface.inference.verify import VerificationHook
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.onnx_file import need
from jaxface.models.saved import SavedModel, save_model
from jaxface.training.config import Experiment
from jaxface.training.logs import read_metrics
from jaxface.training.loop import Trained, train
from jaxface.training.mesh import join_hosts, wait_for_hosts
from jaxface.training.workdir import Workdir, describe, environment

FACES_SHOWN = 24


def run_experiment(experiment: Experiment, folder: Path, *, command: str) -> str:
  """Pack, train, verify, save, report, export.

  Args:
    experiment: what to do; paths may contain variables of the environment, such as $JAXFACE_DATA.
    folder: of the run; a run found there is continued.
    command: for the report.
  Returns:
    One line with the figures and where the report is.
  Raises:
    FolderInUse: another process is at work in the folder.
  """
  if experiment.export:  # what is missing is better known before training than after
    need("onnx")
    need("onnxruntime")
  join_hosts(experiment.mesh)
  if not jax.process_index():
    print(f"convolution  {convolution()}", file=sys.stderr)
  workdir = Workdir(folder)
  with workdir.own():
    return _run(experiment, workdir, command)


def _run(experiment: Experiment, workdir: Workdir, command: str) -> str:
  prepared = pack_images(expand_paths(experiment), workdir)
  source, holdout = open_source(prepared.data)
  lineage: Lineage = ()
  if jax.process_index() == 0:
    lineage = run_lineage(prepared.data, prepared.model.init_from, workdir.path / "lineage.json")
  hooks = [make_hook(config, prepared, holdout, workdir) for config in prepared.evaluation]
  if source.template == UNKNOWN_TEMPLATE:
    say(unknown_template("--data.template, or pack --template for packed records"))
  for hook in hooks:
    for line in check_template(hook.source.template, source.template):
      say(f"evaluation {hook.config.name}: {line}")
  trained = train(prepared, workdir, source, hooks)
  if jax.process_index():
    wait_for_hosts("reported")  # a host that leaves early would be missed by the first one
    return "the first host saves and reports"
  saved = SavedModel(
    prepared.model.name, trained.options, trained.preprocess, trained.variables,
    {"experiment": prepared.name, "step": trained.step, "identities": int(source.num_identities),
     "images": int(source.num_records), "lineage": to_json(lineage)},
  )
  save_model(workdir.model, saved)
  lines = [f"model {workdir.model}"]
  if trained.skipped:
    lines.append(f"{trained.skipped:,} of {prepared.steps:,} steps skipped: loss or gradient not finite")
  if trained.damaged:
    lines.append(f"{trained.damaged:,} damaged records replaced")
  if prepared.export:
    path = workdir.path / f"{prepared.name}.{prepared.export}"
    export_onnx(saved, path)
    lines.append(f"export {path}")
  lines += [verify(hook, trained, prepared, workdir, source, command) for hook in hooks]
  wait_for_hosts("reported")
  return " · ".join(lines)


def expand_paths(experiment: Experiment) -> Experiment:
  """Replace $VARIABLES and ~ in every path of the experiment.

  Raises:
    ValueError: a variable is not set.
  """

  def expand(path: str, field: str) -> str:
    full = os.path.expanduser(os.path.expandvars(path))
    if "$" in full:
      raise ValueError(
        f"{field} is {path!r}, but {full[full.index('$'):].split('/')[0]} is not set: set it to the folder that holds the"
        f" datasets, or give --{field} PATH"
      )
    return full

  data = replace(
    experiment.data, images=expand(experiment.data.images, "data.images"),
    records=expand(experiment.data.records, "data.records"), embeddings=expand(experiment.data.embeddings, "data.embeddings"),
  )
  evaluation = tuple(
    replace(
      config, images=expand(config.images, f"evaluation.{index}.images"),
      records=expand(config.records, f"evaluation.{index}.records"),
      pairs=expand(config.pairs, f"evaluation.{index}.pairs"),
    )
    for index, config in enumerate(experiment.evaluation)
  )
  model = replace(experiment.model, init_from=expand(experiment.model.init_from, "model.init_from"))
  return replace(experiment, data=data, model=model, evaluation=evaluation)


def pack_images(experiment: Experiment, workdir: Workdir) -> Experiment:
  """Pack every folder of images that the experiment names into `records/` of the workdir, once."""
  data, evaluation = experiment.data, []
  if data.images and not data.records:
    data = replace(data, records=pack_once(
      data.images, workdir.path / "records" / "train", data.size, data.template, licence=data.licence, origin=data.origin
    ))
  for config in experiment.evaluation:
    if config.images and not config.records:
      records = pack_once(config.images, workdir.path / "records" / config.name, data.size, config.template)
      config = replace(config, records=records)
    evaluation.append(config)
  return replace(experiment, data=data, evaluation=tuple(evaluation))


def say(note: str) -> None:
  """A line for the user on what the run found, once whatever the number of hosts."""
  if jax.process_index() == 0:
    print(f"note: {note}", file=sys.stderr)


def pack_once(images: str, out: Path, size: int, template: str, *, licence: str = "", origin: str = "") -> str:
  """Pack a folder of one folder per identity, unless that is done already; returns `out`. One host packs, the others wait."""
  if jax.process_index() == 0:
    try:
      pack(
        images, out, size=size or None, template=template or None, licence=licence, origin=origin,
        progress=sys.stderr.isatty(), say=say,
      )
    except FileExistsError as error:
      raise FileExistsError(
        f"{error}. A run goes on with the images it began with: give another --workdir for {images}, with --model.init_from to"
        " go on from this run's network"
      ) from error
  wait_for_hosts(f"packed {out}")
  return str(out)


def make_hook(config: VerificationConfig, experiment: Experiment, holdout: Any, workdir: Workdir) -> VerificationHook:
  """The hook of one verification set: its own records, or the identities that were held out of the training set.

  Raises:
    ValueError: it names no images and nothing is held out.
  """
  source = open_records(config.records, experiment.data.threads) if config.records else holdout
  if source is None:
    raise ValueError(
      f"evaluation {config.name!r} names neither images nor records, and data.holdout is 0: give one, or set"
      " --data.holdout 0.1 to verify on identities kept out of training"
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
        f"evaluation {config.name!r}: {error}. Keep more people out of training (--data.holdout), or give a pair list"
      ) from error
  return VerificationHook(
    config, source, pairs, experiment.model, before_file=workdir.path / f"before_{config.name}.npz",
    # Several hosts use all their devices (`make_mesh`), and each verifies with its own.
    devices=experiment.mesh.devices if jax.process_count() == 1 else 0,
  )


def verify(
  hook: VerificationHook, trained: Trained, experiment: Experiment, workdir: Workdir, source: Any, command: str
) -> str:
  """Figures of the trained network on one set: JSON, report, and a line that says both AUCs and where the report is."""
  name = hook.config.name
  if hook.latest_step != trained.step:  # the run had ended before, or an earlier state is the best
    hook(trained.step, trained.variables)
  after = hook.latest
  assert after is not None
  for line in threshold_notes(after.pairs, after.folds.threshold_from):
    say(f"evaluation {name}: {line}")
  before = _before(hook)
  first = name == experiment.evaluation[0].name
  chose = first and experiment.use == "best"
  pretrained = experiment.model.init_from
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
      title=f"{experiment.name}: {name}",
      after=after,
      before=before,
      lead=f"{experiment.model.name}, {trained.step:,} steps of {experiment.batch_size} images,"
           f" {source.num_records:,} images of {source.num_identities:,} identities."
           + (f" Before training it was the pretrained network of {pretrained}." if pretrained else "")
           + (" This set chose the state among those of the run, so its figures are no fair test." if chose else ""),
      command=command,
      metrics=read_metrics(workdir.path),
      config=describe(experiment),
      environment=environment(),
      faces=[(caption, encode_jpeg(image)) for caption, image in _sample(source)],
      image_of=_image_of(hook.source),
    ),
  )
  was = f"AUC {began} {before.auc:.4f} → trained {after.auc:.4f}" if before else f"AUC {after.auc:.4f}"
  fair = " (this set chose the state: no fair test)" if chose else ""
  return f"{name}: {was}, accuracy {100 * after.accuracy:.2f} % ± {100 * after.accuracy_se:.2f}{fair} · report {report}"


def _before(hook: VerificationHook) -> Verification | None:
  if hook.before_file is None or not hook.before_file.is_file():
    return None
  embeddings = read_embeddings(hook.before_file)
  if not {*hook.pairs.left, *hook.pairs.right} <= set(embeddings.names):
    return None  # the run began with another verification set
  return verify_pairs(embeddings.embedding_nd, embeddings.names, hook.pairs)


def _read(source: Any, record: int) -> np.ndarray:
  image = np.zeros((1, *source.image_shape), np.uint8)
  for error in source.read(np.asarray([record]), image):
    raise error
  return image[0]


def _sample(source: Any) -> list[tuple[str, np.ndarray]]:
  """A few training faces, the same each time."""
  names = source.names()
  faces: list[tuple[str, np.ndarray]] = []
  for record in np.random.default_rng(0).permutation(source.num_records):
    if len(faces) == FACES_SHOWN:
      break
    with contextlib.suppress(DamagedData):  # counted while training; the report shows others
      faces.append((names[record], _read(source, int(record))))
  return faces


def _image_of(source: Any) -> Callable[[str], bytes]:
  record_of = {name: record for record, name in enumerate(source.names())}
  return lambda name: encode_jpeg(_read(source, record_of[name]))
