"""How the layers that a user gives become a network, and how it is trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from layerkit import losses, optimizers
from layerkit.estimators.callbacks import print_epoch
from layerkit.estimators.learning import Recipe
from layerkit.estimators.preparing import Task
from layerkit.estimators.rules import SEQUENTIAL
from layerkit.layer import Layer
from layerkit.layers import Dense, LogSoftmax, Sequential, Softmax
from layerkit.layers.containers import snake_case
from layerkit.layers.reshaping import Reshape
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.training import History
from layerkit.warning import warn

_LOSSES = {snake_case(name): getattr(losses, name) for name in losses.__all__ if name != "Loss"}
OPTIMIZERS = {
    name.lower(): getattr(optimizers, name) for name in optimizers.__all__ if name != "Optimizer"
}
_SPARSE_ROW = csr_array((1, 1))


class SequentialRecipe(Recipe):
    """Layers, head, loss and optimizer as the user states them."""

    rules = SEQUENTIAL
    structure = ("layers", "head", "loss", "dtype")
    print_epoch = staticmethod(print_epoch)

    def check(self) -> None:
        super().check()
        layers = self.estimator.layers
        if not isinstance(layers, Layer):
            Sequential(layers).children()  # says which entry is no layer
        self.optimizer().validate()

    def network(self, output_shape: tuple[int, ...]) -> Layer:
        body = copy.deepcopy(self.estimator.layers)  # the user's layers stay as they are
        if isinstance(body, Layer):
            body = body.layers if isinstance(body, Sequential) else [body]
        if self.estimator.head is None:
            return Sequential(list(body))
        if "head" in Sequential(body).names:
            raise ValueError(
                "layers has a head of its own, the layer named 'head', but head='auto' appends "
                "another: give network[:-1] for a new head, or set head=None"
            )
        _warn_of_softmax_below_the_head(body)
        of_one = tuple(n for n in output_shape if n is not None)  # of a row or of each step
        head: Layer = Dense(math.prod(of_one))
        if len(of_one) > 1:
            head = Sequential([head, Reshape(of_one)])
        return Sequential([*body, ("head", head)])

    def loss(self) -> Loss | None:
        loss, check = self.estimator.loss, self.estimator.check
        if isinstance(loss, str):
            known = f"'auto', a Loss, or one of {', '.join(_LOSSES)}"
            check(loss == "auto" or loss in _LOSSES, "loss", known)
            return None if loss == "auto" else _LOSSES[loss]()
        check(isinstance(loss, Loss), "loss", "'auto', a name or a Loss")
        return clone(loss)

    def optimizer(self) -> Optimizer | LBFGS:
        optimizer, check = self.estimator.optimizer, self.estimator.check
        if isinstance(optimizer, str):
            known = f"an Optimizer, or one of {', '.join(OPTIMIZERS)}"
            check(optimizer in OPTIMIZERS, "optimizer", known)
            if optimizer == "lbfgs":
                return LBFGS(max_iter=self.estimator.max_iter)
            return OPTIMIZERS[optimizer]()
        check(isinstance(optimizer, Optimizer | LBFGS), "optimizer", "a name or an Optimizer")
        return clone(optimizer)

    def takes_sparse_rows(self) -> bool:
        layers = self.estimator.layers
        first = layers if isinstance(layers, Layer) else chain_of(layers)
        try:
            return layers == [] or issparse(first.convert_input(_SPARSE_ROW))
        except TypeError:
            return False

    def batches(self, task: Task, optimizer: Any) -> dict[str, Any]:
        return {
            "loss": task.target.loss,
            "data": task.data(task.target.encode),
            "batch_size": self.batch_size(task.n_rows),
            "shuffle": bool(self.estimator.shuffle),
        }

    def stopping(self, task: Task, optimizer: Any) -> dict[str, Any]:
        """Wait for an improvement; L-BFGS has its own test of convergence."""
        patience = self.estimator.n_iter_no_change
        converges = isinstance(optimizer, LBFGS) and task.validation is None
        forever = self.patient or patience in (None, np.inf) or converges
        return {"patience": None if forever else int(patience), "tol": float(self.estimator.tol)}

    def warn(self, optimizer: Any, history: History) -> None:
        """Epochs are what was asked for; L-BFGS seeks a minimum, and may not have reached it."""
        if not isinstance(optimizer, LBFGS) or self.patient or history.stopped:
            return
        own = optimizer.max_iter < self.epochs
        name, limit = (
            ("optimizer__max_iter", optimizer.max_iter) if own else ("max_iter", self.epochs)
        )
        if len(history) == limit and self.estimator.n_iter_no_change is not None:
            warn(
                f"{type(self.estimator).__name__}: {name}={limit} epochs were not enough to "
                "converge; raise it, or set n_iter_no_change=None to have exactly so many",
                ConvergenceWarning,
            )


def chain_of(layers: Any) -> Sequential:
    """Return the layers as a chain that names them; an empty one if they are not valid."""
    if isinstance(layers, Sequential):
        return layers
    chain = Sequential(layers if isinstance(layers, list | tuple) else [])
    try:
        chain.children()
    except (TypeError, ValueError):  # get_params works whatever was given; fit refuses it
        return Sequential([])
    return chain


def _warn_of_softmax_below_the_head(body: Sequence[Any]) -> None:
    last = body[-1] if len(body) else None
    last = last[1] if isinstance(last, tuple) else last
    while isinstance(last, Sequential) and len(last):
        last = last[-1]
    if isinstance(last, Softmax | LogSoftmax):
        warn(
            f"the layers end in {last!r}, but head='auto' appends an output layer after it: leave "
            "the last layers out (the loss takes raw outputs), or set head=None",
        )
