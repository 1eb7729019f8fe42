"""The contract of a layer as checks: each takes a case and raises if the layer breaks its promise.

test_contract.py runs all of them on every case, test_mutants.py on layers broken on purpose.
"""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pytest
from cases import Case
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import layerkit
from layerkit import Dense, Residual, Sequential, check_gradients
from layerkit.layer import Layer, batch_shape

MODES = (False, True)


class Pass(NamedTuple):
    """What one forward and backward gave."""

    output: np.ndarray
    grad_input: np.ndarray
    grads: np.ndarray


def run(network: Layer, x: np.ndarray, training: bool) -> Pass:
    """One forward and backward under a fixed stream of noise."""
    network.reseed(0)
    return run_without_reseeding(network, x, training)


def run_without_reseeding(network: Layer, x: np.ndarray, training: bool) -> Pass:
    network.flat_grads.fill(np.nan)  # what backward forgets to write must not look right
    output = network.forward(x, training=training)
    grad_input = network.backward(grad_like(output))
    return Pass(output, grad_input, network.flat_grads.copy())


def grad_like(output: np.ndarray, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(output.shape).astype(output.dtype)


def assert_same(actual: Pass, expected: Pass) -> None:
    for name, a, b in zip(Pass._fields, actual, expected, strict=True):
        assert_array_equal(a, b, err_msg=name)


def assert_close(actual: Pass, expected: Pass, rtol: float = 1e-9) -> None:
    for name, a, b in zip(Pass._fields, actual, expected, strict=True):
        assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=name)


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
        assert inner._cache is None and inner._forward_shape is None
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


def error_of(kind: type[Exception], call: Callable, argument: object) -> str:
    with pytest.raises(kind) as raised:
        call(argument)
    return str(raised.value)


# ---------------------------------------------------------------- copies


def check_deepcopy(case: Case) -> None:
    layer = case.build()
    assert_independent_copy(copy.deepcopy(layer), layer, case)


def check_pickle(case: Case) -> None:
    layer = case.build()
    run(layer, case.sample(), training=False)
    assert_independent_copy(pickle.loads(pickle.dumps(layer)), layer, case)


def check_joblib_file(case: Case) -> None:
    layer = case.build()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layer.joblib")
        joblib.dump(layer, path)
        for mmap_mode in (None, "r"):
            assert_independent_copy(joblib.load(path, mmap_mode=mmap_mode), layer, case)


def assert_independent_copy(twin: Layer, layer: Layer, case: Case) -> None:
    """Same numbers in vectors of its own, to which its views are bound."""
    assert type(twin) is type(layer)
    assert twin.layout == layer.layout
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        twin.backward(np.zeros((1, *twin.output_shape)))
    before = snapshot_of_buffers(layer), layer.flat_params.copy(), layer.flat_grads.copy()
    for training in MODES:
        expected = run(copy.deepcopy(layer), case.sample(), training)
        assert_same(run(copy.deepcopy(twin), case.sample(), training), expected)
    assert_views_cover_vectors(twin)
    run(twin, case.sample(), training=True)
    twin.flat_params[...] = 0.5
    for slot in twin.layout:
        assert (param_at(twin, slot.path) == 0.5).all()
    assert_buffers(layer, before[0])
    assert_array_equal(layer.flat_params, before[1])
    assert_array_equal(layer.flat_grads, before[2])


def check_pickle_does_not_grow(case: Case) -> None:
    """No activation, gradient or work buffer is saved: only a stream that has begun may be new."""
    layer = case.build()
    before = len(pickle.dumps(layer))
    run(layer, case.sample(300), training=True)
    layer.forward(case.sample(300), training=True)
    begun = sum(inner._rng is not None for _, inner in layer.walk())
    assert len(pickle.dumps(layer)) <= before + 16 + 600 * begun


def check_worker_process(case: Case) -> None:
    layer, x = case.build(), case.sample()
    [actual] = joblib.Parallel(n_jobs=2)([joblib.delayed(layer.infer)(x)])
    assert_array_equal(actual, layer.infer(x))


# ---------------------------------------------------------------- hyper-parameters


def check_clone(case: Case) -> None:
    """sklearn.clone gives an unbuilt layer with the same hyper-parameters and frozen parts."""
    layer = case.build() if all(trainable_flags(case.make())) else case.make()
    twin = clone(layer)
    assert not any(inner.is_built for _, inner in twin.walk())
    assert repr(twin) == repr(layer)
    assert list(twin.get_params()) == list(layer.get_params())
    assert trainable_flags(twin) == trainable_flags(layer)
    assert_same_function(twin, case)


