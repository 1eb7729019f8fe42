"""The Python in the README and in the contributing guide runs as printed."""

import re
from pathlib import Path
from textwrap import dedent

from layerkit.inspection import check_gradients

ROOT = Path(__file__).parent.parent


def run_examples(name, namespace):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(dedent(block), name, "exec"), namespace)


def test_documented_examples_run():
    namespace = {"__name__": __name__}
    run_examples("README.md", namespace)
    assert namespace["accuracy"] > 0.9
    swish = namespace.pop("Swish")
    assert check_gradients(swish(), (5,))
    run_examples("CONTRIBUTING.md", namespace)  # the same layer; it takes its imports from there
    assert namespace["Swish"] is not swish
    assert check_gradients(namespace["Swish"](), (5,))
