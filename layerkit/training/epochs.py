"""Epochs whose batches a kernel goes through in one call, by a program made once in a run.

With Numba the program is compiled; in NumPy it is a list of calls whose arguments are bound. It
takes a chain of well-known layers, a loss and an optimizer that the kernel knows too, and rows in
memory. Where anything is missing, or somebody wants to see a batch, epochs go on batch by batch.
"""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np

from layerkit import kernels
from layerkit.fused.epochs import Table, describe, tabulate
from layerkit.layers import BatchNorm
from layerkit.losses.loss import Loss
from layerkit.losses.tabled import Tabled
from layerkit.training.batches import mapping_of, take
from layerkit.training.run import Batches, Run, first_nonfinite, put_back

CHUNK = 1e9  # multiply-adds, some tenths of a second, after which Python may see to Ctrl-C
SHORT = 2e8  # of epochs that together are so short that more than one may go by unseen
_FEW = 2**24  # numbers of an input that may be converted as a whole
_NO_ORDER = np.empty(0, np.int64)


class Epochs:
    """The epochs of a training run, computed at once wherever that is possible.

    ``whole`` makes all rows one batch. After each epoch a callback may have changed rows or loss in
    place, unless its ``keeps_data`` is true: that saves looking.
    """

    def __init__(self, run: Run, batches: Batches, whole: bool = False) -> None:
        self.run, self.source, self.whole = run, batches.table, whole
        self.may_change = not all(getattr(c, "keeps_data", False) for c in run.callbacks)
        self.known_for: tuple[Any, ...] = ()
        self.rows: Any = None  # X, loss and weights, as the kernel takes them
        self.params: np.ndarray | None = None  # of the network that the table is for
        self.table: Table | None = None
        self.bounds, self.normalizers = np.empty((0, 2), np.int64), np.empty(0)
        self.most = 0  # rows of a batch
        self.rule: tuple[int, np.ndarray | None] = kernels.NO_STEP, None
        self.program: kernels.Program | None = None  # for rows, table and rule
        self.alone = False  # whether each epoch is a call of its own, as one has diverged

    def compute(self, most: float = 1) -> list[float] | None:
        """Go through all batches, once or a few times; return the mean loss of each epoch.

        Parameters
        ----------
        most : float, default=1
            Epochs at most.

        Returns
        -------
        losses : list of float or None
            None where that is not possible.

        Raises
        ------
        FloatingPointError
            If a loss or a weight is not finite, in the first epoch.
        """
        run, source, state = self.run, self.source, self.run.state
        if run.before_batch or run.on_batch or source is None or not self._prepared(source):
            return None
        epochs = self._short_epochs(most)
        if epochs == 1:
            return self._epochs(source, 1)
        before = state.step, state.optimizer.state, source.state
        try:
            return self._epochs(source, epochs)
        except FloatingPointError:  # once more, to find the epoch and the last good weights
            put_back(state.network, run.good)
            state.step, state.optimizer.state, source.state = before
            self.alone = True
            return self._epochs(source, 1)

    def _short_epochs(self, most: float) -> int:
        """How many of so many epochs may go by in one call, none of them seen."""
        assert self.table is not None
        table, weights = self.table, self.rows[2]
        odd = table.normalizing or table.dropping or (weights.size and not weights.all())
        if self.alone or self.may_change or odd:
            return 1
        return int(max(1, min(most, SHORT // (table.work * len(self.rows[0])))))

    def _epochs(self, source: Any, epochs: int) -> list[float] | None:
        """Go through all batches so many times."""
        state = self.run.state
        assert self.table is not None and self.params is not None
        network, (X, _, weights) = state.network, self.rows
        rule = state.optimizer.tabled(self.params, network.flat_grads, self.table.layout)
        if rule is None:
            return None
        if self.program is None or rule[0] != self.rule[0] or rule[1] is not self.rule[1]:
            self.rule, self.program = rule, self._program_for(rule)
        order, bounds = _one_after_the_other(source, self.bounds, epochs)
        normalizers = np.tile(self.normalizers, epochs)
        if weights.size and not weights.all():
            count = [bool(weights[_rows_of(order, ends)].any()) for ends in bounds]
            bounds, normalizers = bounds[count], normalizers[count]
        losses = np.full(len(bounds), np.nan)
        most = max(1, int(CHUNK / (self.table.work * self.most)))
        try:
            for start in range(0, len(bounds), most):
                here = slice(start, start + most)
                done = self._go(order, bounds[here], normalizers[here], losses[here])
                if done < len(losses[here]):
                    bad = start + done
                    state.batch_loss = float(losses[bad])
                    where = first_nonfinite(network, X[_rows_of(order, bounds[bad])])
                    raise FloatingPointError(f"the loss is {state.batch_loss}, {where}")
        except KeyboardInterrupt:  # the whole epochs until then are part of the record
            self.run.end_epochs(_means(losses, normalizers, epochs))
            raise
        state.batch_loss = float(losses[-1])
        rows, weight = _rows_of(order, bounds[-1]), source.sample_weight
        x = take(source.X, rows)
        state.batch = x, take(source.y, rows), weight if weight is None else weight[rows]
        if not np.isfinite(self.params).all():
            raise FloatingPointError(f"weights are not finite, {first_nonfinite(network, x)}")
        return _means(losses, normalizers, epochs)

    def value(self) -> float | None:
        """Compute the loss of all rows, and leave its gradient in the network's ``flat_grads``.

        Returns
        -------
        loss : float or None
            None where that is not possible, or where the loss is not finite.
        """
        source = self.source
        if source is None or not self._prepared(source) or self.rows[1].alpha is not None:
            return None
        assert self.table is not None and self.params is not None
        if self.program is None:
            self.program = self._program_for((kernels.NO_STEP, self.params[np.newaxis]))
        steps, loss = np.zeros((1, 8)), np.empty(1)
        steps[:, 0] = self.most * source.mean_weight
        words, drawn = self.table.draw([self.most])
        self.table.load()
        done = self.program(_NO_ORDER, self.bounds, words, drawn, steps, loss)
        self.table.keep()
        return float(loss[0]) if done else None

    def _prepared(self, source: Any) -> bool:
        """Whether network and data are known to the kernel, as they are now."""
        state = self.run.state
        network = state.network
        now = network, state.loss, state.epoch if self.may_change else 0
        if self.known_for != now:
            rows = self._rows(source)
            if self.known_for[:1] != now[:1]:
                self.table = None
            if not _are_equal(rows, self.rows):
                self.rows, self.program = rows, None
            self.known_for = now
        described = None if self.rows is None else describe(network)
        if not described:
            return False
        params = network.flat_params
        if self.table is None or described != self.table.described or params is not self.params:
            self.table, self.params, self.program = None, params, None
            bounds = [(0, len(self.rows[0]))] if self.whole else source.bounds
            sizes = [stop - start for start, stop in bounds]
            if min(sizes) < 2 and any(isinstance(layer, BatchNorm) for layer, _, _ in described):
                return False
            if not kernels.takes_epochs(network.dtype, max(sizes), _widest_product(described)):
                return False
            self.bounds, self.most = np.array(bounds, np.int64), max(sizes)
            self.normalizers = np.array(sizes) * source.mean_weight
            self.table = tabulate(network, described, self.most)
        return True

    def _rows(self, source: Any) -> tuple[np.ndarray, Tabled, np.ndarray] | None:
        """Return the input, the loss with its targets, and the weights; None where one is odd."""
        network, loss, X = self.run.state.network, self.run.state.loss, source.X
        if not isinstance(loss, Loss):
            return None
        if type(X) is not np.ndarray or mapping_of(X) is not None or X.dtype.kind not in "fiub":
            return None
        if not network.is_built or X.shape[1:] != network.input_shape or len(X.shape) != 2:
            return None
        if not X.size or len(network.output_shape) != 1:
            return None
        if X.dtype != network.dtype and X.size > _FEW:
            return None
        tabled = loss.tabled(source.y, network.output_shape[0], network.dtype)
        if tabled is None:
            return None
        weights = source.sample_weight
        weights = np.empty(0) if weights is None else np.array(weights, np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any():
            return None
        with np.errstate(over="ignore"):
            rows = X.astype(network.dtype, copy=False)
        if rows is not X and np.isinf(rows).any():  # the first layer says it better
            return None
        X = np.require(rows, requirements=["C", "W"])
        return X, tabled, weights

    def _program_for(self, rule: tuple[int, np.ndarray]) -> kernels.Program:
        """Have the kernel prepare for rows, table and a rule."""
        assert self.table is not None and self.params is not None
        (X, tabled, weights), table, network = self.rows, self.table, self.run.state.network
        return kernels.epoch_program(
            X,
            tabled.labels,
            tabled.targets,
            weights,
            table.layers,
            table.numbers,
            self.params,
            network.flat_grads,
            table.running,
            tabled.code,
            tabled.numbers,
            tabled.alpha is not None,
            rule[0],
            table.segments,
            rule[1],
            table.scratch,
            self.most,
        )

    def _go(
        self,
        order: np.ndarray | None,
        bounds: np.ndarray,
        normalizers: np.ndarray,
        losses: np.ndarray,
    ) -> int:
        """Train on some batches; return how many had a finite loss."""
        assert self.table is not None and self.program is not None
        table, state, alpha = self.table, self.run.state, self.rows[1].alpha
        optimizer = state.optimizer
        rows = normalizers.tolist()
        decays = [float(optimizer.weight_decay) if alpha is None else alpha / n for n in rows]
        steps = zip(rows, optimizer.next_steps(decays), strict=True)
        words, drawn = table.draw([stop - start for start, stop in bounds.tolist()])
        done = None
        table.load()
        try:
            done = self.program(
                _NO_ORDER if order is None else order,
                bounds,
                words,
                drawn,
                np.array([(n, *step) for n, step in steps]),
                losses,
            )
        finally:
            if done is None:  # Ctrl-C: each step begins with its loss
                done = int(np.isfinite(losses).sum())
            table.keep()
            optimizer.advance(done)
            state.step += done
        if alpha is not None and optimizer.weight_decay != decays[-1]:
            optimizer.weight_decay = decays[-1]  # a change makes it check its parameters
        if self.run.bar is not None:
            self.run.bar.advance(done)
        return done


def _one_after_the_other(
    source: Any, bounds: np.ndarray, epochs: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Draw the orders of some epochs, as one, and say where their batches are in it."""
    orders = [source.next_order() for _ in range(epochs)]
    if orders[0] is None:
        return None, np.tile(bounds, (epochs, 1))
    starts = np.arange(epochs) * len(orders[0])
    return np.concatenate(orders), (starts[:, None, None] + bounds).reshape(-1, 2)


def _means(losses: np.ndarray, normalizers: np.ndarray, epochs: int) -> list[float]:
    """Return the mean loss of each epoch, of which all batches are done."""
    sums = (normalizers * losses).reshape(epochs, -1).tolist()
    rows_of = normalizers.reshape(epochs, -1).tolist()
    means = [sum(total) / sum(n) for total, n in zip(sums, rows_of, strict=True)]
    return [mean for mean in means if not isnan(mean)]


def _widest_product(described: list[Any]) -> int:
    return max((layer.multiply_adds() for layer, _, _ in described), default=0)


def _are_equal(rows: Any, others: Any) -> bool:
    if rows is None or others is None:
        return rows is others
    (X, loss, weights), (other_X, other_loss, other_weights) = rows, others
    pairs = (X, other_X), (weights, other_weights), *zip(loss, other_loss, strict=True)
    return all(a is b or np.array_equal(a, b) for a, b in pairs)


def _rows_of(order: np.ndarray | None, bounds: np.ndarray) -> Any:
    rows = slice(*bounds.tolist())
    return rows if order is None else order[rows]
