"""Every default that a caller may leave to us, as it was: ``data/signatures.txt`` has them all.

``python tests/test_signatures.py`` renews the file where a change is meant; its difference shows
it. They are read from the source, so that no extra need be installed.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE = Path(__file__).parent / "data" / "signatures.txt"


def in_words(arguments):
    """The parameters of a function and their defaults, without types."""
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(arguments)


def may_be_left_out(function):
    """Whether a function that is not private has a default."""
    private = function.name.startswith("_") and not function.name.endswith("__")
    return not private and any([*function.args.defaults, *function.args.kw_defaults])


def defaults(body, prefix=""):
    """A line for each field and each function with a default, of a module or a class."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from defaults(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AnnAssign) and node.value and prefix:
            yield f"{prefix}{ast.unparse(node.target)} = {ast.unparse(node.value)}"
        elif isinstance(node, ast.FunctionDef) and may_be_left_out(node):
            yield f"{prefix}{node.name}({in_words(node.args)})"


def signatures():
    for path in sorted((ROOT / "layerkit").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        lines = list(defaults(ast.parse(path.read_text(encoding="utf-8")).body))
        if lines:
            yield from (f"==== {name.removesuffix('.__init__')}", *lines)


def test_every_default_is_as_it_was():
    assert list(signatures()) == FILE.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    FILE.write_text("\n".join([*signatures(), ""]), encoding="utf-8")
