"""Where in the flat vectors the parameters of each layer lie."""

from layerkit.layer import Layer


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
