"""The notebooks, copied below the sources: Sphinx reads nothing outside of them."""

from pathlib import Path

from written import write


def generate(app):
    source = Path(app.srcdir).parent / "notebooks"
    pages = {path.name: path.read_text(encoding="utf-8") for path in source.glob("*.ipynb")}
    write(Path(app.srcdir) / "notebooks", pages)


def setup(app):
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
