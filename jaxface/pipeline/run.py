"""Runs one experiment end to end, from images to a verified, saved and exported model."""

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from jaxface.data.config import open_source
from jaxface.data.source import identity_names
from jaxface.evaluation.pairs.verification import Verification
from jaxface.formats.aligned import known_template
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.packing import pack
from jaxface.formats.provenance import Lineage, to_json
from jaxface.formats.unaligned import unaligned_note
from jaxface.geometry.templates import unknown_template
from jaxface.inference.embed import check_template
from jaxface.inference.model import Model
from jaxface.interop.onnx_export import export_onnx
from jaxface.interop.onnx_file import need
from jaxface.layers.explain import convolution
from jaxface.models.calibration import norm_meta
from jaxface.models.saved import SavedModel, save_model
from jaxface.pipeline.evaluation_sets import check_paths, make_hook
from jaxface.pipeline.judge import Judged, judge
from jaxface.pipeline.lineage import run_lineage
from jaxface.pipeline.photos.align_folder import align_photos
from jaxface.pipeline.say import say
from jaxface.training.class_centers import save_centers
from jaxface.training.config import Experiment
from jaxface.training.custom import expand_fields, expand_path
from jaxface.training.host_facts import compare_hosts, run_facts
from jaxface.training.hosts import join_hosts, stand_at, together, wait_for_hosts
from jaxface.training.initial import resolve_model
from jaxface.training.loop import train_run
from jaxface.training.resolve import describe, resolve_run
from jaxface.training.tracking import Trackers, tracked
from jaxface.training.watchdog import watched
from jaxface.training.workdir import Workdir

# Side of packed faces without data.size: a usual input.
FACES = 128


@dataclass(frozen=True)
class Result:
  """Result of a finished run.

  Attributes:
    workdir: folder of the run.
    saved: the trained network.
    judged: result of each evaluation set, by name, in the experiment's order.
    exported: the exported file, if the experiment exports one.
    notes: lines on skipped steps and replaced records.
  """

  workdir: Path
  saved: SavedModel
  judged: Mapping[str, Judged]
  exported: Path | None = None
  notes: tuple[str, ...] = ()

  @property
  def model(self) -> Model:
    """The trained network, ready to use; `jaxface.load(workdir)` loads it later."""
    return Model(self.saved)

  @property
  def verification(self) -> dict[str, Verification]:
    """Figures of the trained network by evaluation set, of those that are pair lists; `judged` has all."""
    return {name: each.figures for name, each in self.judged.items() if isinstance(each.figures, Verification)}

  @property
  def failed(self) -> tuple[str, ...]:
    """Names of the evaluation sets that have no figures, since their evaluation failed."""
    return tuple(name for name, each in self.judged.items() if each.figures is None)

  def __str__(self) -> str:
    exported = [f"export {self.exported}"] if self.exported else []
    return " · ".join([f"model {self.workdir / 'model'}", *self.notes, *exported, *(each.line for each in self.judged.values())])


def run_experiment(experiment: Experiment, folder: Path, *, command: str) -> Result | None:
  """Pack, train, verify, save, report, export.

  Args:
    experiment: the experiment; paths may contain environment variables, such as $JAXFACE_DATA.
    folder: folder of the run; an existing run there is resumed.
    command: command line shown in the report.
  Returns:
    The result; None on every host but the first, which saves and reports.
  Raises:
    FolderInUse: another process uses the folder.
    Interrupted: SIGTERM or SIGINT; a checkpoint is saved, and the same call resumes.
  """
  if experiment.export:  # report missing packages before training
    need("onnx")
    need("onnxruntime")
  join_hosts(experiment.mesh)
  with together(), watched(experiment.mesh.stall_seconds):
    compare_hosts("the experiment", run_facts(describe(experiment)))
    workdir = Workdir(folder)
    workdir.keep_states_in(expand_path(experiment.checkpoints, "checkpoints"))
    with workdir.own(), tracked(experiment.tracking, say) as trackers:
      result = _run(experiment, workdir, command, trackers)
      trackers.attach(attached(workdir.path, experiment))
      return result


def attached(folder: Path, experiment: Experiment) -> list[Path]:
  """The files of a run that services receive: its settings, data, versions and git state, figures and reports, and the model's card."""
  names = ["config.json", "data.json", "environment.json", "report.html", "model/card.md"]
  for config in experiment.evaluation:
    names += [f"{config.name}.json", f"report_{config.name}.html"]
  return [folder / name for name in names]


