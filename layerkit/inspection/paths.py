"""What lies at a path: the readable name of a layer, and its part of the flat vectors."""

from typing import Any

from layerkit.layer import Layer
from layerkit.parameters import if_class


def check_network(network: Any, name: str = "network") -> None:
    """Raise a TypeError unless it is a layer; an estimator's is its ``network_``."""
    if not isinstance(network, Layer):
        within = ": give its network_" if hasattr(network, "network_") else ""
        hint = within or if_class(network)
        raise TypeError(f"{name} must be a layer or network, got {network!r}{hint}")


def layer_names(network: Layer) -> dict[str, str]:
    """Return each layer's readable name by its path, in forward order.

    Examples
    --------
    >>> from layerkit import Dense, Residual, Sequential, Tanh
    >>> net = Sequential([Dense(4), Residual(Sequential([Dense(4), Tanh()]))]).build(4)
    >>> list(layer_names(net).values())  # doctest: +NORMALIZE_WHITESPACE
    ['sequential', 'dense_1', 'residual_1', 'residual_1.body', 'residual_1.body.dense_1',
     'residual_1.body.tanh_1']
    """
    names = {"": type(network).__name__.lower()}
    _add(names, network, "", "")
    return names


def _add(names: dict[str, str], layer: Layer, path: str, name: str) -> None:
    for segment, child in layer.children():
        child_path = f"{path}.{segment}" if path else segment
        own = child.name or segment
        names[child_path] = f"{name}.{own}" if name else own
        _add(names, child, child_path, names[child_path])


def parameter_spans(network: Layer) -> dict[str, slice]:
    """Return each layer's own part of the flat vectors by its path; none without parameters.

    Examples
    --------
    >>> from layerkit import Dense, Sequential, Tanh
    >>> parameter_spans(Sequential([Dense(4), Tanh(), Dense(1)]).build(2))
    {'layers.0': slice(0, 12, None), 'layers.2': slice(12, 17, None)}
    """
    spans: dict[str, slice] = {}
    for slot in network.layout:
        path = slot.path.rpartition(".")[0]
        start = spans[path].start if path in spans else slot.slice.start
        spans[path] = slice(start, slot.slice.stop)
    return spans
