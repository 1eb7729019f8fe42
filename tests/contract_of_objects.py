"""What a layer promises as an object: copied, cloned, built, frozen, wrapped, summarised.

test_contract.py runs these checks on every case, test_mutants.py on layers broken on purpose.
"""

from __future__ import annotations

import copy
import pickle
import tempfile
from pathlib import Path

import joblib
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
    grad_like,
    restore_buffers,
    run,
    run_without_reseeding,
    snapshot_of_buffers,
)
from sklearn.base import clone

import layerkit
from layerkit import Dense, Layer, Residual, Sequential

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
        if case.noise or any(slot.decay == 1 for slot in case.build().layout):  # no mere factor
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


def check_unbuilt_says_so(case: Case) -> None:
    """Without parameters a layer works at once; with them it names itself, not one within it."""
    layer, x = case.make(), case.sample()
    if case.build().n_params:
        message = error_of(RuntimeError, layer.forward, x)
        assert message == f"in {layer.where}: not built yet; call build(input_shape) first"
    assert not layer.is_built


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