def check_params_round_trip(case: Case) -> None:
    layer = case.make()
    flat = {
        name: value for name, value in layer.get_params().items() if not isinstance(value, Layer)
    }
    assert layer.set_params(**layer.get_params()) is layer
    assert layer.set_params(**flat) is layer
    assert repr(layer) == repr(case.make())
    assert_same_function(layer, case)
    message = error_of(ValueError, lambda name: layer.set_params(**{name: 1}), "no_such_thing")
    assert "no_such_thing" in message and type(layer).__name__ in message


def check_repr_is_code(case: Case) -> None:
    layer = case.make()
    namespace = vars(layerkit) | vars(layerkit.initializers)
    again = eval(repr(layer), dict(namespace))
    assert repr(again) == repr(layer)
    for (_, inner), flag in zip(again.walk(), trainable_flags(layer), strict=True):
        inner.trainable = flag  # walk goes from the outside in, so the inner flags win
    assert_same_function(again, case)


def assert_same_function(twin: Layer, case: Case) -> None:
    """Built from one seed, both compute the same."""
    original = case.make().build(case.input_shape, random_state=5, dtype=np.float64)
    twin.build(case.input_shape, random_state=5, dtype=np.float64)
    assert_same(run(twin, case.sample(), True), run(original, case.sample(), True))


def trainable_flags(layer: Layer) -> list[bool]:
    return [inner.trainable for _, inner in layer.walk()]


# ---------------------------------------------------------------- seeds and building


def check_seeds(case: Case) -> None:
    """One seed, one network; another seed, another one; the global state is left alone."""
    makers = (
        lambda seed: seed,
        np.random.default_rng,
        np.random.RandomState,
        np.random.SeedSequence,
    )
    before = global_random_state()
    for random_state in makers:
        first, again, other = (trained_once(case, random_state(seed)) for seed in (3, 3, 4))
        assert_array_equal(first, again)
        if case.noise or any(slot.decay for slot in case.build().layout):
            assert not np.array_equal(first, other)
    assert_array_equal(global_random_state(), before)


def global_random_state() -> np.ndarray:
    return np.random.get_state()[1].copy()  # noqa: NPY002, to see that nobody uses it


def trained_once(case: Case, random_state: object) -> np.ndarray:
    """Everything that one training pass of a fresh network gives, as one vector."""
    layer = case.make().build(case.input_shape, random_state=random_state, dtype=np.float64)
    output = layer.forward(case.sample(), training=True)
    grad_input = layer.backward(grad_like(output))
    return np.concatenate([layer.flat_params, layer.flat_grads, output.ravel(), grad_input.ravel()])


def check_views_cover_vectors(case: Case) -> None:
    assert_views_cover_vectors(case.build())


def assert_views_cover_vectors(layer: Layer) -> None:
    """Params and grads are views of two contiguous vectors, and the layout says where."""
    vectors = layer.flat_params, layer.flat_grads
    slots = layer.layout
    assert len({slot.path for slot in slots}) == len(slots)
    assert [slot.slice.start for slot in slots] == [0, *(slot.slice.stop for slot in slots)][:-1]
    assert all(v.shape == (layer.n_params,) and v.flags.c_contiguous for v in vectors)
    assert sum(slot.slice.stop - slot.slice.start for slot in slots) == layer.n_params
    for slot in slots:
        assert slot.slice.stop - slot.slice.start == np.prod(slot.shape)
        for vector, view in zip(vectors, views_at(layer, slot.path), strict=True):
            assert view.shape == slot.shape and view.flags.writeable
            if view.size:
                part = vector[slot.slice]
                assert np.shares_memory(view, part)
                assert view.ctypes.data == part.ctypes.data and view.flags.c_contiguous
    assert {slot.path for slot in slots if not slot.trainable} == frozen_paths(layer)


def views_at(layer: Layer, path: str) -> tuple[np.ndarray, np.ndarray]:
    owner, _, name = path.rpartition(".")
    inner = dict(layer.walk())[owner]
    return inner.params[name], inner.grads[name]


def param_at(layer: Layer, path: str) -> np.ndarray:
    return views_at(layer, path)[0]


def frozen_paths(layer: Layer) -> set[str]:
    return {
        f"{path}.{name}".strip(".")
        for path, inner in layer.walk()
        for name in inner.params
        if not inner.trainable
    }


def check_rebuild_must_be_asked_for(case: Case) -> None:
    layer, x = case.build(), case.sample()
    if layer.n_params:
        before = run(layer, x, training=False)
        with pytest.raises(RuntimeError, match="already built"):
            layer.build(case.input_shape)
        assert_same(run(layer, x, training=False), before)
    layer.build(case.input_shape, random_state=5, dtype=np.float64, rebuild=True)
    fresh = case.make().build(case.input_shape, random_state=5, dtype=np.float64)
    assert_same(run(layer, x, training=False), run(fresh, x, training=False))
    assert_views_cover_vectors(layer)


