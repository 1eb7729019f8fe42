"""What every loss promises, as checks of one loss object on the data of one case.

They raise AssertionError, so that a suite of mutants can show that each check is able to fail.
"""

import pickle
import warnings

import numpy as np
import pytest
from loss_cases import LossCase, N
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from layerkit.losses import Loss

WEIGHTS = {
    "none": None,
    "random": np.array([0.3, 1.7, 0.9, 2.2, 0.1, 1.3]),
    "zeros": np.array([0.0, 1.5, 0.0, 2.0, 1.0, 0.0]),
}


def gradient(loss: Loss, y_pred, y_true, *args, **kwargs) -> np.ndarray:
    loss.forward(y_pred, y_true, *args, **kwargs)
    return loss.backward()


def central_differences(loss: Loss, y_pred, y_true, *args, h=1e-5, **kwargs) -> np.ndarray:
    slopes = np.empty_like(y_pred)
    for i in np.ndindex(y_pred.shape):
        up, down = y_pred.copy(), y_pred.copy()
        up[i] += h
        down[i] -= h
        above, below = (loss.forward(p, y_true, *args, **kwargs) for p in (up, down))
        slopes[i] = (above - below) / (up[i] - down[i])
    return slopes


def check_backward_is_the_derivative_of_forward(loss: Loss, case: LossCase) -> None:
    y_pred, y_true = case.data()
    for name, weights in WEIGHTS.items():
        for normalizer in (None, 7.5):
            expected = central_differences(loss, y_pred, y_true, weights, normalizer)
            got = gradient(loss, y_pred, y_true, weights, normalizer)
            assert got.shape == y_pred.shape
            assert_allclose(got, expected, rtol=1e-6, atol=1e-9, err_msg=f"weights: {name}")


def check_reference(loss: Loss, case: LossCase) -> None:
    """Value and gradient are those of PyTorch."""
    torch = pytest.importorskip("torch")
    y_pred, y_true = case.data()
    for weights in WEIGHTS.values():
        w = torch.tensor(np.ones(N) if weights is None else weights)
        p, t = torch.tensor(y_pred, requires_grad=True), torch.tensor(y_true)
        per_sample = case.reference(torch.nn.functional, p, t).reshape(N, -1).mean(1)
        expected = (w * per_sample).sum() / w.sum()
        expected.backward()
        assert_allclose(loss.forward(y_pred, y_true, weights), expected.item(), rtol=1e-9)
        assert_allclose(loss.backward(), p.grad.numpy(), rtol=1e-9, atol=1e-11)


def check_outputs_are_averaged(loss: Loss, case: LossCase) -> None:
    if not case.elementwise:
        return
    y_pred, y_true = (a.reshape(N, -1) for a in case.data())
    columns = [
        loss.forward(p[:, None], t[:, None]) for p, t in zip(y_pred.T, y_true.T, strict=True)
    ]
    assert_allclose(loss.forward(*case.data()), np.mean(columns), rtol=1e-12)


def check_samples_are_weighted(loss: Loss, case: LossCase) -> None:
    """Rows of weight w count w times: alone, doubled and left out."""
    y_pred, y_true = case.data()
    alone = [loss.forward(y_pred[[i]], y_true[[i]]) for i in range(N)]
    assert_allclose(loss.forward(y_pred, y_true), np.mean(alone), rtol=1e-12)
    w = WEIGHTS["random"]
    assert_allclose(loss.forward(y_pred, y_true, w), np.average(alone, weights=w), rtol=1e-12)

    times = np.array([2, 1, 0, 3, 0, 1])
    index = np.repeat(np.arange(N), times)
    assert_allclose(
        loss.forward(y_pred, y_true, times),
        loss.forward(y_pred[index], y_true[index]),
        rtol=1e-12,
    )
    weighted = gradient(loss, y_pred, y_true, times)
    repeated = np.zeros_like(y_pred)
    np.add.at(repeated, index, gradient(loss, y_pred[index], y_true[index]))
    assert_allclose(weighted, repeated, rtol=1e-12, atol=1e-15)


def check_zero_weight_is_no_row(loss: Loss, case: LossCase) -> None:
    """Even where the prediction of that row ran away."""
    y_pred, y_true = case.data()
    w = WEIGHTS["zeros"]
    wild = y_pred.copy()
    wild[w == 0] = np.inf
    assert loss.forward(wild, y_true, w) == loss.forward(y_pred, y_true, w)
    assert_array_equal(gradient(loss, wild, y_true, w), gradient(loss, y_pred, y_true, w))


