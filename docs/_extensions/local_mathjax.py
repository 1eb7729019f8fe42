"""MathJax from an installed package, copied into the site: formulas are set without a network.

`django-static-mathjax` is MathJax 3 as files, without Django and without any code of its own.
"""

import shutil
from importlib import metadata
from pathlib import Path

CARRIER = "django-static-mathjax"
WANTED = ("tex-chtml.js", "output/chtml/fonts/", "input/tex/extensions/", "ui/", "a11y/", "sre/")
CONFIGURATION = {
    # MyST marks its own text as not to be searched for dollars; formulas are in `math`, and those
    # of our tables, in the outputs of notebooks, in `output`.
    "options": {
        "ignoreHtmlClass": "tex2jax_ignore|mathjax_ignore|document",
        "processHtmlClass": "tex2jax_process|mathjax_process|math|output",
    },
    "tex": {"inlineMath": [["$", "$"], ["\\(", "\\)"]], "processEscapes": True},
}


def files():
    """Yield what is copied: (file, where to, relative to the folder of MathJax)."""
    for file in metadata.files(CARRIER) or ():
        _, found, name = file.as_posix().partition("/es5/")
        if found and name.startswith(WANTED):
            yield Path(file.locate()), name
        elif file.name == "LICENSE":
            yield Path(file.locate()), "LICENSE"


def copy(app, exception):
    """Copy MathJax beside the pages once they are written."""
    if exception is None and app.builder.format == "html":
        for source, name in files():
            target = Path(app.outdir, "_static", "mathjax", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def configure(app, config):
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.mathjax3_config = CONFIGURATION
    config.mathjax4_config = None


def setup(app):
    app.connect("config-inited", configure)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
