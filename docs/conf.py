"""Settings of the documentation site, built by `make docs`; see https://www.sphinx-doc.org."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "ext")]

import jaxface  # noqa: E402

project = "jaxface"
author = "The jaxface authors"
copyright = "the jaxface authors, Apache-2.0"
release = version = jaxface.__version__

extensions = [
  "sphinx.ext.autodoc",
  "markdown_docstrings",  # before napoleon, which processes its result
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
  "myst_nb",
]
exclude_patterns = ["_build", "ext", "extra"]

# Pages.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

# Notebooks are executed again only if their text changes. The results are cached in build/docs/.jupyter_cache.
nb_execution_mode = os.environ.get("JAXFACE_NOTEBOOKS", "cache")
nb_execution_cache_path = str(DOCS.parent / "build" / "docs" / ".jupyter_cache")
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_show_tb = True

# API pages: the names in each package's __all__.
autodoc_default_options = {"members": True, "member-order": "alphabetical"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 100

html_extra_path = ["extra"]  # the report of LFW
html_theme = "sphinx_book_theme"
html_title = "jaxface"
html_theme_options = {
  "show_toc_level": 2,
  "navigation_with_keys": False,
  "use_download_button": False,
  "navbar_persistent": [],
}

# External links are checked by `make docs-links`, which needs the network.
linkcheck_timeout = 20
linkcheck_retries = 2


def to_site(app, name, source):
  """Replaces links to files at the root of the checkout by their pages on the site."""
  for file, page in (("../BUILD.md", "building.md"), ("../CHANGELOG.md", "changelog.md"), ("../CONTRIBUTING.md", "contributing.md")):
    source[0] = source[0].replace(f"]({file}", f"]({'../' * name.count('/')}{page}")


def setup(app):
  app.connect("source-read", to_site)
