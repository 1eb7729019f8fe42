"""Names of layers in reports and pictures."""

from layerkit.layer import Layer


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
