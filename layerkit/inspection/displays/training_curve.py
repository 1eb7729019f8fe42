"""A training run: loss, score and learning rate over the epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.displays.display import BLUE, GREEN, GREY, VERMILION, Display
from layerkit.training import History


@dataclass(eq=False, repr=False)
class TrainingCurveDisplay(Display):
    """Loss over the epochs, with the validation loss and score and the epoch that was kept.

    Parameters
    ----------
    loss : array of shape (n_epochs,)
        Training loss.
    validation_loss, validation_score, learning_rate : array of shape (n_epochs,), optional
        The score and the learning rate are drawn in panels of their own.
    best_epoch : int, optional
        The epoch to mark, from 1.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Examples
    --------
    >>> display = TrainingCurveDisplay([0.9, 0.5, 0.3], [0.9, 0.6, 0.7], best_epoch=2)
    >>> display.plot().ax_.get_xlabel()  # doctest: +SKIP
    'epoch'
    """

    loss: ArrayLike
    validation_loss: ArrayLike | None = None
    validation_score: ArrayLike | None = None
    learning_rate: ArrayLike | None = None
    best_epoch: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.loss, History) or hasattr(self.loss, "history_"):
            source = "history" if isinstance(self.loss, History) else "estimator"
            raise TypeError(
                f"loss must be an array of numbers, got a {type(self.loss).__name__}: write "
                f"TrainingCurveDisplay.from_{source}({source})"
            )

    @classmethod
    def from_history(cls, history: History, learning_rate: bool = False) -> TrainingCurveDisplay:
        """Take the columns of a record.

        Parameters
        ----------
        history : History
            What `train` returned.
        learning_rate : bool, default=False
            Whether to add a panel of it.

        Returns
        -------
        display : TrainingCurveDisplay
            To be drawn by `plot`.
        """
        if not isinstance(history, History):
            raise TypeError(
                f"history must be what train returned, got a {type(history).__name__}; of an "
                "estimator write TrainingCurveDisplay.from_estimator(estimator)"
            )
        if not len(history):
            raise ValueError("the history has no epochs to show")
        names = ["loss", "validation_loss", "validation_score"]
        names += ["learning_rate"] * learning_rate
        found = {name: history[name] for name in names if name in history.columns}
        return cls(**found, best_epoch=history.best_epoch)

    @classmethod
    def from_estimator(cls, estimator: Any, learning_rate: bool = False) -> TrainingCurveDisplay:
        """Take the ``history_`` of an estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        learning_rate : bool, default=False
            Whether to add a panel of it.

        Returns
        -------
        display : TrainingCurveDisplay
            To be drawn by `plot`.
        """
        if hasattr(estimator, "histories_"):
            raise ValueError(
                f"{type(estimator).__name__} has a history for each member; draw one, with "
                "from_history(estimator.histories_[0])"
            )
        if not hasattr(estimator, "history_"):
            raise ValueError(
                f"{type(estimator).__name__} has no history_: fit it first (and pass the "
                "estimator itself, not the pipeline around it)"
            )
        return cls.from_history(estimator.history_, learning_rate)

    def _parts(self) -> list[tuple[str, list[tuple[str, ArrayLike, str]]]]:
        """(label, curves) of each panel; a curve is (name, values, colour)."""
        parts = [("loss", [("training", self.loss, BLUE)])]
        if self.validation_loss is not None:
            parts[0][1].append(("validation", self.validation_loss, VERMILION))
        if self.validation_score is not None:
            parts.append(("validation score", [("validation", self.validation_score, VERMILION)]))
        if self.learning_rate is not None:
            parts.append(("learning rate", [("learning rate", self.learning_rate, GREEN)]))
        return parts

    @property
    def figsize(self) -> tuple[float, float]:
        return 6.4, 2.8 + 1.4 * len(self._parts())

    def panels(self) -> dict[str, Any]:
        n = len(self._parts())
        heights = {"height_ratios": [1.5] + [1] * (n - 1)}
        return {"nrows": n, "sharex": True, "gridspec_kw": heights} if n > 1 else {}

    def draw(self, axes: np.ndarray) -> None:
        for ax, (label, curves) in zip(axes[:, 0], self._parts(), strict=True):
            for name, values, color in curves:
                y = np.asarray(values)
                epochs = np.arange(1, len(y) + 1)
                marker = "." if len(y) <= 30 else ""
                ax.plot(epochs, y, color=color, label=name, marker=marker, markersize=8)
                if self.best_epoch and name == "validation":
                    ax.plot(self.best_epoch, y[self.best_epoch - 1], "o", color=color, ms=9)
            if self.best_epoch:
                kept = f"best epoch ({self.best_epoch})"
                ax.axvline(self.best_epoch, color=GREY, linestyle=":", linewidth=1.5, label=kept)
            ax.set_ylabel(label)
        axes[0, 0].legend()
        axes[-1, 0].set_xlabel("epoch")
        axes[-1, 0].xaxis.get_major_locator().set_params(integer=True)
