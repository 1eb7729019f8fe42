"""What forward, backward and infer promise, as checks that raise if a layer breaks it.

test_contract.py runs them on every case, test_mutants.py on layers broken on purpose.
"""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import Case
from errors import error_of
from numpy.testing import assert_allclose, assert_array_equal
from passes import (
    MODES,
    Pass,
    assert_buffers,
    assert_close,
    assert_same,
    buffers_of,
    grad_like,
    restore_buffers,
    run,
    snapshot_of_buffers,
)

from layerkit import check_gradients
from layerkit.shapes import batch_shape

# ---------------------------------------------------------------- shapes and gradients


def check_shapes(case: Case) -> None:
    """What setup declares is what forward gives and backward takes."""
    layer = case.build()
    for training in MODES:
        x = case.sample()
        result = run(layer, x, training)
        assert result.output.shape == (len(x), *layer.output_shape)
        assert result.grad_input.shape == x.shape


def check_gradients_in_both_modes(case: Case) -> None:
    """Every coordinate or direction, to 1e-6, of inputs and parameters."""
    report = check_gradients(
        case.build(), x=case.sample(), tolerance=1e-6, check_input=case.smooth_in_x
    )
    assert report, str(report)


def check_gradients_at_ties(case: Case) -> None:
    """Equal inputs: among the one-sided slopes along any direction, so to one of the tied cells."""
    report = check_gradients(case.build(), x=case.whole_numbers(), max_coordinates=4)
    assert report, str(report)


def check_backward_follows_the_last_forward(case: Case) -> None:
    """Its mode and its input, whatever ran before."""
    layer, x = case.build(), case.sample()
    for training in MODES:
        alone = run(copy.deepcopy(layer), x, training)
        after_other_mode = copy.deepcopy(layer)
        before = snapshot_of_buffers(after_other_mode)
        after_other_mode.forward(case.sample(seed=1), training=not training)
        restore_buffers(after_other_mode, before)
        assert_same(run(after_other_mode, x, training), alone)


def check_backward_ignores_later_buffers(case: Case) -> None:
    """Running statistics that change after forward do not change what forward computed."""
    layer, x = case.build(), case.sample()
    for training in MODES:
        expected = run(copy.deepcopy(layer), x, training)
        other = copy.deepcopy(layer)
        other.reseed(0)
        output = other.forward(x, training=training)
        for _, buffer in buffers_of(other):
            buffer += 1.0
        grad_input = other.backward(grad_like(output))
        assert_same(Pass(output, grad_input, other.flat_grads), expected)


def check_nothing_accumulates(case: Case) -> None:
    layer, x = case.build(), case.sample()
    for training in MODES:
        first = run(layer, x, training)
        assert not np.isnan(first.grads).any()  # as run filled them
        again = layer.backward(grad_like(first.output))
        assert_same(Pass(first.output, again, layer.flat_grads), first)


def check_arguments_are_untouched(case: Case) -> None:
    layer, x = case.build(), case.sample()
    for training in MODES:
        before = x.copy()
        output = layer.forward(x, training=training)
        assert_array_equal(x, before)
        held, grad_output = output.copy(), grad_like(output)
        layer.backward(grad_output)
        assert_array_equal(grad_output, grad_like(output))
        assert_array_equal(x, before)
        assert_array_equal(output, held)


def check_results_are_kept(case: Case) -> None:
    """What a caller holds is not overwritten by later passes."""
    layer = case.build()
    for training in MODES:
        held = run(layer, case.sample(seed=1), training)
        kept = [array.copy() for array in held]
        run(layer, case.sample(seed=2), training)
        layer.infer(case.sample(seed=3))
        for array, before in zip(held, kept, strict=True):
            assert_array_equal(array, before)


# ---------------------------------------------------------------- inputs of all kinds


def check_memory_layouts(case: Case) -> None:
    """Read-only, Fortran-ordered, strided, reversed arrays and lists are the same numbers."""
    layer, x = case.build(), case.sample()
    read_only = x.copy()
    read_only.flags.writeable = False
    strided = np.repeat(x, 2, axis=0)[::2]
    reversed_ = x[::-1].copy()[::-1]
    for training in MODES:
        expected = run(layer, x, training)
        for same in (read_only, np.asfortranarray(x), strided, reversed_, x.tolist()):
            layer.reseed(0)
            output = layer.forward(same, training=training)
            grad_output = np.asfortranarray(grad_like(output))
            grad_output.flags.writeable = False
            grad_input = layer.backward(grad_output)
            assert_close(Pass(output, grad_input, layer.flat_grads), expected)


def check_dtypes_of_inputs(case: Case) -> None:
    """The same numbers in any dtype give the same results, bit by bit."""
    layer, x = case.build(), case.whole_numbers()
    for training in MODES:
        expected = run(layer, x, training)
        for dtype in (np.int8, np.int64, np.float16, np.float32, np.float64, np.dtype(">f8")):
            assert_same(run(layer, x.astype(dtype), training), expected)


