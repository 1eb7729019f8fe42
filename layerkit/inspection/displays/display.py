"""The base of all displays: matplotlib imported on demand, one style, one way to get axes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from layerkit.parameters import check_arguments, is_size
from layerkit.training import TrainingState

# Okabe and Ito's colours, which people with any kind of colour blindness can tell apart.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY = "#6E6E6E"

STYLE = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,  # sharp in a notebook
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "legend.fontsize": 11,
    "legend.frameon": False,
}


class Display:
    """Base class of all displays: the constructor takes computed arrays, `plot` draws them.

    A subclass defines ``draw(axes)`` and, with more than one panel, ``panels``.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : array of Axes, of shape (n_rows, n_columns)
        One for each panel.
    ax_ : Axes
        The first panel.
    """

    figure_: Any
    axes_: np.ndarray
    ax_: Any

    @property
    def figsize(self) -> tuple[float, float]:
        """Width and height of a new figure in inches."""
        return 6.4, 4.2

    def panels(self) -> dict[str, Any]:
        """Arguments of ``Figure.subplots``: rows, columns, shared axes, relative heights."""
        return {}

    def draw(self, axes: np.ndarray) -> None:
        """Draw into the panels, an array of Axes of shape (n_rows, n_columns)."""
        raise NotImplementedError(f"{type(self).__name__} defines no draw")

    def plot(self, ax: Any = None) -> Display:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; several panels divide it among them. By default a new figure.

        Returns
        -------
        self : Display
            With ``figure_``, ``axes_`` and ``ax_``.
        """
        plt = pyplot(type(self).__name__)
        panels = {"squeeze": False, **self.panels()}
        with _styled(plt.rcParams):
            if ax is None:
                figure, axes = plt.subplots(figsize=self.figsize, **panels)
            elif panels.keys() == {"squeeze"}:
                figure, axes = ax.figure, np.array([[ax]])
            else:
                figure, axes = ax.figure, _split(ax, **panels)
            self.figure_, self.axes_, self.ax_ = figure, axes, axes[0, 0]
            try:
                self.draw(axes)
            except BaseException:
                if ax is None:
                    plt.close(figure)
                raise
        return self


class StepRecorder:
    """Base class of the callbacks of `train` that record something every so many steps."""

    def __init__(self, every: int) -> None:
        check_arguments(("every", every, is_size(every), "a positive integer"))
        self.every = every

    def __call__(self, state: TrainingState) -> None:
        """Nothing happens at the end of an epoch."""

    def on_batch(self, state: TrainingState) -> None:
        """Record the step if its turn has come."""
        if state.step % self.every == 0:
            self.note(state)

    def note(self, state: TrainingState) -> None:
        """Record the step that was just done; a subclass defines what."""
        raise NotImplementedError(f"{type(self).__name__} defines no note")


def pyplot(name: str) -> Any:
    """Import matplotlib, which only drawing needs."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{name}.plot needs matplotlib: pip install 'layerkit[plot]'") from error
    return plt


@contextmanager
def _styled(settings: Any) -> Iterator[None]:
    """Apply the style, and restore nothing else.

    The first figure in a notebook also switches the interactive mode on; ``rc_context`` would
    undo that, and no other figure would be shown any more.
    """
    before = {name: settings[name] for name in STYLE}
    settings.update(STYLE)
    try:
        yield
    finally:
        settings.update(before)


def _split(
    ax: Any, nrows: int = 1, ncols: int = 1, gridspec_kw: Any = None, **shared: Any
) -> np.ndarray:
    """Put panels into the place of one Axes."""
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError("several panels need an ax that was made by subplots")
    ax.set_axis_off()
    grid = place.subgridspec(nrows, ncols, **(gridspec_kw or {}))
    return grid.subplots(**shared)
