"""Derivatives of all outputs of a layer, from its backward: one call for each number."""

import numpy as np

from layerkit.layer import Layer


def jacobians(
    layer: Layer, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Differentiate y, which the last forward made of x, by the input and by each parameter.

    Returns
    -------
    by_input : array of shape (*y.shape, *x.shape) or None
        None, and nothing by the parameters, if backward returns no gradient of the input.
    by_param : dict of str to array of shape (*y.shape, *parameter.shape)
    """
    params = layer.params if layer.is_built else {}
    by_input, by_param = [], {name: [] for name in params}  # type: ignore[var-annotated]
    for unit in np.eye(y.size, dtype=y.dtype):
        grad_input = layer.backward(unit.reshape(y.shape))
        if grad_input is None:
            return None, {}
        by_input.append(np.array(grad_input))
        for name, rows in by_param.items():
            rows.append(layer.grads[name].copy())
    stacks = {k: np.reshape(rows, (*y.shape, *params[k].shape)) for k, rows in by_param.items()}
    return np.reshape(by_input, (*y.shape, *x.shape)), stacks


def jacobian_by_sample(layer: Layer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and dy[n, j]/dx[n, i] of a layer that does not mix samples."""
    y = layer.forward(x)
    rows = [layer.backward(np.broadcast_to(unit, y.shape)) for unit in np.eye(y.shape[1])]
    return y, np.stack(rows, axis=1)
