"""The record of a training run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np


class History:
    """Record of a training run: one row per epoch.

    Attributes
    ----------
    rows : list of dict
        ``epoch`` (from 1), ``loss`` (mean over the epoch's batches, in training mode),
        ``validation_loss``, ``validation_score`` (where there is such data), ``learning_rate`` (of
        the epoch's last step) and ``seconds`` (of the epoch, validation included; pickles leave
        them out, so that equal fits have equal hashes, model files keep them).
    best_epoch : int or None
        The epoch whose weights the network has now, where validation data chose one.
    stopped : str
        Why training ended before its last epoch; empty if it did not.

    Examples
    --------
    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"].tolist(), len(history)
    ([0.5, 0.25], 2)
    >>> print(history)
    epoch    loss
        1     0.5
        2    0.25
    """

    def __init__(self, rows: Iterable[dict[str, float]] = ()) -> None:
        self.rows = list(rows)
        self.best_epoch: int | None = None
        self.stopped = ""

    @property
    def columns(self) -> list[str]:
        """Names of what was recorded."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, column: str) -> np.ndarray:
        if column not in self.columns:
            raise KeyError(f"no column {column!r} in the history, only {', '.join(self.columns)}")
        return np.array([row.get(column, np.nan) for row in self.rows])

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)  # so that `pandas.DataFrame(history)` works

    def then(self, later: History) -> History:
        """Join two records.

        Parameters
        ----------
        later : History
            What came after this one; its epochs are counted on.

        Returns
        -------
        history : History
            A new record of both.
        """
        n = len(self)
        joined = History([*self.rows, *({**row, "epoch": row["epoch"] + n} for row in later.rows)])
        joined.best_epoch = None if later.best_epoch is None else later.best_epoch + n
        joined.stopped = later.stopped
        return joined

    @property
    def state(self) -> dict[str, Any]:
        """All of it as plain values and arrays, to be stored; settable."""
        columns = {}
        for name in self.columns:
            where = [i for i, row in enumerate(self.rows) if name in row]
            columns[name] = [np.array(where), np.array([self.rows[i][name] for i in where])]
        own = {"best_epoch": self.best_epoch, "stopped": self.stopped}
        return {"n_rows": len(self.rows), "columns": columns} | own

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        rows: list[dict[str, float]] = [{} for _ in range(state["n_rows"])]
        for name, (where, values) in state["columns"].items():
            for i, value in zip(where.tolist(), values.tolist(), strict=True):
                rows[i][name] = value
        self.rows, self.best_epoch, self.stopped = rows, state["best_epoch"], state["stopped"]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out how long it took: equal runs have equal pickles, and so equal hashes."""
        rows = [{name: row[name] for name in row if name != "seconds"} for row in self.rows]
        return vars(self) | {"rows": rows}

    def __copy__(self) -> History:
        twin = History()
        vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> History:
        twin = History()
        twin.state = self.state
        return twin

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        widths = [max(len(name), 7) for name in self.columns]
        lines = ["  ".join(n.rjust(w) for n, w in zip(self.columns, widths, strict=True))]
        for row in self.rows:
            values = (row.get(name, np.nan) for name in self.columns)
            cells = zip(values, widths, strict=True)
            lines.append("  ".join(f"{value:.5g}".rjust(width) for value, width in cells))
        return "\n".join(line[2:] if len(self.columns) else line for line in lines)

    __repr__ = __str__
