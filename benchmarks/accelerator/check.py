"""Whether the device computes what the CPU does: losses, gradients, a training step, augmentation.

Both get the same arrays, at the highest precision of products that the device has. Errors are distances of whole arrays, relative to
their length. What error is tolerated is measured, not chosen: the CPU computes once more from inputs that are changed at random by one
unit of rounding, and `FACTOR` times the change of the result is allowed. Every operation rounds its result by at most one such unit,
and the sums on a device have another order; that happens in each of some dozens of layers, not once as in the changed inputs, hence the
factor. (Two implementations on one CPU, oneDNN and XLA, differ in a training step of smallresnet by 0.7 times that change in float32, and their
distances from float32 in bfloat16 are 0.022 and 0.029.) In bfloat16 the device may be at most `TIMES` as far from the CPU's result in float32 as the CPU's own result in bfloat16 is. A check
whose tolerance exceeds `LARGEST` says nothing and fails: the distance of unrelated results is one or more.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.accelerator.sides import our_jax
from benchmarks.nets import Net, images, labels

TABLE = "Correctness, device against CPU"
FACTOR, TIMES, LARGEST = 32.0, 2.0, 0.5
# Relative unit of rounding of float32.
UNIT = 2.0**-24
# Grey levels of 0..255: an interpolated pixel differs by at most 255 levels per pixel of distance, times the error of a coordinate: up to
# 112 pixels, some eight roundings of 2⁻²⁴. Random bits are the same on all devices; logarithms and roots of the noise differ by less.
GREY_LEVELS = 255 * 112 * 8 * UNIT


class Result(NamedTuple):
  """A check.

  Attributes:
    name: what was computed.
    error: of the device against the CPU.
    tolerance: greatest error.
    unit: of both: "relative", or "grey levels".
  """

  name: str
  error: float
  tolerance: float
  unit: str = "relative"

  @property
  def passed(self) -> bool:
    """Whether the error is within a tolerance that says something; false for NaN."""
    return self.error <= self.tolerance and (self.unit != "relative" or self.tolerance <= LARGEST)


def distance(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
  """Greatest relative distance of two lists of arrays; NaN where a number is not finite, or infinity where shapes differ."""
  worst = 0.0
  for one, other in zip(found, expected, strict=True):
    if one.shape != other.shape:
      return float("inf")
    length = np.linalg.norm(other.astype(np.float64))
    worst = np.maximum(worst, np.linalg.norm(one.astype(np.float64) - other) / max(length, 1e-30))
  return float(worst)


def nudged(arrays: Any, unit: float, seed: int = 0) -> Any:
  """Floating-point arrays of a tree, changed at random by one unit of rounding up or down; other leaves as they are."""
  import jax

  random = np.random.default_rng(seed)

  def change(leaf: np.ndarray) -> np.ndarray:
    if not np.issubdtype(leaf.dtype, np.floating):
      return leaf
    return (leaf * (1.0 + unit * random.choice([-1.0, 1.0], leaf.shape))).astype(leaf.dtype)

  return jax.tree.map(change, arrays)


def compare(name: str, run: Callable[[Any, Any], list[np.ndarray]], arrays: Any, devices: tuple[Any, Any]) -> Result:
  """A check in float32.

  Args:
    name: of the check.
    run: computes on a device from arrays, and returns arrays.
    arrays: a tree of NumPy arrays.
    devices: the device and the CPU.
  """
  device, cpu = devices
  expected = run(cpu, arrays)
  # Twice the unit: an array of float32 is not changed by less.
  tolerance = FACTOR * max(distance(run(cpu, nudged(arrays, 2 * UNIT)), expected), UNIT)
  return Result(name, distance(run(device, arrays), expected), tolerance)


def compare_coarse(
  name: str, run: Callable[[Any, Any], list[np.ndarray]], precise: Callable[[Any, Any], list[np.ndarray]], arrays: Any,
  devices: tuple[Any, Any],
) -> Result:
  """A check of a computation with coarser rounding, against a precise one.

  Args:
    name: of the check.
    run: as for `compare`.
    precise: the same in float32.
    arrays: a tree of NumPy arrays.
    devices: the device and the CPU.
  """
  device, cpu = devices
  expected = precise(cpu, arrays)
  return Result(name, distance(run(device, arrays), expected), TIMES * distance(run(cpu, arrays), expected))


def on_device(function: Callable, device: Any, arrays: Any) -> list[np.ndarray]:
  """A function of arrays, compiled for a device, with products in the highest precision."""
  import jax

  with jax.default_matmul_precision("highest"):
    result = jax.jit(function)(*jax.device_put(arrays, device))
  return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(result)]


def losses() -> dict[str, tuple[Callable, Any]]:
  """Loss and gradients by name, with arrays to compute them from."""
  import jax

  from jaxface.heads import margin_softmax
  from jaxface.losses import ArcFace, CosFace, center_loss, contrastive, l2, triplet_loss

  random = np.random.default_rng(0)
  label_b = np.arange(48, dtype=np.int32) // 6
  center_cd = random.standard_normal((40, 32)).astype(np.float32)
  embedding_bd = (center_cd[label_b] + random.standard_normal((48, 32))).astype(np.float32)

  def margin(own: Any) -> Callable:
    return jax.value_and_grad(lambda x, c, y: margin_softmax(x, y, c, margin=own).mean(), (0, 1))

  centers, pair = (embedding_bd, center_cd, label_b), (embedding_bd, label_b)
  return {
    "ArcFace": (margin(ArcFace()), centers),
    "CosFace": (margin(CosFace()), centers),
    "semi-hard triplets": (jax.value_and_grad(lambda x, y: triplet_loss(x, y).mean()), pair),
    "contrastive": (jax.value_and_grad(lambda x, y: contrastive(l2(x), y[:, None] == y).mean()), pair),
    "center loss": (jax.value_and_grad(lambda x, c, y: center_loss(x, y, c).mean()), centers),
  }


def step_of(net: Net, classes: int, dtype: str, batch: int) -> tuple[Callable[[Any, Any], list[np.ndarray]], Any]:
  """One training step: the loss, and the change of all parameters and statistics as one array.

  Returns:
    A function for `compare`, and its arrays: the first state.
  """
  import jax

  from benchmarks.net_step import rows_of, train_step
  from jaxface.training.mesh import batch_sharding
  from jaxface.training.step import compile_step

  rows = rows_of(images(net.side, batch), labels(classes, batch))
  made: dict[Any, Any] = {}

  def on(device: Any) -> tuple[Any, Any, Any]:
    if device not in made:
      step = train_step(net, classes, dtype, batch, [device], learning_rate=0.1)
      state = jax.eval_shape(step.init, jax.random.key(0))
      shardings, layout = step.shardings(state), batch_sharding(step.mesh)
      with jax.default_matmul_precision("highest"):
        made[device] = compile_step(step, shardings, layout).lower(state, jax.device_put(rows, layout)).compile(), shardings, layout
    return made[device]

  def run(device: Any, state: Any) -> list[np.ndarray]:
    compiled, shardings, layout = on(device)
    new, metrics = compiled(jax.device_put(state, shardings), jax.device_put(rows, layout))
    changes = [
      np.ravel(np.asarray(after, np.float32) - before)
      for tree in ("params", "batch_stats") for before, after in zip(*(jax.tree.leaves(getattr(one, tree)) for one in (state, new)))
    ]
    return [np.asarray(metrics["loss"], np.float32), np.concatenate(changes)]

  cpu = jax.devices("cpu")[0]
  step = train_step(net, classes, dtype, batch, [cpu])
  with jax.default_device(cpu):
    state = jax.tree.map(np.asarray, jax.jit(step.init)(jax.random.key(0, impl="rbg")))
  return run, state


def augmentation(devices: tuple[Any, Any], side: int, batch: int) -> Result:
  """Every operation of the augmentation on the same images: greatest difference of a pixel."""
  from jaxface.data.augmentation import AugmentConfig, augment

  config = AugmentConfig(
    crop=0.5, rotate=0.5, low_resolution=0.3, blur=0.3, saturation=0.2, hue=0.1, grey=0.2, invert=0.2, noise=0.3, cut_out=0.3,
  )
  arrays = (images(side, batch), np.arange(batch, dtype=np.uint32))

  def all_operations(image: Any, position: Any) -> Any:
    return augment(image, 7, position, config)

  found, expected = (on_device(all_operations, device, arrays)[0] for device in devices)
  return Result("augmentation, all operations", float(np.abs(found - expected).max()), GREY_LEVELS, "grey levels")


def check_side(net: Net, classes: int, side: int, batch: int) -> tuple[Callable[[], None], dict[str, Any]]:
  """All checks; the results are facts.

  Args:
    net: the network of the training step.
    classes: its identities.
    side, batch: of the images.
  """
  jax = our_jax()
  devices = jax.devices()[0], jax.devices("cpu")[0]
  results = [
    compare(f"{name}, value and gradients", lambda device, arrays, f=function: on_device(f, device, arrays), arrays, devices)
    for name, (function, arrays) in losses().items()
  ]
  net = net._replace(side=side)
  precise, state = step_of(net, classes, "float32", batch)
  coarse, _ = step_of(net, classes, "bfloat16", batch)
  what = f"a training step of {net.model} in {{}}: loss, changes"
  results.append(compare(what.format("float32"), precise, state, devices))
  results.append(compare_coarse(what.format("bfloat16"), coarse, precise, state, devices))
  results.append(augmentation(devices, side, batch))
  return (lambda: None), {"steps": 1, "results": [tuple(result) for result in results]}


def row(result: Result) -> dict[str, Any]:
  """A row of `TABLE`."""
  return {
    "computed": result.name, "error": f"{result.error:.2g}", "tolerance": f"{result.tolerance:.2g}", "unit": result.unit,
    "passed": "yes" if result.passed else "NO",
  }


__all__ = ["FACTOR", "GREY_LEVELS", "LARGEST", "TABLE", "TIMES", "Result", "augmentation", "check_side", "compare", "compare_coarse", "distance", "losses", "nudged", "row", "step_of"]
