"""README.md of a pushed model: its card, with the metadata that Hugging Face reads."""

import json
from typing import Any

from jaxface.formats import provenance
from jaxface.models.card import lineage_of
from jaxface.models.description import card_text

# Identifiers of Hugging Face that are those of SPDX in lower case.
LICENCES = {
  "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "gpl-3.0",
  "lgpl-3.0", "mpl-2.0", "unlicense",
}
USE = """
## Use

```python
import jaxface

model = jaxface.load("FOLDER")                  # of `jaxface pull THIS_PLACE FOLDER`
embedding_nd = model.embed("ALIGNED_FACES")     # [N, D] of unit length
```
"""


def readme(description: dict[str, Any]) -> str:
  """The text of README.md.

  Args:
    description: a parsed `model.json`.
  """
  lines = ["---", "library_name: jaxface", "pipeline_tag: image-feature-extraction", "tags:", "- face-recognition", "- jax"]
  lines += _licence({ancestor.licence for ancestor in lineage_of(description["meta"])})
  return "\n".join([*lines, "---", "", card_text(description)]) + USE


def _licence(found: set[str]) -> list[str]:
  """The entries on the licence: one that Hugging Face knows, or "other" with its name; none if it is not known."""
  if found == {provenance.UNKNOWN} or not found:
    return []
  (first, *more) = sorted(found)
  if not more and first.lower() in LICENCES:
    return [f"license: {first.lower()}"]
  # A text of JSON is one of YAML.
  return ["license: other", f"license_name: {json.dumps(', '.join([first, *more]))}"]


__all__ = ["readme"]
