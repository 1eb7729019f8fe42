"""Building a network some of whose layers have learned already."""

from __future__ import annotations

from typing import Any

from layerkit.layer import Layer


def build_around_frozen(network: Layer, input_shape: Any, seed: Any, dtype: Any) -> None:
    """Build; layers that came built and frozen keep their parameters."""
    frozen = [
        (layer, dict(layer.params), dict(layer.buffers))
        for _, layer in network.walk()
        if layer.is_built and not layer.trainable
    ]
    network.build(input_shape, seed, dtype=dtype, rebuild=True)
    for layer, params, buffers in frozen:
        for now, kept in ((layer.params, params), (layer.buffers, buffers)):
            for name, value in kept.items():
                if now[name].shape != value.shape:
                    raise ValueError(
                        f"in {layer.where}: the frozen {name} has shape {value.shape}, but these "
                        f"data need {now[name].shape}"
                    )
                now[name][...] = value
