"""The version of layerkit, which files name too; setup.cfg takes it from here."""

__version__ = "0.1.0"
