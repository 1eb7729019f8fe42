"""The version of layerkit, which files name too; setup.cfg takes it from here."""

__version__ = "0.2.0"
SITE = "https://layerkit.github.io/layerkit"
"""Where the documentation is; setup.cfg and CITATION.cff name it too."""
