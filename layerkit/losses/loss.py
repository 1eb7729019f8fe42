"""The contract of a loss: one number, and the exact derivative of that number."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from layerkit.losses.tabled import Tabled
from layerkit.parameters import Parameterized
from layerkit.sequences import Sequences, step_values

# Overflow makes the loss inf or nan, which training checks.
_let_nonfinite_pass = np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")


class Loss(Parameterized):
    """Base class of all losses.

    A loss is a class with two formulas: ``value`` and its ``derivative``. The base class checks
    the data, weights the samples and takes the mean.

    Methods
    -------
    value(y_pred, y_true)
        The formula of the loss.
    derivative(y_pred, y_true)
        The formula of its derivative.
    prepare_targets(y_pred, y_true)
        Targets as the two formulas expect them; by default shaped like ``y_pred``.
    check_params()
        Refuse invalid hyper-parameters; by default there are none.
    inverse_link(y_pred)
        Predictions or probabilities; by default ``y_pred`` itself.
    output_shape(target_shape)
        Shape of a sample of ``y_pred``; by default that of a target.

    Notes
    -----
    With v = value(y_pred, y_true), m entries of it per sample, and weights w:

    - forward: ``sum_i w_i mean_j(v_ij) / normalizer``, in float64
    - backward: ``w_i / (normalizer m) * derivative(y_pred, y_true)``

    Predictions may also be rows of unequal length with a target for every step (`Sequences`): the
    loss of a row is then the mean over its steps, so a step has the weight ``w_i / time_i``.
    Weights given for every step, as a list of arrays, are used as they are: if all are 1, all steps
    count alike.

    A weight of 2 counts a row twice, a weight of 0 not at all: neither its prediction nor, as long
    as some other row counts, its target is looked at. A loss is not thread-safe: ``backward``
    belongs to the last ``forward``.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit.losses import Loss
    >>> class Cauchy(Loss):
    ...     def value(self, y_pred, y_true):
    ...         return np.log1p((y_pred - y_true) ** 2)
    ...
    ...     def derivative(self, y_pred, y_true):
    ...         error = y_pred - y_true
    ...         return 2 * error / (1 + error**2)
    >>> loss = Cauchy()
    >>> round(loss.forward([[1.0], [2.0]], [[1.0], [1.0]]), 4)
    0.3466
    >>> loss.backward().tolist()
    [[0.0], [0.5]]
    """

    habits: ClassVar[Mapping[str, str]] = {
        "reduction": "the loss is the weighted mean of the samples",
        "from_logits": "it takes raw outputs: end the network without sigmoid or softmax",
        "weight": "give weights to forward(y_pred, y_true, sample_weight) or an estimator's fit",
        "class_weight": "an estimator takes class_weight",
    }
    # What y_pred means in classification: "logits" (before softmax or sigmoid), "margins"
    # (the largest, or the sign, decides), or None if the loss is not for classification.
    scores: ClassVar[str | None] = None

    # Whether `fused` and `tabled` also serve subclasses, which may have other formulas.
    subclasses_share_kernels: ClassVar[bool] = False

    _pass: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    _gradient: np.ndarray | None = None
    _rows: Sequences | None = None  # predictions of the last forward, if these were sequences

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.subclasses_share_kernels:
            for name in ("fused", "tabled"):
                if name not in vars(cls):
                    setattr(cls, name, vars(Loss)[name])

    # ---------------------------------------------------------------- what a loss defines

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        """Compute the loss of every output or sample: the formula.

        Parameters
        ----------
        y_pred : ndarray of shape (n_samples, ...)
            Raw outputs of the network, float32 or float64.
        y_true : ndarray
            Targets as ``prepare_targets`` returned them.

        Returns
        -------
        values : ndarray of shape (n_samples, ...)
            The loss of every output (n_samples, n_outputs), or of every sample (n_samples,). All
            axes but the first are averaged.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no value")

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        """Compute the derivative of ``value`` with respect to ``y_pred``: the formula.

        Parameters
        ----------
        y_pred, y_true : ndarray
            As for ``value``.

        Returns
        -------
        derivative : ndarray like y_pred
            Each entry of ``y_pred`` contributes to one entry of ``value`` only; this is the
            derivative of that entry.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no derivative")

    def check_params(self) -> None:
        """Refuse invalid hyper-parameters, with ``check``."""

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        """Check and encode the targets.

        Parameters
        ----------
        y_pred : ndarray of shape (n_samples, ...)
            Raw outputs of the network.
        y_true : ndarray
            Targets as they were passed to `forward`.

        Returns
        -------
        y_true : ndarray
            Targets as ``value`` and ``derivative`` expect them, in the dtype of ``y_pred``.
        """
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"{self!r}: y_true must have the shape of y_pred, "
                f"got y_pred {y_pred.shape} and y_true {y_true.shape}"
            )
        return y_true.astype(y_pred.dtype, copy=False)

    def fused(
        self, y_pred: Any, y_true: Any, sample_weight: Any, normalizer: float | None
    ) -> tuple[float, np.ndarray] | None:
        """Compute loss and derivative in one pass, if there is a kernel for it: to save time only.

        Parameters
        ----------
        y_pred, y_true, sample_weight : array or None
            The arguments of `forward`, not checked yet.
        normalizer : float or None
            As in `forward`.

        Returns
        -------
        (loss, gradient) or None
            What `forward` and `backward` would return. None: `forward` uses the two formulas, which
            also refuse invalid data.
        """
        return None

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        """Describe the loss and all targets of a training run to a kernel: to save time only.

        Parameters
        ----------
        y_true : ndarray of shape (n_samples, ...)
            All targets, not checked yet.
        n_outputs : int
            Length of the network's output for a sample, a vector.
        dtype : numpy dtype
            Data type of the network.

        Returns
        -------
        Tabled or None
            None if the kernel does not know the loss, or a target is invalid: then `forward` is
            called for every batch.
        """
        return None

    def inverse_link(self, y_pred: ArrayLike) -> np.ndarray:
        """Turn raw outputs into predictions on the scale of the targets, or into probabilities.

        Parameters
        ----------
        y_pred : array of shape (n_samples, ...)
            Raw outputs of the network.

        Returns
        -------
        predictions : ndarray
            By default the raw outputs themselves.
        """
        return as_floats(y_pred)

    def output_shape(self, target_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that the network's output for a sample must have.

        Parameters
        ----------
        target_shape : tuple of int
            Shape of a sample of ``y_true``.

        Returns
        -------
        output_shape : tuple of int
            Shape of a sample of ``y_pred``; by default the same.
        """
        return target_shape

    # ---------------------------------------------------------------- what everyone calls

    def forward(
        self,
        y_pred: ArrayLike,
        y_true: ArrayLike,
        sample_weight: ArrayLike | None = None,
        normalizer: float | None = None,
    ) -> float:
        """Compute the weighted mean loss of the samples.

        Parameters
        ----------
        y_pred : array of shape (n_samples, ...)
            Raw outputs of the network; float32 and float64 are kept, other types become float64.
        y_true : array
            Targets; their shape depends on the loss and is that of ``y_pred`` for most. A list of
            arrays if ``y_pred`` holds every step of rows of unequal length.
        sample_weight : array of shape (n_samples,), default=None
            Non-negative weights; None means 1 for every sample. A list of arrays weights steps.
        normalizer : float, default=None
            Divisor of the weighted sum; None means the sum of the weights. Training passes the
            number of samples times the mean weight of all the data, so that a weight means the same
            in every batch; a batch whose weights are all zero then has loss 0 and gradient 0.

        Returns
        -------
        float
            The loss; NaN or infinite if the predictions are.

        Raises
        ------
        ValueError
            If there are no samples, a shape does not fit, targets are complex, times or text, a
            target with a weight is outside the domain of the loss or not finite, a weight is
            negative or not finite, all weights are zero and no ``normalizer`` is given, or a
            hyper-parameter is invalid.
        """
        self._pass = self._gradient = None  # if this forward fails, backward must too
        self._rows = y_pred if isinstance(y_pred, Sequences) else None
        if self._rows is not None:
            y_pred, y_true, sample_weight = self.by_step(self._rows, y_true, sample_weight)
        elif isinstance(y_true, Sequences):
            y_true = y_true.to_array()
        found = self.fused(y_pred, y_true, sample_weight, normalizer)
        if found is None:
            predictions, scale = self._checked(y_pred, sample_weight, normalizer)
            return self._forward(predictions, np.asarray(y_true), scale)
        loss, self._gradient = found
        return loss

    def backward(self) -> np.ndarray:
        """Compute the derivative of the last ``forward`` with respect to its ``y_pred``.

        Returns
        -------
        grad_output : ndarray like y_pred
            In the same shape and dtype, for the ``backward`` of the network.

        Raises
        ------
        RuntimeError
            If there was no ``forward``, or the last one failed.
        """
        if self._gradient is None and self._pass is None:
            raise RuntimeError(f"{self!r}: backward needs a forward first")
        known = self._gradient
        gradient = self._backward(*self._pass) if known is None else known.copy()  # type: ignore[misc]
        return gradient if self._rows is None else self._rows.with_steps(gradient)  # type: ignore[return-value]

    def by_step(
        self, rows: Sequences, y_true: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return predictions, targets and weights of all steps, each of which is then a sample.

        Parameters
        ----------
        rows : Sequences
            Predictions.
        y_true, sample_weight : object
            As for `forward`.

        Returns
        -------
        y_pred, y_true, sample_weight : ndarray
            One entry per step; a step of a row with n steps has an n-th of the row's weight.

        Raises
        ------
        ValueError
            If targets or weights do not fit the rows.
        """
        if isinstance(y_true, np.ndarray) and y_true.shape[:2] == rows.shape[:2]:
            y_true = Sequences.from_array(y_true)
        targets = step_values(rows, y_true, "y_true")
        if targets is None:
            raise ValueError(
                f"{self!r}: y_pred has a value for every step, {rows}, so y_true must be a list of "
                f"arrays, a target for every step of each row, got shape {np.shape(y_true)}"
            )
        weights = step_values(rows, sample_weight, "sample_weight")
        if weights is not None:
            return rows.steps, targets.steps, weights.steps
        by_row = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, float)
        if by_row.shape != (len(rows),):
            raise ValueError(
                f"{self!r}: sample_weight must have shape ({len(rows)},), one weight for each row, "
                f"or be a list of arrays, one for each step; got {by_row.shape}"
            )
        return rows.steps, targets.steps, (by_row / rows.lengths).repeat(rows.lengths)

    @_let_nonfinite_pass
    def _forward(self, y_pred: np.ndarray, targets: np.ndarray, scale: np.ndarray) -> float:
        n_samples = len(y_pred)
        all_count = np.count_nonzero(scale) == n_samples
        if not all_count and targets.shape[:1] == (n_samples,):
            # The target of a row of weight 0 may be anything: replace it by one that counts.
            targets = targets[np.where(scale > 0, np.arange(n_samples), scale.argmax())]
        if targets.dtype.kind in "cmMSU":  # complex, times or text, which casts turn into numbers
            raise ValueError(f"{self!r}: y_true must be numbers, got {targets.dtype}")
        y_true = self.prepare_targets(y_pred, targets)
        values = self.value(y_pred, y_true)
        if values.shape[:1] != (n_samples,):
            raise ValueError(
                f"{self!r}: value must have one row for each of the {n_samples} samples, "
                f"got shape {values.shape}"
            )
        n_outputs = values.size // n_samples
        per_sample = np.add.reduce(values.reshape(n_samples, -1), axis=1, dtype=np.float64)
        per_sample /= n_outputs  # three times as fast as mean
        if not all_count:
            per_sample[scale == 0] = 0  # even where it overflowed
        loss = float(scale @ per_sample)
        if not isfinite(loss):
            given = np.isfinite(targets).all()
            expected = f"what {y_true.dtype} can hold" if given else "finite"
            shown = targets if targets.shape == y_true.shape else y_true
            self.check_targets(np.isfinite(y_true), shown, expected)

        self._pass = y_pred, y_true, scale / n_outputs
        return loss

    @_let_nonfinite_pass
    def _backward(self, y_pred: np.ndarray, y_true: np.ndarray, scale: np.ndarray) -> np.ndarray:
        derivative = self.derivative(y_pred, y_true)
        if derivative.shape != y_pred.shape:
            raise ValueError(
                f"{self!r}: derivative must have the shape of y_pred {y_pred.shape}, "
                f"got {derivative.shape}"
            )
        per_row = scale.reshape(-1, *[1] * (y_pred.ndim - 1))
        gradient = np.multiply(derivative, per_row, dtype=y_pred.dtype)
        gradient[scale == 0] = 0
        return gradient

    # ---------------------------------------------------------------- checks

    def _checked(
        self, y_pred: ArrayLike, sample_weight: ArrayLike | None, normalizer: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the predictions and the factor of each sample's loss, or refuse them."""
        self.check_params()
        predictions = as_floats(y_pred)
        if predictions.size == 0 or predictions.ndim == 0:
            raise ValueError(f"{self!r}: y_pred has no samples, its shape is {predictions.shape}")
        return predictions, self._scale(sample_weight, len(predictions), normalizer)

    def _scale(
        self, sample_weight: ArrayLike | None, n_samples: int, normalizer: float | None
    ) -> np.ndarray:
        if normalizer is not None and not 0 < normalizer < np.inf:
            raise ValueError(f"{self!r}: normalizer must be positive, got {normalizer!r}")
        if sample_weight is None:
            equal = np.empty(n_samples)
            equal.fill(1 / float(n_samples if normalizer is None else normalizer))
            return equal
        weights = np.asarray(sample_weight, dtype=np.float64)
        if weights.shape != (n_samples,):
            raise ValueError(
                f"{self!r}: sample_weight must have shape ({n_samples},), one weight for each "
                f"sample of y_pred, got {weights.shape}"
            )
        refused = ~(np.isfinite(weights) & (weights >= 0))
        if refused.any():
            raise ValueError(
                f"{self!r}: sample_weight must be finite and not negative, "
                f"got {weights[refused][0]}"
            )
        if normalizer is None and not weights.any():
            raise ValueError(f"{self!r}: sample_weight is zero for all samples")
        with np.errstate(over="ignore", under="ignore"):
            total = weights.sum() if normalizer is None else float(normalizer)
            if total == np.inf:  # finite weights, whose sum is too large
                weights = weights / weights.max()
                total = weights.sum()
            return weights / total

    def check_targets(self, ok: np.ndarray, y_true: np.ndarray, expected: str) -> None:
        """Raise a ValueError that shows the first invalid target, if there is one.

        Parameters
        ----------
        ok : ndarray of bool
            Which targets are valid, in the shape of ``y_true``.
        y_true : ndarray
            The targets.
        expected : str
            What valid targets are.
        """
        if not ok.all():
            raise ValueError(f"{self!r}: y_true must be {expected}, got {y_true[~ok][0]}")

    def __getstate__(self) -> dict[str, Any]:
        passing = ("_pass", "_gradient", "_rows")
        return {name: value for name, value in vars(self).items() if name not in passing}


def as_floats(y_pred: ArrayLike) -> np.ndarray:
    """Return an array that is float32 or float64."""
    array = np.asarray(y_pred)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
