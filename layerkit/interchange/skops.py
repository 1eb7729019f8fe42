"""The types that skops needs to trust for a model of ours."""

from __future__ import annotations

from layerkit.interchange.model_files.registry import of_estimators, ours
from layerkit.training import History

_NAMED = {*ours().values(), *of_estimators().values(), History}

#: Full names of all types that networks and fitted estimators of layerkit consist of, for
#: ``skops.io.load(file, trusted=TRUSTED_TYPES)``. Building one from a file runs none of the
#: file's code. Classes of your own come on top: ``[*TRUSTED_TYPES, "mymodule.MyLayer"]``.
TRUSTED_TYPES: list[str] = sorted(
    [
        *(f"{named.__module__}.{named.__qualname__}" for named in _NAMED),
        "layerkit.tree.Declaration",
        "numpy.dtype",
    ]
)