def check_target_of_zero_weight_may_be_anything(loss: Loss, case: LossCase) -> None:
    y_pred, y_true = case.data()
    w = WEIGHTS["zeros"]
    unknown = y_true.copy()
    unknown[w == 0] = np.nan if y_true.dtype.kind == "f" else -99
    for dtype, rtol in ((np.float32, 1e-5), (np.float64, 1e-12)):
        p = y_pred.astype(dtype)
        value, slope = loss.forward(p, y_true, w), loss.backward()
        # not bit by bit: a loss in one pass leaves such targets to its formulas
        assert_allclose(loss.forward(p, unknown, w), value, rtol=rtol)
        assert_allclose(loss.backward(), slope, rtol=rtol, atol=rtol / 100)


def check_normalizer(loss: Loss, case: LossCase) -> None:
    """Batches with a common normalizer add up to the loss and gradient of all data."""
    y_pred, y_true = case.data()
    w = WEIGHTS["random"]
    total = w.sum()
    batches = [slice(0, 2), slice(2, N)]
    parts = [loss.forward(y_pred[b], y_true[b], w[b], normalizer=total) for b in batches]
    assert_allclose(sum(parts), loss.forward(y_pred, y_true, w), rtol=1e-12)
    slopes = [gradient(loss, y_pred[b], y_true[b], w[b], normalizer=total) for b in batches]
    whole = gradient(loss, y_pred, y_true, w)
    assert_allclose(np.concatenate(slopes), whole, rtol=1e-12, atol=1e-15)

    nothing = np.zeros(N)
    assert loss.forward(y_pred, y_true, nothing, normalizer=total) == 0
    assert_array_equal(loss.backward(), np.zeros_like(y_pred))
    assert_refused(loss, y_pred, y_true, nothing, names="sample_weight is zero for all samples")
    assert_refused(loss, y_pred, y_true, w, 0.0, names="normalizer must be positive, got 0.0")
    assert_refused(loss, y_pred, y_true, w, np.nan, names="normalizer must be positive, got nan")


def check_dtypes(loss: Loss, case: LossCase) -> None:
    """float32 stays, and its numbers are right; all else is computed in float64."""
    y_pred, y_true = case.data()
    single = y_pred.astype(np.float32)
    for weights in WEIGHTS.values():
        value = loss.forward(single, y_true, weights)
        assert type(value) is float
        assert loss.backward().dtype == np.float32
        assert loss.inverse_link(single).dtype == np.float32
        assert_allclose(value, loss.forward(y_pred, y_true, weights), rtol=1e-4)
        double = gradient(loss, y_pred, y_true, weights)
        assert double.dtype == np.float64
        assert_allclose(gradient(loss, single, y_true, weights), double, rtol=1e-4, atol=1e-6)
    assert gradient(loss, y_pred.tolist(), y_true.tolist()).dtype == np.float64
    if case.name.startswith("NegativeLog"):
        return
    assert gradient(loss, y_pred.astype(int), y_true).dtype == np.float64


def check_inputs_untouched(loss: Loss, case: LossCase) -> None:
    """Read-only, Fortran-ordered and strided arrays serve as well, and keep their numbers."""
    y_pred, y_true = case.data()
    w = WEIGHTS["random"].copy()
    value, slope = loss.forward(y_pred, y_true, w), loss.backward()
    link = loss.inverse_link(y_pred)
    fresh_pred, fresh_true = case.data()
    assert_array_equal(y_pred, fresh_pred)
    assert_array_equal(y_true, fresh_true)
    assert_array_equal(w, WEIGHTS["random"])
    for variant in (read_only, np.asfortranarray, strided):
        p, t, v = variant(y_pred), variant(y_true), variant(w)
        # not bit by bit: NumPy sums in the order of memory
        assert_allclose(loss.forward(p, t, v), value, rtol=1e-13)
        assert_allclose(loss.backward(), slope, rtol=1e-13, atol=1e-15)
        assert_allclose(loss.inverse_link(p), link, rtol=1e-13)


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a: np.ndarray) -> np.ndarray:
    return np.repeat(a, 2, axis=0)[::2]


def check_gradient_is_fresh(loss: Loss, case: LossCase) -> None:
    """The caller's array is never overwritten, nor does overwriting it disturb the loss."""
    y_pred, y_true = case.data()
    first = gradient(loss, y_pred, y_true)
    kept = first.copy()
    gradient(loss, *case.data(seed=1))
    assert_array_equal(first, kept)
    again = gradient(loss, y_pred, y_true)
    again[...] = 99
    assert_array_equal(loss.backward(), kept)
    assert_array_equal(y_pred, case.data()[0])


