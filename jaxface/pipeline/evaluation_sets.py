"""Opens the evaluation sets of a run, and refuses at the start what could not be evaluated later."""

from pathlib import Path
from typing import Any

import jax

from jaxface.data.config import open_records
from jaxface.data.folder import FolderSource
from jaxface.data.subset import NamedSource
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.holdout import holdout_pairs
from jaxface.evaluation.pairs.pair_names import list_notes, matched
from jaxface.evaluation.protocols.base import Protocol
from jaxface.evaluation.protocols.pair_list import PairProtocol, pair_counts
from jaxface.evaluation.protocols.registry import read_protocol
from jaxface.evaluation.protocols.rfw import Groups
from jaxface.evaluation.protocols.ytf import Ytf
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.pairs import Pairs, read_pairs
from jaxface.inference.verify import VerificationHook
from jaxface.models.config import ModelConfig
from jaxface.pipeline.say import say
from jaxface.training.workdir import Workdir


def check_paths(config: VerificationConfig, place: str) -> None:
  """Refuses a protocol without lists or images, before anything is packed.

  Args:
    config: the set, with full paths.
    place: dotted name of its field, such as "evaluation.0".
  Raises:
    ValueError: the protocol has no lists.
    FileNotFoundError: the lists or the images are not there.
  """
  if config.protocol == "pairs":
    return
  if not config.pairs:
    raise ValueError(
      f"evaluation {config.name!r}: the protocol {config.protocol!r} reads its official lists: give their file or folder,"
      f" --{place}.pairs PATH (docs/protocols.md names them)"
    )
  for field, what in (("pairs", "lists"), ("images", "images"), ("records", "records")):
    path = getattr(config, field)
    if path and not Path(path).exists():
      raise FileNotFoundError(f"evaluation {config.name!r}: no {what} at {path} (--{place}.{field})")


def make_hook(
  config: VerificationConfig, model: ModelConfig, holdout: Any, workdir: Workdir, *, threads: int, devices: int, size: int = 0,
  on_damage: str = "raise",
) -> VerificationHook:
  """The hook of one evaluation set: its own images, or the identities held out of the training set.

  Args:
    config: the evaluation set.
    model: the network that is trained.
    holdout: records of the identities held out; None if there are none.
    workdir: workdir of the run.
    threads: number of decoding threads, 0 for one per core.
    devices: number of devices of the run, 0 for all.
    size: side length in pixels to which the training images are resized, 0 for none: those of a folder are resized alike.
    on_damage: what happens to an image that cannot be read, see `VerificationHook`.
  Raises:
    ValueError: the set names no images and no identities are held out; an image of the lists is missing; a list has pairs of
      one kind only.
    DamagedData: a list that cannot be read, or is not the official one.
    FileNotFoundError: a list or the images are missing.
  """
  source = _images(config, holdout, threads, size)
  names = source.names()
  rules: Pairs | Protocol
  if config.protocol != "pairs":
    rules = read_protocol(config.protocol, config.pairs)
    for line in rules.notes:
      say(f"evaluation {config.name}: {line}")
  elif config.pairs:
    rules = matched(read_pairs(config.pairs), names)
  else:
    try:
      rules = holdout_pairs(names, source.label_n, seed=config.seed)
    except ValueError as error:
      raise ValueError(
        f"evaluation {config.name!r}: {error}. Hold more people out of training (--data.holdout), or give a pair list"
      ) from error
  if config.pairs:
    for line in [note for pairs in _lists(rules).values() for note in list_notes(pairs)]:
      say(f"evaluation {config.name}: {line}")
  _check_kinds(config, rules)
  protocol = PairProtocol("pairs", pair_counts(rules), (), rules) if isinstance(rules, Pairs) else rules
  used, missing = protocol.used(names)
  if missing:
    where = config.records or config.images or "the images held out of training (data.holdout)"
    raise ValueError(
      f"evaluation {config.name!r}: {len(missing):,} of {len(protocol.images):,} images of the lists are not in {where}: the first"
      f" is {missing[0]!r}; the {len(names):,} images are named like {names[0]!r}. Add them, or take them out of {config.pairs}"
    )
  # Only images of the lists need embeddings: 7,701 of LFW's 13,233.
  source = NamedSource(source, used)
  return VerificationHook(
    config, source, rules, model, before_file=workdir.path / f"before_{config.name}.npz",
    # Several hosts use all their devices (`make_mesh`), and each embeds its share with its own.
    devices=devices if jax.process_count() == 1 else 0, on_damage=on_damage,
  )


def _images(config: VerificationConfig, holdout: Any, threads: int, size: int) -> Any:
  """The images of a set; those of a folder that was not packed have the names that the lists of protocols give them."""
  if config.records:
    return open_records(config.records, threads)
  if config.images:
    source = FolderSource(
      config.images, size=(size, size) if size else None, template=config.template or UNKNOWN_TEMPLATE, threads=threads, resize=True
    )
    for line in source.notes:
      say(f"evaluation {config.name}: {line}")
    return source
  if holdout is None:
    raise ValueError(
      f"evaluation {config.name!r} names neither images nor records, and data.holdout is 0: give one, or set"
      " --data.holdout 0.1 to verify on identities held out of training"
    )
  return holdout


def _lists(rules: Pairs | Protocol) -> dict[str, Pairs]:
  """The pair lists of a protocol, by group if there are several; of a list of videos its pairs of videos."""
  if isinstance(rules, Groups):
    return dict(rules.groups)
  if isinstance(rules, (PairProtocol, Ytf)):
    return {"": rules.pairs}
  return {"": rules} if isinstance(rules, Pairs) else {}


def _check_kinds(config: VerificationConfig, rules: Pairs | Protocol) -> None:
  for group, pairs in _lists(rules).items():
    if pairs.same.all() or not pairs.same.any():
      lacking = "non-mated" if pairs.same.any() else "mated"
      raise ValueError(
        f"evaluation {config.name!r}: {pairs.file or 'the list'}{f', group {group}' if group else ''} has no {lacking} pair: a run needs"
        " pairs of both kinds for its figures"
      )


__all__ = ["check_paths", "make_hook"]
