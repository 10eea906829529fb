"""Sphinx's configuration for the site. `make site` writes the source that it is for; see book/ and build.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import dsnotes

project = "dsnotes"
author = "The dsnotes authors"
copyright = "the dsnotes authors, MIT licence"  # noqa: A001
version = release = dsnotes.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "book.mathml", "book.reachable"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["clean/**"]

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "attrs_block"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # already executed, see book/executed.py
nb_ipywidgets_js = {}  # would be fetched from another host
nb_merge_streams = True
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # else torch.nn.Module's docstring appears at every forward
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
toc_object_entries = False

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "dsnotes"
html_static_path = [str(Path(__file__).resolve().parent / "static")]
html_css_files = ["site.css"]
html_favicon = str(Path(__file__).resolve().parent / "static" / "mark.svg")
html_copy_source = False
html_domain_indices = False  # the general index has every name already
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
FONTS = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"
)
html_theme_options = {
    "light_css_variables": {
        "font-stack": FONTS,
        "color-brand-primary": "#00568a",
        "color-brand-content": "#00568a",
        "color-brand-visited": "#6b3a87",
        "color-foreground-muted": "#55595e",
        "color-foreground-secondary": "#4d5156",
    },
    "dark_css_variables": {
        "font-stack": FONTS,
        "color-brand-primary": "#7cc4f2",
        "color-brand-content": "#7cc4f2",
        "color-brand-visited": "#d3a9ea",
        "color-foreground-muted": "#a5abb3",
        "color-foreground-secondary": "#b4bac2",
    },
}
