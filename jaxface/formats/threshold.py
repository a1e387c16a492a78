"""`threshold.json`: the threshold of a model, how it was measured, and for which embeddings it holds; with a checksum."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf, isfinite
from pathlib import Path
from typing import Any

from jaxface.formats.checked_json import parse_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData

THRESHOLD_FILE = "threshold.json"
FORMAT_VERSION = 1
COSINE = "cosine"
_RATES = ("target_far", "far", "tar")


@dataclass(frozen=True)
class Threshold:
  """Two images show the same person if the cosine of their embeddings, or the score of a verifier, is at least `value`.

  Attributes:
    value: cosine, or the other score.
    interval: its 95 % interval, over identities; where the data do not bound it -1 or 1, or infinite for another score.
    target_far: FAR that was asked for.
    far: share of non-mated pairs that it accepts in the data.
    far_interval: 95 % interval.
    tar: share of mated pairs that it accepts in the data.
    tar_interval: 95 % interval.
    nonmated: number of non-mated pairs.
    mated: number of mated pairs.
    data: what it was measured on: `pairs` ("all pairs", or the name of a list), `images`, `identities`, `sha256` over names and labels
      or pairs; plain JSON values.
    mirror: use of the mirror image in the embeddings: "sum", "concat" or "none"; "" if unknown.
    model_digest: of the model that made the embeddings, `SavedModel.digest`; "" if unknown.
    score: name of the score: "cosine", or that of a verifier.
  """

  value: float
  interval: tuple[float, float]
  target_far: float
  far: float
  far_interval: tuple[float, float]
  tar: float
  tar_interval: tuple[float, float]
  nonmated: int
  mated: int
  data: Mapping[str, Any] = field(default_factory=dict)
  mirror: str = ""
  model_digest: str = ""
  score: str = COSINE

  @property
  def l2_squared(self) -> float:
    """The same as a squared distance of normalised embeddings: the same person if ‖a − b‖² <= it.

    Raises:
      ValueError: it is of a verifier's scores, not a cosine.
    """
    if self.score != COSINE:
      raise ValueError(f"the threshold {self.value:.4f} is of the scores of {self.score}, not a cosine")
    return max(0.0, 2.0 - 2.0 * self.value)

  def to_json(self) -> dict[str, Any]:
    """Plain JSON values."""
    plain = asdict(self)
    if self.score == COSINE:
      del plain["score"]
    ends = {name: [end if isfinite(end) else None for end in plain[name]] for name in ("interval", "far_interval", "tar_interval")}
    return {"format_version": FORMAT_VERSION, **plain, **ends, "data": dict(self.data)}

  @classmethod
  def from_json(cls, plain: Mapping[str, Any], *, file: str | Path) -> "Threshold":
    """Reads and checks what `to_json` made.

    Args:
      plain: JSON values.
      file: name for messages.
    Raises:
      DamagedData: another version, an entry that is absent, of another kind or out of its range.
    """
    if plain.get("format_version") != FORMAT_VERSION:
      raise DamagedData(f"format_version {plain.get('format_version')!r}, this release reads {FORMAT_VERSION}", file=file)
    given: dict[str, Any] = {}
    cosine = plain.get("score", COSINE) == COSINE
    for one in fields(cls):
      value: Any = plain.get(one.name, COSINE if one.name == "score" else None)
      if one.name in ("value", "interval") and not cosine:
        if one.name == "interval" and isinstance(value, (list, tuple)) and len(value) == 2:
          value = tuple(unbounded if end is None else end for end, unbounded in zip(value, (-inf, inf)))
          right = all(map(_number, value)) and value[0] <= value[1]
        else:
          right = _number(value) and isfinite(value)
      elif one.name.endswith("interval"):
        right = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_number, value)) and -1 <= value[0] <= value[1] <= 1
        value = tuple(value) if right else value
      elif one.name in ("value", *_RATES):
        right = _number(value) and (-1 if one.name == "value" else 0) <= value <= 1 + 1e-9
      elif one.name in ("nonmated", "mated"):
        right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
      else:
        right = isinstance(value, dict if one.name == "data" else str)
      if not right:
        raise DamagedData(f"entry {one.name!r} is {value!r:.80}, which is no {one.name} of a threshold; set it again with `jaxface threshold`", file=file)
      given[one.name] = value
    return cls(**given)


def write_threshold_file(path: str | Path, threshold: Threshold) -> None:
  """Writes a threshold with a checksum, atomically."""
  write_checked_json(path, threshold.to_json())


def read_threshold_file(path: str | Path) -> Threshold:
  """Reads what `write_threshold_file` wrote.

  Raises:
    FileNotFoundError: no such file.
    DamagedData: its content is not what was written.
  """
  return Threshold.from_json(parse_checked_json(Path(path).read_bytes(), file=path), file=path)


def _number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


__all__ = ["COSINE", "THRESHOLD_FILE", "Threshold", "read_threshold_file", "write_threshold_file"]