def check_extreme_logits(loss: Loss, case: LossCase) -> None:
    """Finite, without overflow on the way, at ±1e4 in float32 and float64."""
    if not case.finite_at_1e4:
        return
    y_pred, y_true = case.data()
    for dtype in (np.float32, np.float64):
        for extreme in (
            np.sign(y_pred) * 1e4,
            np.full_like(y_pred, 1e4),
            np.full_like(y_pred, -1e4),
        ):
            p = extreme.astype(dtype)
            assert np.isfinite(loss.forward(p, y_true))
            assert np.isfinite(loss.backward()).all()
            t = loss.prepare_targets(p, y_true)
            try:
                with np.errstate(all="raise", under="ignore"):
                    loss.value(p, t)
                    loss.derivative(p, t)
            except FloatingPointError as error:
                raise AssertionError(str(error)) from error


def check_nan_passes(loss: Loss, case: LossCase) -> None:
    """A NaN prediction gives a NaN loss and gradient, without a warning or an error."""
    y_pred, y_true = case.data()
    y_pred[(1,) + (0,) * (y_pred.ndim - 1)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(loss.forward(y_pred, y_true))
        assert np.isnan(loss.backward()).any() or case.name.startswith("NegativeLog")  # linear
        assert np.isnan(loss.inverse_link(y_pred)).any()


def check_best_prediction(loss: Loss, case: LossCase) -> None:
    if case.best is None:
        return
    _, y_true = case.data()
    value = loss.forward(case.best(y_true), y_true)
    assert np.abs(loss.backward()).max() < 1e-9
    if case.zero_at_best:
        assert abs(value) < 1e-9


def check_inverse_link(loss: Loss, case: LossCase) -> None:
    y_pred, _ = case.data()
    assert_allclose(loss.inverse_link(y_pred), case.inverse_link(y_pred), rtol=1e-12)
    assert_allclose(loss.inverse_link(y_pred.tolist()), case.inverse_link(y_pred), rtol=1e-12)


def check_refusals(loss: Loss, case: LossCase) -> None:
    """Wrong shapes, weights and targets are refused by name, and leave no gradient behind."""
    y_pred, y_true = case.data()

    def refuse(*args, names):
        loss.forward(y_pred, y_true)
        assert_refused(loss, *args, names=names)
        assert_no_backward(loss)

    for wrong in (y_true[:-1], y_true[..., None, None], y_true[None], y_true[0]):
        refuse(y_pred, wrong, names=("y_pred", "y_true", y_pred.shape, wrong.shape))
    none = "y_pred has no samples, its shape is"
    refuse(y_pred[:0], y_true[:0], names=f"{none} {y_pred[:0].shape}")
    refuse(1.0, 1.0, names=f"{none} ()")

    ones = np.ones(N)
    for wrong in (ones[:-1], ones[:, None], 1.0, np.ones_like(y_pred[..., None])):
        refuse(y_pred, y_true, wrong, names=("sample_weight", np.shape(wrong)))
    for value in (-1.0, np.nan, np.inf):
        wrong = ones.copy()
        wrong[2] = value
        refuse(y_pred, y_true, wrong, names=("sample_weight", value))

    if y_true.dtype.kind == "f":
        for value in (np.nan, np.inf):
            wrong = y_true.copy()
            wrong[2] = value
            refuse(y_pred, wrong, names=("y_true must be", value))


def assert_refused(loss: Loss, *args, names: str | tuple = ()) -> None:
    """Hold the whole message to a text, or see that it names these."""
    try:
        loss.forward(*args)
    except ValueError as error:
        message = str(error)
    else:
        raise AssertionError(f"{loss!r} accepted {args}")
    assert repr(loss) in message
    if isinstance(names, str):
        assert message == f"{loss!r}: {names}"
        return
    for name in names:
        assert str(name) in message, f"{name} is missing in: {message}"


def assert_no_backward(loss: Loss) -> None:
    try:
        loss.backward()
    except RuntimeError as error:
        message = str(error)
    else:
        raise AssertionError("backward without forward")
    assert "backward needs a forward" in message


def check_object(loss: Loss, case: LossCase) -> None:
    """Clones, pickles without the data, and says what it is."""
    assert_no_backward(loss)
    y_pred, y_true = case.data()
    fresh = pickle.dumps(loss)
    value, slope = loss.forward(y_pred, y_true), loss.backward()
    assert pickle.dumps(loss) == fresh
    for twin in (clone(loss), pickle.loads(fresh)):
        assert type(twin) is type(loss)
        assert twin.get_params() == loss.get_params()
        assert repr(twin) == repr(loss)
        assert twin.forward(y_pred, y_true) == value
        assert_array_equal(twin.backward(), slope)


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]
