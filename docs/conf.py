"""How Sphinx builds the site: ``python -m sphinx -W -b html docs docs/_build/html``.

The folders `reference`, `gradients`, `notebooks` and `figures` are written by `_extensions` from
the package, its catalogue and the repository; they are not committed. Nothing is fetched from the
network, neither while building nor while reading: MathJax comes from an installed package.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("LAYERKIT_KERNELS", "numpy")  # the same pages on every machine
DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_extensions")]

import layerkit  # noqa: E402

project = "layerkit"
author = "layerkit developers"
copyright = "layerkit developers, BSD-3-Clause"
version = release = layerkit.__version__
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "changelog_page",
    "figure_files",
    "gradient_pages",
    "local_mathjax",
    "notebook_pages",
    "reference_pages",
]
exclude_patterns = ["_build", "GRADIENTS.md", "**/.ipynb_checkpoints"]
smartquotes = False  # "auto" in a sentence is what one types
default_role = "py:obj"  # a name between single backticks in a docstring
toc_object_entries = False
add_module_names = False

autodoc_typehints = "none"  # types stand in the docstring; signatures stay short
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

nb_execution_mode = "off"  # the stored outputs are shown; the tests execute the notebooks
nb_render_markdown_format = "myst"  # tables in outputs too
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_block"]
myst_heading_anchors = 3
myst_update_mathjax = False  # what it would set stands in `local_mathjax`
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "layerkit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "layerkit"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "collapse_navigation": True,
    "show_toc_level": 2,
    "show_prev_next": False,
    "search_bar_text": "Search the site",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_center": [],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "changelog": [], "**": ["sidebar-nav-bs"]}