def check_failed_build_changes_nothing(case: Case) -> None:
    """A layer further down the chain refuses: this one stays unbuilt, or built as it was."""
    unbuilt, built = case.make(), case.build()
    before = run(built, case.sample(), training=False)
    for layer in (unbuilt, built):
        state = [dict(vars(inner)) for _, inner in layer.walk()]
        with pytest.raises(ValueError, match="units must be"):
            Sequential([layer, Dense(0)]).build(case.input_shape, rebuild=True)
        assert [dict(vars(inner)) for _, inner in layer.walk()] == state
    assert_same(run(built, case.sample(), training=False), before)


def check_one_instance_one_place(case: Case) -> None:
    layer = case.make()
    with pytest.raises(ValueError, match=r"the same .* instance stands at 'layers.0' and at"):
        Sequential([layer, layer]).build(case.input_shape)


# ---------------------------------------------------------------- frozen, wrapped, summarised


def check_frozen(case: Case) -> None:
    """No parameter gradient, statistics at rest and in use; the gradient still flows through."""
    layer, x = case.build(), case.sample()
    layer.trainable = False
    assert not any(slot.trainable for slot in layer.layout)
    before, params = snapshot_of_buffers(layer), layer.flat_params.copy()
    result = run(layer, x, training=True)
    assert not result.grads.any()
    assert_buffers(layer, before)
    assert_array_equal(layer.flat_params, params)

    thawed = case.build()
    thawed.trainable = True
    as_trained = run(thawed, x, training=not before)  # frozen statistics: the inference function
    assert_allclose(result.grad_input, as_trained.grad_input, rtol=1e-12)
    assert_allclose(result.output, as_trained.output, rtol=1e-12)


def check_inside_containers(case: Case) -> None:
    """Wrapped in Sequential or Residual a layer computes, and learns, what it does alone."""
    x = case.sample()
    wrappers = [lambda inner: Sequential([Sequential([inner])])]
    if case.build().output_shape == case.input_shape and x.dtype.kind == "f":
        wrappers.append(Residual)
    for wrap in wrappers:
        for training in MODES:
            alone, inside = case.build(), case.make()
            network = wrap(inside).build(case.input_shape, dtype=np.float64)
            network.flat_params[...] = alone.flat_params
            restore_buffers(network, snapshot_of_buffers(alone))
            inside.reseed(0)
            expected = run(alone, x, training)
            output, grad_input, grads = run_without_reseeding(network, x, training)
            if wrap is Residual:
                output, grad_input = output - x, grad_input - grad_like(output)
            assert_close(Pass(output, grad_input, grads), expected)


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


def check_summary(case: Case) -> None:
    """Before build it says what it says after, and the numbers are those of the network."""
    unbuilt = case.make()
    before = unbuilt.summary(case.input_shape)
    assert not any(inner.is_built or inner._declared for _, inner in unbuilt.walk())
    layer = case.build()
    after = layer.summary()
    assert str(before) == str(after)
    assert before._repr_html_() == after._repr_html_()
    assert after.n_params == layer.n_params
    assert after.multiply_adds == layer.multiply_adds()
    trainable = sum(slot.slice.stop - slot.slice.start for slot in layer.layout if slot.trainable)
    assert after.n_trainable == trainable
    leaves = [inner for _, inner in layer.walk() if not inner.children()]
    assert [row.params for row in after.rows if row.layer in map(repr, leaves)] == [
        inner.n_params for inner in leaves
    ]


# ---------------------------------------------------------------- noise


def check_noise_is_unbiased(case: Case) -> None:
    """The mean over many draws of training noise is the output in inference."""
    layer, x = case.build(), case.sample(1)
    draws = layer.forward(np.repeat(x, 4000, axis=0), training=True)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert draws.std(axis=0).max() > 0
    assert (np.abs(draws.mean(axis=0) - layer.infer(x)[0]) < 5 * error + 1e-12).all()


# ---------------------------------------------------------------- buffers


def buffers_of(layer: Layer) -> list[tuple[str, np.ndarray]]:
    return [
        (f"{path}.{name}", buffer)
        for path, inner in layer.walk()
        for name, buffer in inner.buffers.items()
    ]


def snapshot_of_buffers(layer: Layer) -> list[np.ndarray]:
    return [buffer.copy() for _, buffer in buffers_of(layer)]


def restore_buffers(layer: Layer, values: list[np.ndarray]) -> None:
    for (_, buffer), value in zip(buffers_of(layer), values, strict=True):
        buffer[...] = value


def assert_buffers(layer: Layer, values: list[np.ndarray]) -> None:
    for (name, buffer), value in zip(buffers_of(layer), values, strict=True):
        assert_array_equal(buffer, value, err_msg=name)
