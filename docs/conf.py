"""The site: `make docs` builds it into docs/_build."""

from __future__ import annotations

import miaudit

project, author, release = "miaudit", "the miaudit authors", miaudit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme, html_title = "furo", "miaudit"
myst_heading_anchors = 4
autosummary_generate = False
numpydoc_show_class_members = False
autodoc_typehints = "none"
nitpicky = False
suppress_warnings = ["myst.xref_missing", "toc.not_included"]  # links to files of the repository beside docs/
