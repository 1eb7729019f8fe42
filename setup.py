"""The metadata is in setup.cfg. Here only: data/ travels inside the wheel, as layerkit/data."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install reads data/ where it lies
            self.copy_tree("data", str(Path(self.build_lib, "layerkit", "data")))


setup(cmdclass={"build_py": BuildWithData})
