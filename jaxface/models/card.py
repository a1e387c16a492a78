"""The model card: network, input, embedding and provenance of a model folder, as text."""

from typing import Any

from jaxface.formats import provenance
from jaxface.formats.provenance import Ancestor, Lineage
from jaxface.models.preprocess import Preprocess

_FITS = {
  "crop": "they are cropped to the middle; smaller images are rejected",
  "resize": "they are cropped to the aspect ratio and resized",
}


def lineage_of(meta: dict[str, Any]) -> Lineage:
  """Sources that a model was made from; one unknown source for a model that does not record them.

  Args:
    meta: `meta` of a `SavedModel`.
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
    name: name of the network.
    options: its options.
    preprocess: its input convention.
    embedding_size: length of an embedding.
    parameters: number of its parameters.
    meta: `meta` of the `SavedModel`.
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
    f"| size | {height}x{width} pixels; images of another size: {_FITS[preprocess.fit]} |",
    f"| preprocessing | {preprocess} |",
  ]
  lines += [
    f"| {key} | {value:,} |" for key, value in meta.items() if isinstance(value, int) and not isinstance(value, bool)
  ]
  lines += ["", "Made from:", "", *(f"- {ancestor}" for ancestor in lineage)]
  if any(provenance.UNKNOWN in (ancestor.licence, ancestor.origin) for ancestor in lineage):
    lines += [
      "", "Entries are unknown if they were not given when the images were packed or the weights imported (`--licence`,"
      " `--origin`). Find them out before you distribute this model.",
    ]
  return "\n".join(lines) + "\n"


__all__ = ["lineage_of", "model_card"]
