"""The exponential and its relatives of one number, of float32 or float64."""

from typing import Any

from numba import types
from numba.extending import overload

from layerkit.kernels._numba import double, exponential
from layerkit.kernels._numba.compile import OPTIONS


def _of_either(name: str) -> Any:
    """Return a function for compiled code that is the one of this name for its argument's type."""
    single, both = getattr(exponential, name), getattr(double, name)

    def function(x: Any) -> Any:
        raise NotImplementedError(f"{name} is for compiled code")

    options: Any = {"forceinline": True, "fastmath": {"contract"}, **OPTIONS}

    @overload(function, jit_options=options, strict=False)  # some call their argument t
    def choose(x):  # type: ignore[no-untyped-def]
        return (single if x == types.float32 else both).py_func

    return function


exp = _of_either("exp")
exp_of_negative = _of_either("exp_of_negative")
expm1_of_negative = _of_either("expm1_of_negative")
log1p_of_fraction = _of_either("log1p_of_fraction")
normal_gate = _of_either("normal_gate")
sigmoid = _of_either("sigmoid")
softplus = _of_either("softplus")
tanh = _of_either("tanh")