def check_one_dtype_throughout(case: Case) -> None:
    x = case.sample()
    for dtype in (np.float32, np.float64):
        layer = case.build(dtype=dtype)
        arrays = [layer.flat_params, layer.flat_grads, layer.infer(x)]
        for training in MODES:
            arrays += run(layer, x, training)
        arrays += [buffer for _, buffer in buffers_of(layer)]
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def check_float32_agrees_with_float64(case: Case) -> None:
    single, double = case.build(dtype=np.float32), case.build()
    x = case.sample().astype(np.float32)
    for training in MODES:
        expected = run(double, x, training)
        assert_close(run(single, x, training), expected, rtol=2e-4)


def check_samples_are_independent(case: Case) -> None:
    """In inference one row gives what it gives in a batch; its gradient too."""
    layer, x = case.build(), case.sample()
    together = run(layer, x, training=False)
    grad_output = grad_like(together.output)
    for i in range(len(x)):
        alone = layer.forward(x[i : i + 1])
        assert_allclose(alone, together.output[i : i + 1], rtol=1e-9, atol=1e-12)
        grad_input = layer.backward(grad_output[i : i + 1])
        assert_allclose(grad_input, together.grad_input[i : i + 1], rtol=1e-9, atol=1e-12)


def check_smallest_batches(case: Case) -> None:
    """One row and none: gradients are finite, and zero where there is nothing to learn from."""
    layer = case.build()
    for training in MODES:
        for n_samples in (0, 1):
            if training and n_samples < case.least_rows:
                continue
            x = case.sample(n_samples)
            before = snapshot_of_buffers(layer)
            result = run(layer, x, training)
            assert result.output.shape == (n_samples, *layer.output_shape)
            assert result.grad_input.shape == x.shape
            assert np.isfinite(result.grads).all() and np.isfinite(result.grad_input).all()
            if n_samples == 0:
                assert not result.grads.any()
                assert_buffers(layer, before)


# ---------------------------------------------------------------- inference


def check_infer_is_forward(case: Case) -> None:
    layer, x = case.build(), case.sample()
    assert_array_equal(layer.infer(x), layer.forward(x, training=False))


def check_infer_leaves_no_trace(case: Case) -> None:
    """No cache, no change of state, and a forward before it keeps its backward."""
    layer, x = case.build(), case.sample()
    before = pickle.dumps(layer)
    output = layer.infer(x)
    assert pickle.dumps(layer) == before
    for _, inner in layer.walk():
        assert "cache" not in vars(inner) and inner._forward_shape is None
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        layer.backward(output)

    expected = run(layer, x, training=False)
    layer.forward(x)
    layer.infer(case.sample(seed=1))
    assert_array_equal(layer.backward(grad_like(expected.output)), expected.grad_input)


def check_infer_from_many_threads(case: Case) -> None:
    layer = case.build()
    batches = [case.sample(seed=seed) for seed in range(16)]
    expected = [layer.infer(x) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        for actual, alone in zip(pool.map(layer.infer, batches), expected, strict=True):
            assert_array_equal(actual, alone)


def check_inference_keeps_buffers(case: Case) -> None:
    layer = case.build()
    before = snapshot_of_buffers(layer)
    run(layer, case.sample(), training=False)
    assert_buffers(layer, before)


# ---------------------------------------------------------------- what is refused


def check_backward_needs_forward(case: Case) -> None:
    layer = case.build()
    grad_output = np.zeros((2, *layer.output_shape))
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        layer.backward(grad_output)
    layer.forward(case.sample())
    layer.clear_cache()
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        layer.backward(grad_output)


def check_wrong_shapes_are_named(case: Case) -> None:
    layer, x = case.build(), case.sample()
    expected = run(layer, x, training=False)
    for wrong in (np.zeros((2, *case.input_shape, 1)), np.zeros((2, *case.input_shape[1:], 77))):
        for call in (layer.forward, layer.infer):
            message = error_of(ValueError, call, wrong)
            assert type(layer).__name__ in message
            assert batch_shape(case.input_shape) in message and str(wrong.shape) in message
    wrong = np.zeros((3, *layer.output_shape, 1))
    message = error_of(ValueError, layer.backward, wrong)
    assert message.startswith(f"in {layer.where}: backward expects")
    assert str(expected.output.shape) in message and str(wrong.shape) in message
    # A refused call leaves the last forward and its gradients alone.
    assert_array_equal(layer.backward(grad_like(expected.output)), expected.grad_input)


def check_without_input_grad(case: Case) -> None:
    """Asking for no dL/dx changes no other gradient."""
    layer, x = case.build(), case.sample()
    for training in MODES:
        expected = run(copy.deepcopy(layer), x, training)
        spared = copy.deepcopy(layer)
        spared.needs_input_grad = False
        result = run(spared, x, training)
        assert_array_equal(result.grads, expected.grads)
        spared.needs_input_grad = True
        assert_array_equal(spared.backward(grad_like(expected.output)), expected.grad_input)


# ---------------------------------------------------------------- noise


def check_noise_is_unbiased(case: Case) -> None:
    """The mean over many draws of training noise is the output in inference."""
    layer, x = case.build(), case.sample(1)
    draws = layer.forward(np.repeat(x, 4000, axis=0), training=True)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert draws.std(axis=0).max() > 0
    assert (np.abs(draws.mean(axis=0) - layer.infer(x)[0]) < 5 * error + 1e-12).all()
