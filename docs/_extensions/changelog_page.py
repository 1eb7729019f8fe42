"""The changelog as a page: each part of a release opens on a click, so the page stays short."""

import re
from pathlib import Path

PART = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)


def folded(match):
    name, text = match.groups()
    changes = len(re.findall("^- ", text, re.MULTILINE))
    return f"::::{{dropdown}} {name} ({changes})\n{text}::::\n\n"


def read(app, docname, source):
    if docname == "changelog":
        changelog = Path(app.srcdir).parent / "CHANGELOG.md"
        app.env.note_dependency(changelog)
        source[0] = PART.sub(folded, changelog.read_text(encoding="utf-8"))


def setup(app):
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
