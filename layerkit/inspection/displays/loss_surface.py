"""The loss around a network's weights, and the path that training took to them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.displays.display import VERMILION, Display, StepRecorder
from layerkit.inspection.paths import check_network
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.parameters import is_size
from layerkit.seeds import as_seed_sequence
from layerkit.training import TrainingState


class WeightRecorder(StepRecorder):
    """A callback for `train` that keeps copies of the weights during training.

    Parameters
    ----------
    every : int, default=1
        Number of steps between two copies; each has the size of the network.

    Attributes
    ----------
    weights : list of ndarray
        The flat parameters, the first copy after ``every`` steps.

    Examples
    --------
    >>> from layerkit import Dense
    >>> from layerkit.losses import MeanSquaredError
    >>> from layerkit.optimizers import SGD
    >>> from layerkit.training import train
    >>> recorder = WeightRecorder()
    >>> data = [[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]]
    >>> _ = train(Dense(1), MeanSquaredError(), SGD(), data, epochs=5, callbacks=[recorder])
    >>> len(recorder.weights), recorder.weights[0].shape
    (5, (2,))
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__(every)
        self.weights: list[np.ndarray] = []

    def note(self, state: TrainingState) -> None:
        """Copy the weights after a step."""
        self.weights.append(state.network.flat_params.copy())


class LossSurfaceDisplay(Display):
    r"""Loss on a plane through a network's weights: :math:`L(\theta + a\,d_1 + b\,d_2)`.

    Parameters
    ----------
    a, b : array of shape (n_a,), (n_b,)
        Coordinates of the grid; the network's weights are at (0, 0).
    losses : array of shape (n_b, n_a)
        Loss at each point of it.
    path : array of shape (n_steps, 2), optional
        The optimizer's path, projected on the plane.
    labels : pair of str, default=("direction 1", "direction 2")
        Names of the two directions.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Notes
    -----
    A plane is a narrow view of a space of many dimensions: what looks like a wall may have a way
    around it, and a path seems to cross contours because it also moves in directions not shown.

    References
    ----------
    Li, Xu, Taylor, Studer and Goldstein, "Visualizing the loss landscape of neural nets", NeurIPS
    2018, arXiv:1712.09913.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense
    >>> from layerkit.losses import MeanSquaredError
    >>> net = Dense(1).build(1, dtype="float64")
    >>> net.params["W"][...] = 2.0
    >>> display = LossSurfaceDisplay.from_network(
    ...     net, [[1.0], [2.0]], [[2.0], [4.0]], MeanSquaredError(),
    ...     directions=([1.0, 0.0], [0.0, 1.0]), n=3)
    >>> display.losses.tolist()
    [[6.5, 1.0, 0.5], [2.5, 0.0, 2.5], [0.5, 1.0, 6.5]]
    """

    def __init__(
        self,
        a: ArrayLike,
        b: ArrayLike,
        losses: ArrayLike,
        path: ArrayLike | None = None,
        labels: tuple[str, str] = ("direction 1", "direction 2"),
    ) -> None:
        self.a, self.b, self.losses = map(np.asarray, (a, b, losses))
        self.path = None if path is None else np.asarray(path)
        self.labels = labels
        expected = len(self.b), len(self.a)
        if self.losses.shape != expected:
            raise ValueError(
                f"losses must have shape (n_b, n_a) = {expected}, got {self.losses.shape}"
            )

    @classmethod
    def from_network(
        cls,
        network: Layer,
        x: ArrayLike,
        y: ArrayLike,
        loss: Loss,
        *,
        path: Any = None,
        directions: str | tuple[ArrayLike, ArrayLike] = "auto",
        span: float = 1.0,
        n: int = 25,
        random_state: Any = 0,
    ) -> LossSurfaceDisplay:
        """Evaluate the loss on a grid around the network's weights, in inference mode.

        Parameters
        ----------
        network : Layer
            Built; stays as it is.
        x, y : array
            A batch: n² forward passes run over it.
        loss : Loss
            That of training.
        path : sequence of flat weights, optional
            Such as ``WeightRecorder.weights``.
        directions : "auto", "random", "pca" or pair of vectors of size n_params, default="auto"
            "random": normal numbers, scaled filter by filter to the norm of the weights, zero for
            biases and normalisation (Li et al.). "pca": the two directions along which the path
            extends most. "auto": "pca" if there is a path.
        span : float, default=1.0
            The grid reaches from -span to span; "pca" ignores it and covers the path.
        n : int, default=25
            Grid points along each direction.
        random_state : int or Generator, default=0
            Of random directions.

        Returns
        -------
        display : LossSurfaceDisplay
            To be drawn by `plot`.
        """
        if not is_size(n, least=2):
            raise ValueError(f"n must be an integer of at least 2, got {n!r}")
        check_network(network)
        center = network.flat_params.astype(np.float64)
        moves = None if path is None else np.asarray(path, dtype=np.float64) - center
        kind = directions if isinstance(directions, str) else "given"
        if kind == "auto":
            kind = "random" if moves is None else "pca"
        labels = ("direction 1", "direction 2")
        if kind == "pca":
            plane, labels = _principal(moves)
        elif kind == "random":
            rng = np.random.default_rng(as_seed_sequence(random_state))
            plane = np.array([_random_direction(network, rng) for _ in range(2)])
        else:
            plane = _given(directions, len(center))
        projected = None  # coordinates of the points of the plane that are nearest to the path
        if moves is not None:
            projected = np.linalg.lstsq(plane.T, moves.T, rcond=None)[0].T
        grid_a, grid_b = _grid(projected if kind == "pca" else None, span, n)
        evaluate = _Loss(network, x, y, loss)
        losses = [[evaluate(center + np.array([a, b]) @ plane) for a in grid_a] for b in grid_b]
        return cls(grid_a, grid_b, losses, projected, labels)

    figsize = 6.2, 4.8

    def draw(self, axes: np.ndarray) -> None:
        from matplotlib import patheffects
        from matplotlib.colors import LogNorm

        ax = axes[0, 0]
        losses = np.ma.masked_invalid(self.losses)
        if losses.count() == 0:
            raise ValueError("the loss is not finite anywhere on the grid: nothing to draw")
        low, high = float(losses.min()), float(losses.max())
        logarithmic = low > 0 and high > 10 * low
        levels = np.geomspace(low, high, 16) if logarithmic else np.linspace(low, high, 16)
        norm = LogNorm(low, high) if logarithmic else None
        if high <= low:
            raise ValueError(f"the loss is {low:.4g} on the whole grid: nothing to draw")
        filled = ax.contourf(self.a, self.b, losses, levels, norm=norm, cmap="viridis")
        ax.contour(self.a, self.b, losses, levels, colors="white", linewidths=0.5, alpha=0.6)
        bar = ax.figure.colorbar(filled, ax=ax, label="loss")
        ticks = levels[::3]
        bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
        bar.ax.minorticks_off()
        if self.path is not None:
            outline = [patheffects.withStroke(linewidth=4, foreground="white")]
            ax.plot(*self.path.T, color="black", linewidth=1.8, path_effects=outline, label="path")
            ax.plot(*self.path[0], "o", color="white", mec="black", ms=9, label="start")
        ax.plot(0, 0, "*", color=VERMILION, mec="white", ms=16, label="network", zorder=4)
        ax.set(xlabel=self.labels[0], ylabel=self.labels[1])
        ax.locator_params(nbins=5)
        ax.grid(False)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


