"""The norm of every layer's gradient over the steps of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.displays.display import Display, StepRecorder, pyplot
from layerkit.inspection.paths import layer_names, parameter_spans
from layerkit.training import TrainingState


class GradientRecorder(StepRecorder):
    """A callback for `train` that records the norm of every layer's gradient.

    Parameters
    ----------
    every : int, default=10
        Number of steps between two records. A record costs a pass over the gradient vector, on
        small networks a tenth of a step.

    Attributes
    ----------
    layers : list of str
        Names of the layers with parameters, in forward order.
    steps : list of int
        The optimizer steps after which the norms were recorded, from 1.
    norms : list of list of float
        For each of these steps the Euclidean norm of every layer's gradient: all its parameters
        as one vector, before any clipping.

    Examples
    --------
    >>> from layerkit import Dense, Sequential, Tanh
    >>> from layerkit.datasets import load_two_spirals
    >>> from layerkit.losses import CategoricalCrossEntropy
    >>> from layerkit.optimizers import SGD
    >>> from layerkit.training import train
    >>> recorder = GradientRecorder()
    >>> net = Sequential([Dense(8), Tanh(), Dense(2)])
    >>> _ = train(net, CategoricalCrossEntropy(), SGD(), load_two_spirals(), epochs=1,
    ...           callbacks=[recorder], random_state=0)
    >>> recorder.layers, len(recorder.norms) == len(recorder.steps)
    (['dense_1', 'dense_2'], True)
    """

    def __init__(self, every: int = 10) -> None:
        super().__init__(every)
        self.layers: list[str] = []
        self.steps: list[int] = []
        self.norms: list[list[float]] = []
        self._slices: list[slice] = []

    def note(self, state: TrainingState) -> None:
        """Record the norms of the step that was just done."""
        if not self.layers:
            names, spans = layer_names(state.network), parameter_spans(state.network)
            self.layers = [names[path] for path in spans]
            self._slices = list(spans.values())
        grads = state.network.flat_grads
        self.steps.append(state.step)
        self.norms.append([float(np.linalg.norm(grads[where])) for where in self._slices])


class GradientFlowDisplay(Display):
    """Norm of each layer's gradient over the steps of training, on a logarithmic scale.

    Lines that fan out downwards, the first layers lowest, show a vanishing gradient; lines that
    climb an exploding one. A thick line is the running geometric mean of the thin one.

    Parameters
    ----------
    steps : array of shape (n_steps,)
        Optimizer steps.
    norms : array of shape (n_steps, n_layers)
        Norm of each layer's gradient at these steps.
    layers : sequence of str
        Their names in forward order.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Examples
    --------
    >>> display = GradientFlowDisplay([1, 2], [[0.1, 1.0], [0.2, 0.9]], ["dense_1", "dense_2"])
    >>> display.plot().ax_.get_yscale()  # doctest: +SKIP
    'log'
    """

    def __init__(self, steps: ArrayLike, norms: ArrayLike, layers: Sequence[str]) -> None:
        self.steps = np.asarray(steps)
        self.norms = np.asarray(norms)
        self.layers = list(layers)
        expected = len(self.steps), len(self.layers)
        if self.norms.shape != expected:
            raise ValueError(
                f"norms must have shape (n_steps, n_layers) = {expected}, got {self.norms.shape}"
            )

    @classmethod
    def from_recorder(cls, recorder: GradientRecorder) -> GradientFlowDisplay:
        """Take what was noted while `train` ran.

        Parameters
        ----------
        recorder : GradientRecorder
            The callback that `train` was given.

        Returns
        -------
        display : GradientFlowDisplay
            To be drawn by `plot`.
        """
        if not recorder.steps:
            raise ValueError(
                "the recorder has noted nothing: pass it to train(..., callbacks=[recorder])"
            )
        return cls(recorder.steps, recorder.norms, recorder.layers)

    def draw(self, axes: np.ndarray) -> None:
        ax, plt = axes[0, 0], pyplot(type(self).__name__)
        depths = np.linspace(0, 0.85, len(self.layers))  # the light end of the map is hard to see
        named = np.unique(np.linspace(0, len(self.layers) - 1, 12).round().astype(int))
        window = max(len(self.steps) // 40, 1)
        for k, (layer, color) in enumerate(
            zip(self.layers, plt.colormaps["viridis"](depths), strict=True)
        ):
            norms = np.where(self.norms[:, k] > 0, self.norms[:, k], np.nan)  # log 0 has no place
            label = layer + _share_of_zeros(self.norms[:, k])
            if window > 1:
                ax.plot(self.steps, norms, color=color, linewidth=0.6, alpha=0.35)
            smooth = _running_geometric_mean(norms, window)
            ax.plot(self.steps, smooth, color=color, label=label if k in named else None)
        ax.set(yscale="log", xlabel="optimizer step", ylabel="norm of the gradient")
        ax.legend(title="layer, first to last", loc="center left", bbox_to_anchor=(1, 0.5))


def _share_of_zeros(norms: np.ndarray) -> str:
    share = float(np.mean(norms == 0))
    return f" (zero in {share:.0%})" if share else ""


def _running_geometric_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the logarithms over a centred window, shorter at the ends; NaN counts as absent."""
    ones = np.ones(window)
    known = np.isfinite(values)
    logs = np.log(np.where(known, values, 1.0))
    counts = np.convolve(known, ones, mode="same")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.convolve(logs, ones, mode="same") / counts)
