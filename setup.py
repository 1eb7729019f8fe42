"""The metadata is in setup.cfg. Here only: data/ travels inside the wheel, as layerkit/data."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["layerkit*"]), "layerkit.data"],
    package_dir={"layerkit.data": "data"},
)