class _Loss:
    """The loss of a copy of the network as a function of its flat weights."""

    def __init__(self, network: Layer, x: ArrayLike, y: ArrayLike, loss: Loss) -> None:
        self.network, self.loss = copy.deepcopy(network), copy.copy(loss)
        self.x, self.y = x, y

    def __call__(self, weights: np.ndarray) -> float:
        self.network.flat_params[...] = weights
        with np.errstate(over="ignore", invalid="ignore"):
            y_pred = self.network.infer(self.x)  # type: ignore[arg-type]
            return self.loss.forward(y_pred, self.y)


def _random_direction(network: Layer, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers with, in each filter (column of the last axis), the norm of its weights."""
    direction = np.zeros(network.n_params)
    for slot in network.layout:
        if slot.decay and slot.trainable:
            weights = network.flat_params[slot.slice].reshape(slot.shape)
            part = rng.standard_normal(slot.shape)
            axes = tuple(range(len(slot.shape) - 1))
            scale = np.linalg.norm(weights.reshape(-1, slot.shape[-1]), axis=0)
            part *= scale / np.sqrt((part**2).sum(axis=axes))
            direction[slot.slice] = part.reshape(-1)
    return direction


def _principal(moves: np.ndarray | None) -> tuple[np.ndarray, tuple[str, str]]:
    """Two orthogonal unit directions along which the path extends most, and their shares."""
    if moves is None or len(moves) < 2:
        raise ValueError('directions="pca" needs a path of at least two points')
    _, sizes, axes = np.linalg.svd(moves, full_matrices=False)
    if len(sizes) < 2 or sizes[1] <= 1e-6 * sizes[0]:
        raise ValueError("the path is a straight line: give directions, or use random ones")
    shares = sizes**2 / (sizes**2).sum()
    names = [f"principal direction {i + 1} ({shares[i]:.0%} of the path)" for i in range(2)]
    return axes[:2], (names[0], names[1])


def _given(directions: Any, n_params: int) -> np.ndarray:
    vectors = [] if isinstance(directions, str) else [np.ravel(d) for d in directions]
    if [v.shape for v in vectors] != [(n_params,)] * 2:
        raise ValueError(
            'directions must be "auto", "random", "pca" or a pair of vectors of size '
            f"{n_params}, got {directions!r}"
        )
    return np.array(vectors, dtype=np.float64)


def _grid(path: np.ndarray | None, span: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along both directions: from -span to span, or around the path."""
    if path is None:
        return np.linspace(-span, span, n), np.linspace(-span, span, n)
    points = np.vstack([path, np.zeros(2)])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.2 * (high - low), 0.1 * (high - low).max())
    a, b = np.linspace(low - margin, high + margin, n).T
    return a, b
