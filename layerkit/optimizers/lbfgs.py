"""L-BFGS, for full batches: SciPy's, on the flat vector."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from layerkit.optimizers.pieces import check_vectors, single_slot
from layerkit.parameters import Parameterized, in_range, is_size
from layerkit.shapes import Slot


@dataclass(eq=False, repr=False, kw_only=True)
class LBFGS(Parameterized):
    """Quasi-Newton descent with a line search, on a loss that is the same at every call.

    The step ``-H g`` uses an estimate H of the inverse second derivatives, built from the last
    `history` changes of parameters and gradient; a line search follows it until the loss has fallen
    enough. It suits few parameters, all data at once and no dropout. It minimises ``loss +
    weight_decay / 2 ||w||²`` over the trainable parameters, of which w are those that decay.

    Parameters
    ----------
    max_iter : int, default=200
        Largest number of iterations, at least 1.
    tol : float, default=1e-5
        Convergence tolerance: the largest element of the gradient at a solution; at least 0.
    history : int, default=10
        Number of changes from which H is estimated, at least 1.
    max_fun : int, default=15000
        Largest number of evaluations of loss and gradient, at least 1.
    weight_decay : float, default=0.0
        Factor of the L2 penalty, at least 0.

    References
    ----------
    Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization", SIAM
    Journal on Scientific Computing 16, 1995: ``method="L-BFGS-B"`` of ``scipy.optimize.minimize``.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.zeros(2)
    >>> def loss_and_grads(params):
    ...     error = params - [3.0, -1.0]
    ...     return error @ error, 2 * error
    >>> LBFGS().minimize(loss_and_grads, params).success
    True
    >>> params.round(4).tolist()
    [3.0, -1.0]
    """

    habits: ClassVar[Mapping[str, str]] = {"lr": "a line search finds the length of its steps"}

    max_iter: int = 200
    tol: float = 1e-5
    history: int = 10
    max_fun: int = 15000
    weight_decay: float = 0.0

    def minimize(
        self,
        fun: Callable[[np.ndarray], tuple[float, np.ndarray]],
        flat_params: np.ndarray,
        layout: Sequence[Slot] | None = None,
        callback: Callable[[float], object] | None = None,
    ) -> Any:
        """Move `flat_params`, in place, to a minimum of `fun`.

        Parameters
        ----------
        fun : callable
            ``fun(flat_params) -> (loss, flat_grads)``, given the very vector `flat_params`, set to
            the point to try. In float32 the search ends where rounding errors hide the descent.
        flat_params : ndarray of shape (n_params,), float32 or float64
            Start and result. After any exception, also Ctrl-C, it holds the last iterate.
        layout : sequence of Slot or None, default=None
            Slots with ``trainable=False`` do not change, and `weight_decay` applies where
            ``decay=True``. None: everything is trainable and decays.
        callback : callable or None, default=None
            ``callback(loss)`` is called after every iteration, with `flat_params` at the iterate;
            the loss is that without weight decay. A true return value ends the search.

        Returns
        -------
        scipy.optimize.OptimizeResult
            With ``fun``, ``nit``, ``nfev``, ``success``, ``message``.

        Raises
        ------
        FloatingPointError
            If the loss is not finite at the start or at an iterate.
        """
        from scipy.optimize import minimize  # late: it takes longer to import than NumPy

        self.validate()
        check_vectors(flat_params, flat_params)
        objective = _Objective(self, fun, flat_params, layout)
        if not objective.iterate.size:
            return objective.where_it_is()

        def after_iteration(intermediate_result: Any) -> None:
            objective.accept(intermediate_result)
            loss = intermediate_result.fun - objective.penalty(objective.iterate)
            if callback is not None and callback(loss):
                raise StopIteration

        try:
            result = minimize(
                objective,
                objective.iterate,
                jac=True,
                method="L-BFGS-B",
                callback=after_iteration,
                options={
                    "maxiter": int(self.max_iter),
                    "gtol": float(self.tol),
                    "maxcor": int(self.history),
                    "maxfun": int(self.max_fun),
                },
            )
            objective.accept(result)
        finally:
            flat_params[objective.trainable] = objective.iterate
        return result

    def validate(self) -> None:
        """Refuse hyper-parameters out of range."""
        for name in ("max_iter", "history", "max_fun"):
            value = getattr(self, name)
            self.check(is_size(value), name, "an integer >= 1")
        for name in ("tol", "weight_decay"):
            self.check(in_range(getattr(self, name), 0), name, "a finite number >= 0")


class _Objective:
    """Loss and weight decay as a function of the trainable parameters, and the last iterate."""

    def __init__(
        self,
        optimizer: LBFGS,
        fun: Callable[[np.ndarray], tuple[float, np.ndarray]],
        flat_params: np.ndarray,
        layout: Sequence[Slot] | None,
    ) -> None:
        self.optimizer, self.fun, self.flat_params = optimizer, fun, flat_params
        self.trainable = np.zeros(len(flat_params), dtype=bool)
        decay = np.zeros(len(flat_params))
        for slot in single_slot(flat_params) if layout is None else layout:
            self.trainable[slot.slice] = slot.trainable
            decay[slot.slice] = optimizer.weight_decay * slot.decay
        self.decay = decay[self.trainable]
        self.iterate = flat_params[self.trainable].astype(np.float64)

    def __call__(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        self.flat_params[self.trainable] = w
        loss, grads = self.fun(self.flat_params)
        check_vectors(self.flat_params, grads)
        return float(loss) + self.penalty(w), grads[self.trainable] + self.decay * w

    def penalty(self, w: np.ndarray) -> float:
        """Return the weight decay's part of the value."""
        return float(np.sum(self.decay * w * w)) / 2

    def accept(self, result: Any) -> None:
        """Go to an iterate, or to the solution."""
        if not isfinite(result.fun):  # a comparison with NaN can pass for descent
            raise FloatingPointError(f"{self.optimizer!r}: the loss is {result.fun}")
        self.iterate = result.x.copy()
        self.flat_params[self.trainable] = self.iterate

    def where_it_is(self) -> Any:
        """Return the result where nothing is trainable, which SciPy refuses."""
        from scipy.optimize import OptimizeResult

        loss, grads = self(self.iterate)
        message = "CONVERGENCE: NOTHING IS TRAINABLE"
        counts = {"nit": 0, "nfev": 1, "njev": 1, "status": 0}
        result = OptimizeResult(
            x=self.iterate, fun=loss, jac=grads, success=True, message=message, **counts
        )
        self.accept(result)
        return result
