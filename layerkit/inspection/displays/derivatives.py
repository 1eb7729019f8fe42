"""A derivative beside its function, and the errors of numerical derivatives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.displays.display import BLUE, GREEN, GREY, VERMILION, Display
from layerkit.inspection.numerical_differentiation import AUTO_STEP, numerical_gradient
from layerkit.inspection.paths import check_network
from layerkit.layer import Layer


class DerivativeDisplay(Display):
    """A function beside its derivative, with the numerical derivative on top of it.

    Parameters
    ----------
    x, y, derivative : array of shape (n_points,)
        f and f' on a grid.
    x_numerical, numerical : array of shape (n_checked,)
        Where f' was evaluated numerically, and the results.
    max_error : float
        Largest difference between the two.
    name : str, default="f"
        Name of the function.
    at : float, default=1.0
        Point at which the tangent is drawn; the right panel marks its slope.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Examples
    --------
    >>> from layerkit import Sigmoid
    >>> display = DerivativeDisplay.from_layer(Sigmoid())
    >>> bool(display.max_error < 1e-9), display.name
    (True, 'Sigmoid()')
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        derivative: ArrayLike,
        x_numerical: ArrayLike,
        numerical: ArrayLike,
        max_error: float,
        name: str = "f",
        at: float = 1.0,
    ) -> None:
        self.x, self.y, self.derivative = map(np.asarray, (x, y, derivative))
        self.x_numerical, self.numerical = np.asarray(x_numerical), np.asarray(numerical)
        self.max_error = max_error
        self.name = name
        self.at = at

    @classmethod
    def from_layer(cls, layer: Layer, low: float = -5.0, high: float = 5.0) -> DerivativeDisplay:
        """Evaluate an activation's ``forward`` and ``backward`` from ``low`` to ``high``.

        The numerical derivative is the central difference of ``forward``. The layer stays as it is;
        one with parameters is built if it is not.

        Parameters
        ----------
        layer : Layer
            Elementwise, as most activations are.
        low : float, default=-5.0
            Left end.
        high : float, default=5.0
            Right end.

        Returns
        -------
        display : DerivativeDisplay
            To be drawn by `plot`.

        Raises
        ------
        ValueError
            If an output of the layer depends on more than one input, or low is not below high.
        """
        check_network(layer, "layer")
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        f = _Elementwise(layer)
        x = np.linspace(low, high, 501)
        y, derivative = f(x), f.derivative(x)
        # An even number of points misses 0 and the other round numbers, where kinks are.
        x_numerical = np.linspace(low, high, 26)[1:-1]
        numerical = np.array([numerical_gradient(f, point) for point in x_numerical])
        error = float(np.abs(numerical - f.derivative(x_numerical)).max())
        return cls(x, y, derivative, x_numerical, numerical, error, layer.label)

    figsize = 9.0, 3.8

    def panels(self) -> dict[str, Any]:
        return {"ncols": 2, "sharex": True}

    def draw(self, axes: np.ndarray) -> None:
        left, right = axes[0]
        value, slope = (np.interp(self.at, self.x, v) for v in (self.y, self.derivative))
        reach = (self.x[-1] - self.x[0]) / 6
        ends = np.array([self.at - reach, self.at + reach])
        left.plot(self.x, self.y, color=BLUE)
        left.plot(ends, value + slope * (ends - self.at), color=GREEN, linestyle="--", zorder=3)
        left.plot(self.at, value, "o", color=GREEN, label=f"slope {slope:.3g} at x = {self.at:g}")
        left.set(title=f"{self.name}: f(x)", xlabel="x")
        left.legend()

        off = f"off by ≤ {self.max_error:.0e}" if self.max_error else "the same"
        right.plot(self.x, self.derivative, color=BLUE, label="backward")
        label = f"numerical, {off}"
        right.plot(
            self.x_numerical, self.numerical, "o", color=VERMILION, fillstyle="none", label=label
        )
        right.plot(self.at, slope, "o", color=GREEN)
        right.set(title="derivative f'(x)", xlabel="x")
        right.legend()
        low, high = right.get_ylim()
        right.set_ylim(low, high + 0.35 * (high - low))  # room for the legend above the curve