def _run(experiment: Experiment, workdir: Workdir, command: str, trackers: Trackers) -> Result | None:
  if not jax.process_index():
    print(f"convolution  {convolution()}", file=sys.stderr)
  prepared = prepare(experiment, workdir)
  stand_at("opening the data")
  source, holdout = open_source(prepared.data)
  run = resolve_run(prepared, source, workdir.path)
  lineage: Lineage = ()
  if jax.process_index() == 0:
    lineage = run_lineage(prepared.data, run.network.init_from, workdir.path / "lineage.json", begun=workdir.holds_states)
  hooks = [
    make_hook(
      config, prepared.model, holdout, workdir, threads=prepared.data.threads, devices=prepared.mesh.devices,
      size=prepared.data.size, on_damage=prepared.data.on_damage,
    )
    for config in prepared.evaluation
  ]
  if source.template == UNKNOWN_TEMPLATE:
    say(unknown_template("--data.template, or pack --template for packed records"))
  for hook in hooks:
    for line in check_template(hook.source.template, source.template):
      say(f"evaluation {hook.config.name}: {line}")
  trained = train_run(run, workdir, hooks, trackers)
  for hook in hooks:
    if hook.latest_step != trained.step:  # the run had ended before, or an earlier state is the best
      stand_at(f"verifying {hook.config.name} with the trained network")
      hook(trained.step, trained.variables)
  if names := identity_names(source):
    save_centers(workdir.path, trained.centers, names)
  if jax.process_index():
    wait_for_hosts("reported")  # the first host may still need this one
    return None
  stand_at("saving the model")
  saved = SavedModel(
    run.network.name, trained.options, trained.preprocess, trained.variables,
    {"experiment": run.name, "step": trained.step, "identities": int(source.num_identities),
     "images": int(source.num_records), "lineage": to_json(lineage), **norm_meta(trained.variables),
     **({"init_from": run.network.init_from} if run.network.init_from else {})},
  )
  save_model(workdir.model, saved)
  notes = []
  if trained.skipped:
    notes.append(f"{trained.skipped:,} of {run.plan.steps:,} steps skipped: loss or gradient not finite")
  if trained.damaged:
    notes.append(f"{trained.damaged:,} damaged records replaced")
  exported = None
  if prepared.export:
    stand_at(f"exporting {prepared.export}")
    exported = workdir.path / f"{run.name}.{prepared.export}"
    export_onnx(saved, exported)
  stand_at("writing the report")
  judged = [judge(hook, trained, run, workdir, first=hook is hooks[0], command=command) for hook in hooks]
  wait_for_hosts("reported")
  return Result(workdir.path, saved, {each.name: each for each in judged}, exported, tuple(notes))


def prepare(experiment: Experiment, workdir: Workdir) -> Experiment:
  """The experiment with full paths, with the settings of `model.init_from`, and with its images packed."""
  expanded = expand_paths(experiment)
  # Report contradictions before anything is packed.
  expanded = replace(expanded, model=resolve_model(expanded.model, workdir.path))
  for index, config in enumerate(expanded.evaluation):
    check_paths(config, f"evaluation.{index}")
  return pack_images(expanded, workdir)


def expand_paths(experiment: Experiment) -> Experiment:
  """Replace $VARIABLES and ~ in every path of the experiment.

  Raises:
    ValueError: a variable is not set.
  """
  return replace(
    experiment,
    data=expand_fields(experiment.data, "data", "images", "records", "mixture", "embeddings"),
    model=expand_fields(experiment.model, "model", "init_from"),
    evaluation=tuple(
      expand_fields(config, f"evaluation.{index}", "images", "records", "pairs")
      for index, config in enumerate(experiment.evaluation)
    ),
  )


def pack_images(experiment: Experiment, workdir: Workdir) -> Experiment:
  """Pack every folder of images for training or for a pair list into `records/` of the workdir, once."""
  data, evaluation = experiment.data, []
  if data.unpacked:
    if data.align:
      data = replace(data, images=align_once(data.images, workdir.path / "aligned", data.template or "arcface112"))
    elif not known_template(data.images, data.template):
      side = (data.size or FACES,) * 2
      if note := unaligned_note(data.images, side):
        say(note)
    data = replace(data, records=pack_once(
      data.images, workdir.path / "records" / "train", data.size, data.template, licence=data.licence, origin=data.origin
    ))
  for config in experiment.evaluation:
    if config.images and not config.records and config.protocol == "pairs":
      records = pack_once(config.images, workdir.path / "records" / config.name, data.size, config.template)
      config = replace(config, records=records)
    evaluation.append(config)
  return replace(experiment, data=data, evaluation=tuple(evaluation))


def align_once(photos: str, out: Path, template: str) -> str:
  """Aligns the faces of a folder of photos, and returns `out`; one host aligns, the others wait as long as it makes progress."""
  if jax.process_index() == 0:
    count = itertools.count(1)

    def done() -> None:
      stand_at(f"aligning {photos}: {next(count):,} photos")

    stand_at(f"aligning {photos}")
    say(align_photos(photos, out, template=template, progress=sys.stderr.isatty(), say=say, done=done).summary())
  wait_for_hosts(f"aligning {out}")
  return str(out)


def pack_once(images: str, out: Path, size: int, template: str, *, licence: str = "", origin: str = "") -> str:
  """Pack a folder with a subfolder per identity, if it is not packed yet; returns `out`. One host packs, the others wait as long as it makes progress."""
  if jax.process_index() == 0:
    done = 0

    def on_images(count: int) -> None:
      nonlocal done
      done += count
      stand_at(f"packing {images}: {done:,} images read or written")

    stand_at(f"packing {images}")
    try:
      pack(
        images, out, size=size or None, template=template or None, licence=licence, origin=origin,
        progress=sys.stderr.isatty(), say=say, on_images=on_images,
      )
    except FileExistsError as error:
      raise FileExistsError(
        f"{error}. A run resumes only with the same images: give another --workdir for {images}, and --model.init_from to start"
        " from this run's network"
      ) from error
  wait_for_hosts(f"packing {out}")
  return str(out)


__all__ = ["Result", "expand_paths", "pack_once", "run_experiment"]
