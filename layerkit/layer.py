"""The contract of a layer: an explicit ``forward`` and its ``backward``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from layerkit import initializers
from layerkit.guards import Observer, guard_methods, observed
from layerkit.initializers import Initializer
from layerkit.other_libraries import INSTEAD, OF_LAYERS, refusing
from layerkit.parameters import in_range
from layerkit.shapes import Shape, as_shape, batch_shape
from layerkit.summary import Summary, summarize
from layerkit.tree import Declaration, Tree


@refusing(OF_LAYERS)
class Layer(Tree):
    r"""Base class of all layers: a function with parameters and its own derivative.

    A layer is a class with ``forward`` and ``backward``; one with parameters also has ``setup``.
    The constructor only stores hyper-parameters, under their own names. That is all: such a class
    works in containers, estimators, gradient checks, pickles and grid searches.

    .. math:: \text{forward: } y = f(x; \theta) \qquad
              \text{backward: } \frac{\partial L}{\partial x} =
              \Big(\frac{\partial y}{\partial x}\Big)^{\!\top}
              \frac{\partial L}{\partial y}, \quad
              \frac{\partial L}{\partial \theta} =
              \Big(\frac{\partial y}{\partial \theta}\Big)^{\!\top}
              \frac{\partial L}{\partial y}

    Attributes
    ----------
    params, grads : mapping of str to ndarray
        Writable views of this layer's parts of ``flat_params`` and ``flat_grads``.
    buffers : mapping of str to ndarray
        Arrays that are saved but not optimised, such as running statistics.
    trainable : bool
        Set it to False to freeze the layer and everything inside it: the gradients of its
        parameters are zero, optimizers skip them and running statistics are not updated; gradients
        still flow through to the input.
    needs_input_grad : bool
        False when dL/dx is not needed, as in the first layer in training: ``backward`` may then
        return None.
    input_shape, output_shape : tuple of int
        Shapes without the batch axis, known once the tree is built.
    dtype : numpy dtype
        Data type of all parameters and results, float32 or float64.
    rng : numpy.random.Generator
        The layer's own random generator, for noise in training.
    cache : object
        What ``forward`` stores for ``backward``; never pickled.

    Notes
    -----
    ``backward`` overwrites ``grads`` in place (nothing accumulates, nothing to zero),
    differentiates exactly what the last ``forward`` computed, and raises if there was none.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Layer, check_gradients
    >>> class Square(Layer):
    ...     def forward(self, x, training=False):
    ...         self.cache = x
    ...         return x * x
    ...
    ...     def backward(self, grad_output):
    ...         return grad_output * 2 * self.cache
    >>> bool(check_gradients(Square(), input_shape=(3,)))
    True
    """

    habits: ClassVar[Mapping[str, str]] = {
        "activation": "an activation is a layer of its own: Dense(8), ReLU()",
        "input_shape": "the shape of the input is told to build: network.build(4)",
        "input_dim": "the shape of the input is told to build: network.build(4)",
        "dtype": "the dtype is told to build: network.build(4, dtype=np.float64)",
        "name": 'names are given in a list: Sequential([("hidden", Dense(8)), ...])',
        "trainable": "it is an attribute: layer.trainable = False",
        "inplace": "layers never change the array they are given",
        **dict.fromkeys(
            ("in_features", "out_features", "in_channels", "out_channels"),
            "build counts the inputs: PyTorch's Linear(4, 8) is Dense(8)",
        ),
        "bias": "write use_bias",
        "strides": "write stride",
        "p": "write rate",
    }
    # Initializer for a Dense or convolution before this layer; None leaves it to the layer after.
    weight_init: ClassVar[Any] = None
    # Whether its kernels run on all processors themselves, so that BLAS should use a single one.
    threaded: ClassVar[bool] = False
    # Whether it chooses initial values from data, see `adapt`.
    adapts: ClassVar[bool] = False
    # Rows of unequal length (`layerkit.sequences.Sequences`): a stepwise layer treats every step by
    # itself and receives all steps as the rows of a table; one that takes sequences receives them.
    stepwise: ClassVar[bool] = False
    takes_sequences: ClassVar[bool] = False
    # Whether each row continues from the state in which the previous batch ended.
    stateful: bool = False
    # Whether the class that defines `infer` also defines `forward`.
    _infers_as_its_forward: ClassVar[bool] = False
    _observer: Observer | None = None
    _unpickled = (*Tree._unpickled, "_observer")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        guard_methods(cls)
        if "infer" in vars(cls):
            cls._infers_as_its_forward = "forward" in vars(cls)
        elif "forward" in vars(cls) and cls._infers_as_its_forward:
            cls.infer = Layer.infer  # type: ignore[method-assign]  # the inherited forward changed

    # ---------------------------------------------------------------- what a layer defines

    def setup(self, input_shape: Shape) -> Shape:
        """Declare arrays with `add_param` and `add_buffer`, once the shape of the input is known.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of a sample, without the batch axis.

        Returns
        -------
        output_shape : tuple of int
            Shape of a sample of the output; by default ``input_shape``.
        """
        return input_shape

    def declare(self, input_shape: Shape) -> Shape:
        """Run ``setup`` and remember the shapes; containers call it on their children."""
        if None in input_shape and not (self.stepwise or self.takes_sequences):
            raise ValueError(
                f"in {self.where}: takes rows of one length only, got {batch_shape(input_shape)}"
            )
        return super().declare(input_shape)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Compute the output and cache what ``backward`` needs.

        Parameters
        ----------
        x : array of shape (n_samples, *input_shape)
            A layer's own method receives an ndarray of the network's dtype, which it must not
            change.
        training : bool, default=False
            Whether this pass is part of training: dropout, noise and batch normalization differ.

        Returns
        -------
        y : ndarray of shape (n_samples, *output_shape)
            Later calls never overwrite it.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, grad_output: np.ndarray) -> Any:
        """Turn dL/dy into dL/dx, overwriting ``grads`` with dL/dθ on the way.

        Parameters
        ----------
        grad_output : array of shape (n_samples, *output_shape)
            Gradient of the loss with respect to what the last ``forward`` returned.

        Returns
        -------
        grad_input : ndarray of shape (n_samples, *input_shape)
            Gradient of the loss with respect to the input; may be None where `needs_input_grad` is
            False.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def infer(self, x: np.ndarray) -> np.ndarray:
        """Compute ``forward(x, training=False)`` and store nothing: safe from several threads.

        Parameters
        ----------
        x : array of shape (n_samples, *input_shape)
            As for `forward`.

        Returns
        -------
        y : ndarray of shape (n_samples, *output_shape)
            Nothing is cached, so no ``backward`` can follow.
        """
        twin = self._twin()
        twin.reset_state()
        return twin.forward(x, training=False)  # type: ignore[arg-type]

    def adapt(self, x: np.ndarray) -> None:
        """Choose initial parameters that suit the data; by default it does nothing.

        `train` and the estimators call it once for a new network, before the first step. Containers
        call it on their layers in forward order, each with the output of the layers before it. A
        layer that overrides it also sets ``adapts = True``.

        Parameters
        ----------
        x : ndarray of shape (n_samples, *input_shape)
            The training rows, or some of them.
        """

    def multiply_adds(self) -> int:
        """Count the multiply-adds of one forward per sample; elementwise work is not counted."""
        return sum(layer.multiply_adds() for _, layer in self.children())

    def name_features(self, names: Sequence[str]) -> None:
        """Receive the names of the input's columns; containers pass them on, `Columns` uses them.

        An estimator that is fitted on a table with named columns calls it before ``build``.

        Parameters
        ----------
        names : sequence of str
            One name for each column.
        """

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        """Convert an input to an array of the network's dtype.

        Parameters
        ----------
        x : array-like
            The input as it was passed in.

        Returns
        -------
        x : ndarray
            The input as `forward` receives it.
        """
        if hasattr(x, "tocsr"):
            raise TypeError(
                f"in {self.where}: takes no sparse rows, only Dense does, as the first layer; "
                "use X.toarray()"
            )
        array = np.asarray(x)
        if array.dtype.kind not in "fiub":
            how = ": astype(float) makes numbers of objects that are some" * (array.dtype == object)
            raise TypeError(
                f"in {self.where}: expects numbers, got {type(x).__name__} of dtype "
                f"{array.dtype}{how}"
            )
        if self.is_built:
            return self.cast(array)
        own = array.dtype if array.dtype in (np.float32, np.float64) else np.float64
        return array.astype(own, copy=False)

    def cast(self, x: Any) -> Any:
        """Convert values to the network's dtype, refusing those that it cannot hold.

        Parameters
        ----------
        x : ndarray or sparse array
            The values.

        Returns
        -------
        x : ndarray or sparse array
            The same object if it already has that dtype, otherwise a converted copy.
        """
        try:
            with np.errstate(over="raise"):
                return x.astype(self.dtype, copy=False)
        except FloatingPointError:
            raise ValueError(
                f"in {self.where}: got {abs(x).max():.3g}, which {self.dtype} cannot hold: scale "
                "the input, or compute in float64"
            ) from None

    # ---------------------------------------------------------------- inside setup

    def add_param(
        self,
        name: str,
        shape: Shape,
        initializer: Initializer,
        decay: float = 1.0,
        rate: float = 1.0,
    ) -> None:
        """Declare a learned array: ``params[name]``, and ``grads[name]`` of the same shape.

        Parameters
        ----------
        name : str
            Name, unique within the layer.
        shape : tuple of int
            Shape of the array.
        initializer : callable (shape, rng) -> array
            Makes the initial values; see `layerkit.initializers`.
        decay : bool or float, default=1.0
            Factor on the weight decay, at least 0; False exempts the array, as is usual for biases.
        rate : float, default=1.0
            Factor on the learning rate, at least 0, for an array that should learn faster or slower
            than the rest.
        """
        self._check_open("add_param")
        if name in self._declared or name in self._own_buffers:
            raise ValueError(f"in {self.where}: {name!r} is declared twice")
        if not isinstance(shape, tuple | list):
            raise TypeError(
                f"in {self.where}: the shape of {name!r} must be a tuple, got {shape!r}"
            )
        if None in shape:
            self.check_input(False, "steps that have features, (n_samples, time, n_features)")
        if not callable(initializer):
            raise TypeError(
                f"in {self.where}: the initializer of {name!r} must be a function (shape, rng) -> "
                f"array, such as initializers.zeros, got {initializer!r}"
            )
        for factor, value in (("decay", float(decay)), ("rate", rate)):
            if not in_range(value, 0):
                raise ValueError(
                    f"in {self.where}: {factor} of {name} must be a finite number >= 0, "
                    f"got {value!r}"
                )
        self._declared[name] = Declaration(tuple(shape), initializer, decay, rate)  # type: ignore[index]

    def add_buffer(self, name: str, array: np.ndarray) -> None:
        """Declare an array that is saved but never optimised: ``buffers[name]``.

        Parameters
        ----------
        name : str
            Name, unique within the layer.
        array : array-like
            Initial values; they are copied.
        """
        self._check_open("add_buffer")
        if name in self._declared or name in self._own_buffers:
            raise ValueError(f"in {self.where}: {name!r} is declared twice")
        self._own_buffers[name] = np.array(array)  # type: ignore[index]

    def _check_open(self, method: str) -> None:
        """Refuse declarations outside of setup: there the arrays are made already, or never."""
        if self.is_built or not isinstance(self._declared, dict):
            raise TypeError(
                f"in {self.where}: {method} belongs into setup, which build calls before it makes "
                "the arrays"
            )

    def check(self, ok: bool, name: str, expected: str) -> None:
        """Raise a ValueError unless ``ok``, saying what the hyper-parameter ``name`` must be."""
        if not ok:
            value = getattr(self, name)
            raise ValueError(f"in {self.where}: {name} must be {expected}, got {value!r}")

    def check_input(self, ok: bool, expected: str, hint: str = "") -> None:
        """Raise a ValueError unless ``ok``, saying what the shape of the input must be.

        Parameters
        ----------
        ok : bool
            Whether the shape is valid.
        expected : str
            The expected shape, such as ``"(n_samples, time, channels)"``.
        hint : str, default=""
            Text to append to the message.
        """
        if not ok:
            came = batch_shape(self.input_shape)
            raise ValueError(f"in {self.where}: expects {expected}, got {came}{hint}")

    def auto_initializer(self) -> Initializer:
        """Return the initializer for the activation that follows; without one, Glorot uniform."""
        return self.follower_init or initializers.glorot_uniform

    def resolve_initializer(self) -> Initializer:
        """Return ``self.initializer``, with "auto" replaced by that of `auto_initializer`."""
        initializer = self.initializer  # type: ignore[attr-defined]
        ok = callable(initializer) or initializer == "auto"
        self.check(ok, "initializer", '"auto" or a callable (shape, rng) -> array')
        return self.auto_initializer() if initializer == "auto" else initializer

    # ---------------------------------------------------------------- in use

    if not TYPE_CHECKING:  # or type checkers would accept any attribute

        def __getattr__(self, name):
            """Suggest what to write instead of a name that other libraries have."""
            if name in INSTEAD:
                raise AttributeError(f"{type(self).__name__} has no {name}: {INSTEAD[name]}")
            return object.__getattribute__(self, name)  # raises the usual error

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in OF_LAYERS or name in vars(self)]

    @cached_property  # only reached before a forward has set the attribute
    def cache(self) -> Any:
        """What the last ``forward`` stored for ``backward``."""
        raise RuntimeError(f"in {self.where}: backward needs a forward before it")

    active_observer = property(
        attrgetter("_observer"), doc="The observer set by `observed`, or None."
    )

    def observed(self, observer: Observer) -> AbstractContextManager[None]:
        """Within a ``with`` block, let ``observer`` see all that passes through the tree.

        It is called as ``observer(layer, direction, came_in, went_out)`` after each layer's forward
        or backward, where ``direction`` is "forward" or "backward".

        Parameters
        ----------
        observer : callable
            Called as above; it must not change the arrays.

        Returns
        -------
        context : context manager
            To be used in a ``with`` statement.
        """
        return observed([layer for _, layer in self.walk()], observer)

    def summary(self, input_shape: int | Shape | None = None) -> Summary:
        """Return a table of names, output shapes, parameters and multiply-adds.

        Parameters
        ----------
        input_shape : int or tuple of int, optional
            Shape of one sample, needed only while the network is not built.

        Returns
        -------
        summary : Summary
            Prints as text; shows as HTML in a notebook.
        """
        return summarize(self, None if input_shape is None else as_shape(input_shape))

    def _repr_html_(self) -> str | None:
        """Show a built network as its summary in a notebook."""
        return self.summary()._repr_html_() if self.is_built else None
