"""The metadata is in setup.cfg. Here only what differs in a wheel: data/ and the README's links."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install reads data/ where it lies
            self.copy_tree("data", str(Path(self.build_lib, "layerkit", "data")))


def readme():
    """Return the README with links that lead to the repository, as PyPI has no files beside it."""
    source = re.search(r"Source = (.+)", Path("setup.cfg").read_text(encoding="utf-8"))[1]
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\1{source}/raw/main/", text)
    return re.sub(r"(\]\()(?!https?:)", rf"\1{source}/blob/main/", text)


setup(
    cmdclass={"build_py": BuildWithData},
    long_description=readme(),
    long_description_content_type="text/markdown",
)
