"""The order in which recurrent layers compute the steps of some rows.

Step 0 of every row, the longest row first, then step 1 of those that have one, and so on: the rows
that are left at a step are always the first ones, so the batch shrinks and no step is one that a
row does not have.
"""

from __future__ import annotations

import numpy as np

from layerkit.sequences import Sequences


class Timeline:
    """Where each step of some rows stands in that order.

    Attributes
    ----------
    sizes : ndarray of int
        How many rows have a step t.
    """

    def __init__(self, rows: Sequences) -> None:
        self.n_rows, self.time = len(rows), rows.time
        if self.time is not None:  # equally long: no more than two axes to be exchanged
            self.sizes = np.full(self.time, self.n_rows)
            return
        lengths = rows.lengths
        self._by_length = np.argsort(-lengths, kind="stable")
        rank = np.empty_like(self._by_length)
        rank[self._by_length] = np.arange(self.n_rows)
        ranks = np.repeat(rank, lengths)
        time = np.arange(len(rows.steps)) - np.repeat(rows.offsets[:-1], lengths)
        self.sizes = np.bincount(time)
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self._place = starts[time] + ranks
        self._order = np.empty_like(self._place)
        self._order[self._place] = np.arange(len(time))
        before = np.where(time > 0, self.n_rows + starts[time - 1], 0) + ranks
        self._before = before[self._order]
        self._last = self.n_rows + starts[lengths - 1] + rank

    def ordered(self, steps: np.ndarray) -> np.ndarray:
        """Return the steps of the rows in the order in which they are computed."""
        if self.time is None:
            return steps.take(self._order, axis=0)
        return _exchanged(steps, self.n_rows, self.time)

    def unordered(self, steps: np.ndarray) -> np.ndarray:
        """Put them back where they stood."""
        if self.time is None:
            return steps.take(self._place, axis=0)
        return _exchanged(steps, self.time, self.n_rows)

    def states(self, units: int, dtype: np.dtype, first: np.ndarray | None = None) -> np.ndarray:
        """Return room for the states of all steps, after those before step 0 (zeros, or given)."""
        h = np.empty((self.n_rows + int(self.sizes.sum()), units), dtype)
        h[: self.n_rows] = 0 if first is None else first.take(self._ranked(), axis=0)
        return h

    def before(self, h: np.ndarray) -> np.ndarray:
        """Return the state that each step went on from."""
        if self.time is None:
            return h.take(self._before, axis=0)
        return h[: len(h) - self.n_rows]

    def last(self, h: np.ndarray) -> np.ndarray:
        """Return the state after the last step of each row."""
        return h.take(self._last_steps(), axis=0)

    def at_last(self, values: np.ndarray) -> np.ndarray:
        """Return zeros, shaped like `states`, but for the last step of each row."""
        h = np.zeros((self.n_rows + int(self.sizes.sum()), values.shape[1]), values.dtype)
        h[self._last_steps()] = values
        return h

    def _last_steps(self) -> np.ndarray:
        if self.time is None:
            return self._last
        return self.time * self.n_rows + np.arange(self.n_rows)

    def _ranked(self) -> np.ndarray:
        return self._by_length if self.time is None else np.arange(self.n_rows)


def _exchanged(steps: np.ndarray, n: int, m: int) -> np.ndarray:
    """Return n times m steps as m times n of them."""
    width = steps.shape[1]
    by_other = steps.reshape(n, m, width).swapaxes(0, 1)
    return np.ascontiguousarray(by_other).reshape(n * m, width)
