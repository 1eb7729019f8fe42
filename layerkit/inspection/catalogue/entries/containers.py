"""Layers made of layers: the chain rule itself."""

from typing import Any

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.inspection.jacobians import jacobian_by_sample
from layerkit.layer import Layer

REASON = "the layers inside are code"


def inside(*layers_at: tuple[Layer, np.ndarray]) -> dict[str, Any]:
    """Name layers f1, f2, their Jacobians, each at its own input, J1, J2, and the first width m."""
    names: dict[str, Any] = {"m": layers_at[0][0].output_shape[0]}
    for k, (layer, x) in enumerate(layers_at, 1):
        names |= {f"f{k}": layer.infer, f"J{k}": jacobian_by_sample(layer, x)[1]}
    return names


def chain(layer: Any, x: np.ndarray) -> dict[str, Any]:
    """Name both layers of a Sequential, the second with its Jacobian at z."""
    first, second = layer
    return inside((first, x), (second, first.infer(x)))


def routes(layer: Any, x: np.ndarray) -> dict[str, Any]:
    """Name both routes of a Columns and the positions that they read."""
    where = [np.arange(x.shape[1])[columns] for columns, _ in layer.routes]
    names = inside(*((route, x[:, c]) for (_, route), c in zip(layer.routes, where, strict=True)))
    return names | {f"C{k}": columns for k, columns in enumerate(where, 1)}


ENTRIES = [
    LayerEntry(
        layers.Sequential,
        """
        z = f1(x)
        y = f2(z)
        dy[n, k]/dx[n, i] = sum[j](J2[n, k, j] * J1[n, j, i])
        dL/dz[n, j] = sum[k](G[n, k] * J2[n, k, j])
        dL/dx[n, i] = sum[j]((dL/dz[n, j]) * J1[n, j, i])
        """,
        make=lambda: layers.Sequential([layers.Dense(3), layers.Tanh()]),
        where={
            "f1, f2": "the layers",
            "J1, J2": "their Jacobians, each at its own input; never formed",
        },
        given=chain,
        assumes="Shown for two layers; any number is possible.",
        not_analytic=REASON,
        source='Rumelhart, Hinton and Williams, "Learning representations by back-propagating '
        'errors", Nature 323, 1986',
    ),
    LayerEntry(
        layers.Residual,
        """
        y = f1(x) + f2(x)
        dy[n, j]/dx[n, i] = J1[n, j, i] + J2[n, j, i]
        dL/dx[n, i] = sum[j](G[n, j] * J1[n, j, i]) + sum[j](G[n, j] * J2[n, j, i])
        """,
        in_one_line=("dy/dx = d body/dx + d shortcut/dx",),
        make=lambda: layers.Residual(
            layers.Sequential([layers.Dense(3), layers.Tanh()]), shortcut=layers.Dense(3)
        ),
        where={"f1, f2": "body and shortcut", "J1, J2": "their Jacobians; never formed"},
        given=lambda layer, x: inside((layer.body, x), (layer.shortcut, x)),
        assumes="Without a shortcut the second term is x, and its gradient G.",
        not_analytic=REASON,
    ),
    LayerEntry(
        layers.Gate,
        """
        y = f1(x) * f2(x)
        dy[n, j]/dx[n, i] = J1[n, j, i] * f2(x)[n, j] + f1(x)[n, j] * J2[n, j, i]
        dL/dx[n, i] = sum[j](G[n, j] * f2(x)[n, j] * J1[n, j, i]) +
            sum[j](G[n, j] * f1(x)[n, j] * J2[n, j, i])
        """,
        in_one_line=("dy/dx = d body/dx gate + body d gate/dx",),
        make=lambda: layers.Gate(
            layers.Sequential([layers.Dense(3), layers.Sigmoid()]), body=layers.Dense(3)
        ),
        where={"f1, f2": "body and gate", "J1, J2": "their Jacobians; never formed"},
        given=lambda layer, x: inside((layer.body, x), (layer.gate, x)),
        assumes="Without a body f1(x) is x. Where the gate is stretched, its second sum runs over "
        "all that one number of it scales.",
        not_analytic=REASON,
    ),
    LayerEntry(
        layers.Concat,
        """
        y[n, j] = f1(x)[n, j] if j < m else f2(x)[n, j - m]
        dy[n, j]/dx[n, i] = J1[n, j, i] if j < m else J2[n, j - m, i]
        dL/dx[n, i] = sum[j](G[n, j] * J1[n, j, i]) + sum[k](G[n, m + k] * J2[n, k, i])
        """,
        in_one_line=("dy/dx = the branches' own, one above the other",),
        make=lambda: layers.Concat([layers.Dense(2), layers.Tanh()]),
        where={
            "f1, f2": "the branches",
            "J1, J2": "their Jacobians; never formed",
            "m": "width of the first",
        },
        given=lambda layer, x: inside(*((branch, x) for branch in layer.branches)),
        assumes="Shown for two branches; any number is possible.",
        not_analytic=REASON,
    ),
    LayerEntry(
        layers.Columns,
        """
        a[n, i] = x[n, C1[i]]
        b[n, i] = x[n, C2[i]]
        y[n, j] = f1(a)[n, j] if j < m else f2(b)[n, j - m]
        dy[n, j]/dx[n, c] = sum[i](J1[n, j, i] * [C1[i] == c]) if j < m else
            sum[k](J2[n, j - m, k] * [C2[k] == c])
        dL/dx[n, c] = sum[j, i](G[n, j] * J1[n, j, i] * [C1[i] == c]) +
            sum[l, k](G[n, m + l] * J2[n, l, k] * [C2[k] == c])
        """,
        computes="Columns of a table routed to sub-networks of their own, and what these give "
        "joined.",
        make=lambda: layers.Columns([([0, 2], layers.Dense(2)), (slice(1, 4), layers.Tanh())]),
        input_shape=(5,),
        where={
            "C1, C2": "the columns that each reads",
            "f1, f2": "the sub-networks",
            "J1, J2": "their Jacobians; never formed",
            "m": "width of the first",
        },
        given=routes,
        assumes="Shown for two routes; any number is possible. Columns that no route reads get 0.",
        not_analytic=REASON,
    ),
]
