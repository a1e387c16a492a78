"""What a model folder says about itself, as text: network, input, embedding, and where it comes from."""

from typing import Any

from jaxface.formats import provenance
from jaxface.formats.provenance import Ancestor, Lineage
from jaxface.models.preprocess import Preprocess

_FITS = {
  "crop": "their middle is taken; a smaller image is refused",
  "resize": "their middle of the right aspect is scaled",
}


def lineage_of(meta: dict[str, Any]) -> Lineage:
  """What a model was made from; one unknown ancestor for a model that does not say it.

  Args:
    meta: of a `SavedModel`.
  Raises:
    ValueError: the entry is damaged.
  """
  if "lineage" in meta:
    return provenance.from_json(meta["lineage"])
  found = meta.get("source")
  name = found.get("file", provenance.UNKNOWN) if isinstance(found, dict) else found or provenance.UNKNOWN
  return (Ancestor("weights", str(name)),)


def model_card(
  name: str, options: dict[str, Any], preprocess: Preprocess, *, embedding_size: int, parameters: int, meta: dict[str, Any]
) -> str:
  """The text of `card.md`, in Markdown.

  Args:
    name: of the network.
    options: of it.
    preprocess: its input convention.
    embedding_size: length of an embedding.
    parameters: how many numbers it has.
    meta: of the `SavedModel`.
  """
  lineage = lineage_of(meta)
  height, width = preprocess.size
  plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
  shown = ", ".join(f"{key} {value}" for key, value in plain.items()) or "its defaults"
  lines = [
    f"# {name}",
    "",
    "| | |",
    "|---|---|",
    f"| licence | {provenance.summary(lineage, 'licence')} |",
    f"| origin | {provenance.summary(lineage, 'origin')} |",
    f"| network | {name}; {shown} |",
    f"| parameters | {parameters:,} |",
    f"| embedding | {embedding_size} numbers, compared by their cosine |",
    f"| images | RGB in 0..255, aligned to template {preprocess.template!r} |",
    f"| size | {height}x{width} pixels; of images of another size {_FITS[preprocess.fit]} |",
    f"| preprocessing | {preprocess} |",
  ]
  lines += [
    f"| {key} | {value:,} |" for key, value in meta.items() if isinstance(value, int) and not isinstance(value, bool)
  ]
  lines += ["", "Made from:", "", *(f"- {ancestor}" for ancestor in lineage)]
  if any(provenance.UNKNOWN in (ancestor.licence, ancestor.origin) for ancestor in lineage):
    lines += [
      "", "What is unknown was not said when the images were packed or the weights imported (`--licence`, `--origin`): find it"
      " out before you pass this model on.",
    ]
  return "\n".join(lines) + "\n"


__all__ = ["lineage_of", "model_card"]
