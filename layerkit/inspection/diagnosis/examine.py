"""`health`: one look at a network and its data."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerkit.inspection.diagnosis.evidence import Course, Evidence
from layerkit.inspection.diagnosis.report import HealthReport, report_on
from layerkit.inspection.diagnosis.subject import subject_of
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import is_size
from layerkit.training import History


def health(
    network_or_estimator: Any,
    X: Any,
    y: Any,
    loss: Loss | str = "auto",
    *,
    sample_weight: Any = None,
    validation_data: Any = None,
    history: History | None = None,
    optimizer: Any = None,
    batch_size: int | None = None,
    max_rows: int = 10_000,
) -> HealthReport:
    """Measure a network on its data and say what is wrong, why, and what to do.

    Works before training (a network that is not built is built on a copy) and after it; leaves the
    network, its caches and its streams of noise as they are. Whatever else is known makes more
    verdicts possible: with an optimizer the learning rate is tried out on a copy, with a history or
    validation data the fit is judged. An estimator brings all of that.

    Parameters
    ----------
    network_or_estimator : Layer or estimator
        Or a Pipeline that ends in such an estimator.
    X, y : array-like
        The rows it is (to be) trained on, in their original order.
    loss : Loss or "auto", default="auto"
        "auto" is the estimator's, else cross-entropy for whole numbers and squared error for
        others.
    sample_weight : array-like of shape (n_samples,), optional
        Those of training.
    validation_data : (X, y) or (X, y, sample_weight), optional
        Rows that are not trained on.
    history : History, optional
        What `train` returned.
    optimizer : Optimizer, optional
        With the learning rate that is (to be) used; not changed.
    batch_size : int, optional
        That of training; BatchNorm is judged by it.
    max_rows : int, default=10_000
        Look at no more rows than this, drawn at random.

    Returns
    -------
    report : HealthReport
        Prints as text, shows as tables in a notebook; ``report.verdicts`` is the list.

    Raises
    ------
    TypeError
        If it is neither a network nor an estimator.
    ValueError
        If X, y and the network do not fit together.

    See Also
    --------
    HealthMonitor : The same while training, knowing the beginning and every loss.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, ReLU, Sequential
    >>> from layerkit.inspection import health
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(1000, 300, (200, 5))
    >>> report = health(Sequential([Dense(16), ReLU(), Dense(2)]), X, X[:, 0] > 1000)
    >>> first = report.verdicts[0]
    >>> first.name, first.layer
    ('inputs not scaled', 'inputs')
    """
    for name, value, ok, expected in (
        ("loss", loss, loss == "auto" or isinstance(loss, Loss), '"auto" or a layerkit loss'),
        ("max_rows", max_rows, is_size(max_rows), "a positive integer"),
        ("batch_size", batch_size, batch_size is None or is_size(batch_size),
         "None or a positive integer"),
        ("history", history, history is None or isinstance(history, History),
         "None or what train returned"),
        ("optimizer", optimizer, optimizer is None or isinstance(optimizer, Optimizer | LBFGS),
         "None or a layerkit optimizer"),
        ("validation_data", validation_data, validation_data is None or _is_data(validation_data),
         "None, (X, y) or (X, y, sample_weight)"),
    ):  # fmt: skip
        if not ok:
            raise ValueError(f"{name} must be {expected}, got {_shortened(value)}")
    subject = subject_of(
        network_or_estimator,
        (X, y, sample_weight),
        validation_data and (*validation_data, None)[:3],
        loss,
        {"history": history, "optimizer": optimizer, "batch_size": batch_size},
    )
    if len(subject.rows) > max_rows:
        kept = np.random.default_rng(0).choice(len(subject.rows), max_rows, replace=False)
        subject.rows = subject.rows.take(np.sort(kept))
    course = None
    if subject.history is not None and (len(subject.history) or subject.history.stopped):
        course = Course(history=subject.history)
        course.losses = course.column("loss")
    return report_on(Evidence(subject, course=course))


def _is_data(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) in (2, 3)


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 80 else f"{shown[:75]} ..."
