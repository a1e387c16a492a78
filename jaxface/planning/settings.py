"""Settings of an experiment that need less memory, those first that leave the trained model as it is."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxface.heads.classification import Classification
from jaxface.training.config import Experiment

BLOCK = 2048
RATE = 0.1


class Setting(NamedTuple):
  """A change of an experiment.

  Attributes:
    overrides: fields by dotted name, as text.
    effect: what it saves, and what it costs.
  """

  overrides: Mapping[str, str]
  effect: str

  @property
  def text(self) -> str:
    """As options of the command line."""
    return " ".join(f"--{name} {value}" for name, value in self.overrides.items())


def settings_of(experiment: Experiment, devices: int) -> list[Setting]:
  """Settings that the experiment does not have yet.

  Args:
    experiment: the run.
    devices: of its mesh.
  """
  found: list[Setting] = []
  heads = [(index, term) for index, term in enumerate(experiment.terms) if isinstance(term, Classification)]
  rows = [(index, term) for index, term in heads if not term.center_repulsion]

  def add(name: str, value: object, effect: str) -> None:
    found.append(Setting({name: str(value)}, effect))

  for index, term in rows:
    if not term.sharded:
      add(f"terms.{index}.sharded", "true", "each device holds its part of the class centres; the model is the same")
  for index, term in rows:
    if term.sharded and not term.block:
      add(f"terms.{index}.block", BLOCK, "scores of classes are computed twice, in blocks, and not stored; the model is the same")
  if devices > 1 and not experiment.mesh.fsdp:
    add("mesh.fsdp", "true", "each device holds its part of the network's parameters and their optimizer state; more is exchanged")
  if experiment.model.remat == "none":
    add("model.remat", "products", "the backward pass recomputes all but products; the model is the same")
    add("model.remat", "blocks", "the backward pass recomputes the residual blocks: a third more products; the model is the same")
  if experiment.model.dtype == "float32":
    add("model.dtype", "bfloat16", "the network computes in bfloat16; parameters stay float32")
  for index, term in rows:
    if term.sharded and term.sample_rate == 1:
      add(f"terms.{index}.sample_rate", RATE, "a step scores and moves a tenth of the classes, see docs/class_centers.md for the accuracy")
  for index, term in rows:
    if term.sharded and term.center_dtype == "float32":
      add(f"terms.{index}.center_dtype", "bfloat16", "class centres in bfloat16 with stochastic rounding")
  if all(getattr(term, "scope", "row") == "row" for term in experiment.terms):
    for parts in (2, 4):
      if experiment.batch_size % (devices * experiment.accumulate * parts) == 0:
        add("accumulate", experiment.accumulate * parts, f"the batch in {parts} times as many parts; each batch norm sees one part")
  if experiment.optimizer.name == "adamw":
    found.append(Setting({"optimizer.name": "sgd"}, "one number of optimizer state per parameter instead of two; another training"))
  elif experiment.optimizer.momentum and not experiment.optimizer.nesterov:
    add("optimizer.momentum", 0, "no optimizer state; another training")
  for part in (2, 4):
    if experiment.batch_size % (devices * experiment.accumulate * part) == 0:
      add("batch_size", experiment.batch_size // part, "another training: fit the learning rate and the number of steps")
  return found


__all__ = ["BLOCK", "RATE", "Setting", "settings_of"]
