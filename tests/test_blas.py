"""BLAS gets back the threads that it had."""

import pytest

from layerkit.kernels.blas import blas_threads

threadpoolctl = pytest.importorskip("threadpoolctl")


def threads():
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    return [library["num_threads"] for library in libraries]


def test_a_limit_holds_and_ends():
    before = threads()
    with blas_threads(1):
        assert threads() == [1] * len(before)
        with blas_threads(2):
            assert threads() == [2] * len(before)
        assert threads() == [1] * len(before)
    assert threads() == before


def test_it_ends_after_an_error_too():
    before = threads()
    with pytest.raises(RuntimeError, match="halfway"), blas_threads(1):
        raise RuntimeError("halfway")
    assert threads() == before
