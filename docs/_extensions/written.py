"""Generated files: written only where they change, so that a second build reads little."""

from pathlib import Path


def write(folder: Path, files: dict[str, str]) -> None:
    """Make ``folder`` hold these files and no others."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