class _Elementwise:
    """A layer as a function of one number, on a copy in float64."""

    def __init__(self, layer: Layer) -> None:
        self.layer = copy.deepcopy(layer)
        if self.layer.is_built:
            self.layer._bind(np.dtype(np.float64))
        else:
            self.layer.build(2, random_state=0, dtype=np.float64)
        shape = self.layer.input_shape
        probe = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float64).reshape(1, *shape)
        changed = probe.copy()
        changed.reshape(-1)[1:] += 1
        outputs = [self.layer.infer(x).reshape(-1) for x in (probe, changed)]
        if self.layer.output_shape != shape or outputs[0][0] != outputs[1][0]:
            raise ValueError(
                f"{layer.label} is no function of one number: an output depends on several inputs"
            )

    def __call__(self, x: ArrayLike) -> np.ndarray:
        x = np.asarray(x)
        y = self.layer.forward(self._batch(x))
        return y.reshape(x.size, -1)[:, 0].reshape(x.shape)

    def derivative(self, x: np.ndarray) -> np.ndarray:
        self(x)
        grad = self.layer.backward(np.ones_like(self._batch(x)))
        return grad.reshape(len(x), -1)[:, 0]

    def _batch(self, x: np.ndarray) -> np.ndarray:
        shape = self.layer.input_shape
        return np.broadcast_to(x.reshape(-1, *[1] * len(shape)), (x.size, *shape))


class DerivativeErrorDisplay(Display):
    """Error of numerical derivatives against their step: truncation on the right, rounding left.

    Parameters
    ----------
    steps : array of shape (n_steps,)
        Positive.
    errors : mapping of str to array of shape (n_steps,)
        Relative error of each method.
    auto_steps : mapping of str to float
        The step that ``step="auto"`` takes, which is marked.
    name : str, default="f"
        Name of the function.

    See Also
    --------
    Display : What ``plot`` takes and sets.
    numerical_gradient : The methods, and why their errors are what they are.

    Examples
    --------
    >>> import numpy as np
    >>> display = DerivativeErrorDisplay.from_function(np.exp, 1.0, np.exp(1.0))
    >>> {method: bool(e.min() < 1e-7) for method, e in display.errors.items()}
    {'forward': True, 'central': True, 'complex': True}
    """

    def __init__(
        self,
        steps: ArrayLike,
        errors: Mapping[str, ArrayLike],
        auto_steps: Mapping[str, float],
        name: str = "f",
    ) -> None:
        self.steps = np.asarray(steps)
        self.errors = {method: np.asarray(error) for method, error in errors.items()}
        self.auto_steps = dict(auto_steps)
        self.name = name

    @classmethod
    def from_function(
        cls,
        f: Callable[[Any], Any],
        x: float,
        derivative: float,
        methods: Sequence[str] = ("forward", "central", "complex"),
        steps: ArrayLike | None = None,
    ) -> DerivativeErrorDisplay:
        """Differentiate ``f`` at ``x`` with every step, and compare with the exact ``derivative``.

        Parameters
        ----------
        f : callable
            A function of one number.
        x : float
            Where.
        derivative : float
            The exact one, not 0.
        methods : sequence of str, default=("forward", "central", "complex")
            Those of `numerical_gradient`; leave "complex" out if ``f`` cannot take such numbers.
        steps : array, optional
            By default 1e-20 to 1.

        Returns
        -------
        display : DerivativeErrorDisplay
            To be drawn by `plot`.
        """
        if not derivative:
            raise ValueError("derivative is zero, so there is no relative error; choose another x")
        steps = np.logspace(-20, 0, 161) if steps is None else np.asarray(steps)
        errors = {
            method: np.array([_error(f, x, method, h, derivative) for h in steps])
            for method in methods
        }
        auto = {method: AUTO_STEP[method] * max(1.0, abs(x)) for method in methods}
        return cls(steps, errors, auto, f"{getattr(f, '__name__', 'f')} at x = {x:g}")

    figsize = 6.8, 4.4

    def draw(self, axes: np.ndarray) -> None:
        ax = axes[0, 0]
        floor = float(np.finfo(np.float64).eps) / 2  # an error of exactly 0 has no logarithm
        for (method, error), color in zip(
            self.errors.items(), (BLUE, VERMILION, GREEN), strict=False
        ):
            shown = np.maximum(error, floor)
            ax.plot(self.steps, shown, color=color, label=method)
            step = self.auto_steps[method]
            nearest = shown[np.abs(np.log(self.steps / step)).argmin()]
            ax.plot(step, nearest, "o", color=color, markersize=10, clip_on=False, zorder=4)
        ax.plot([], [], "o", color=GREY, markersize=10, label='step="auto"')
        ax.set(
            xscale="log", yscale="log", ylim=(floor / 2, 30), xlabel="step h",
            ylabel="relative error", title=f"numerical derivative of {self.name}",
        )  # fmt: skip
        ax.annotate("← rounding", (0.03, 0.93), xycoords="axes fraction", color=GREY)
        ax.annotate("truncation →", (0.97, 0.93), xycoords="axes fraction", color=GREY, ha="right")
        ax.legend(loc="center left", bbox_to_anchor=(0.02, 0.4))


def _error(f: Callable, x: float, method: str, h: float, derivative: float) -> float:
    try:
        slope = float(numerical_gradient(f, x, method=method, step=float(h)))
    except ValueError as error:
        if "lost in rounding" not in str(error):
            raise
        slope = 0.0  # what the quotient gives if x + h is x
    return abs(slope - derivative) / abs(derivative)
