"""The contract of a layer: explicit ``forward`` and ``backward``, views of two flat vectors."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from layerkit import initializers
from layerkit.parameters import Parameterized

if TYPE_CHECKING:
    from layerkit.summary import Summary

Shape = tuple[int, ...]
Initializer = Callable[[Shape, np.random.Generator], np.ndarray]
Observer = Callable[["Layer", str, np.ndarray, np.ndarray], None]


class Slot(NamedTuple):
    """Where one parameter lives in the flat vectors of its root."""

    path: str
    slice: slice
    shape: Shape
    decay: bool
    trainable: bool


class Declaration(NamedTuple):
    """What ``add_param`` was told."""

    shape: Shape
    initializer: Initializer | None
    decay: bool


def _guard_forward(forward: Callable) -> Callable:
    """Check what goes into ``forward`` and what comes out, so that layers hold only mathematics."""

    @functools.wraps(forward)
    def guarded(self: Layer, x: ArrayLike, training: bool = False) -> np.ndarray:
        if type(self).forward is not guarded:  # called through super(): a part of the layer's own
            return forward(self, x, training)
        x = self._accept(x)
        self._forward_shape = None  # should this forward fail, no backward may follow
        y = forward(self, x, training)
        if y.shape[1:] != self.output_shape or y.shape[0] != x.shape[0]:
            raise ValueError(
                f"in {self.where}: setup declared the output {batch_shape(self.output_shape)}, "
                f"but forward turned {x.shape} into {y.shape}"
            )
        self._forward_shape = y.shape
        if self._observer is not None:
            self._observer(self, "forward", x, y)
        return y

    return guarded


def _guard_backward(backward: Callable) -> Callable:
    """Refuse a gradient that does not fit the last ``forward``; keep frozen gradients at zero."""

    @functools.wraps(backward)
    def guarded(self: Layer, grad_output: ArrayLike) -> np.ndarray:
        if type(self).backward is not guarded:
            return backward(self, grad_output)
        if self._forward_shape is None:
            raise RuntimeError(f"in {self.where}: backward needs a forward before it")
        grad_output = np.asarray(grad_output, dtype=self.dtype)
        if grad_output.shape != self._forward_shape:
            raise ValueError(
                f"in {self.where}: backward expects the gradient of its output, "
                f"{self._forward_shape}, got {grad_output.shape}"
            )
        grad_input = backward(self, grad_output)
        if grad_input is not None and grad_input.shape != (len(grad_output), *self.input_shape):
            raise ValueError(
                f"in {self.where}: backward must return the gradient of the input, "
                f"{(len(grad_output), *self.input_shape)}, but returned {grad_input.shape}"
            )
        if not self._trainable:
            for grad in self._own_grads.values():
                grad.fill(0)
        if self._observer is not None:
            self._observer(self, "backward", grad_output, grad_input)
        return grad_input

    return guarded


def _guard_infer(infer: Callable) -> Callable:
    """Check what goes in; a layer that is not built finds its shapes on a copy of itself."""

    @functools.wraps(infer)
    def guarded(self: Layer, x: ArrayLike) -> np.ndarray:
        layer = self if self.is_built else self._twin()
        return infer(layer, layer._accept(x))

    return guarded


class Layer(Parameterized):
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
        Set it to False to freeze the layer and all inside it: its gradients are zero, optimizers
        leave it alone and running statistics stay at rest; gradients still flow through.
    input_shape, output_shape : tuple of int
        Shapes without the batch axis, known once the tree is built.
    dtype : numpy dtype
        Of all parameters and results, float32 or float64.
    rng : numpy.random.Generator
        The layer's own stream, for noise in training.
    cache : object
        What ``forward`` leaves for ``backward``; never pickled.

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

    # What a Dense or convolution right before this layer should start from; None: look further.
    weight_init: ClassVar[Any] = None

    # The state of a built layer. Class-level defaults: a subclass needs no super().__init__().
    path: str = ""
    name: str = ""
    input_shape: Shape = None  # type: ignore[assignment]
    output_shape: Shape = None  # type: ignore[assignment]
    dtype: np.dtype = None  # type: ignore[assignment]
    follower_init: Initializer | None = None
    _trainable = True
    _needs_input_grad = True
    _declared: Mapping[str, Declaration] = MappingProxyType({})
    _own_params: dict[str, np.ndarray] | None = None
    _own_grads: Mapping[str, np.ndarray] = MappingProxyType({})
    _own_buffers: Mapping[str, np.ndarray] = MappingProxyType({})
    _flat_params: np.ndarray | None = None
    _flat_grads: np.ndarray | None = None
    _cache: Any = None
    _forward_shape: Shape | None = None
    _seed: np.random.SeedSequence | None = None
    _rng: np.random.Generator | None = None
    _observer: Observer | None = None
    _unpickled = (
        "_own_grads",
        "_flat_params",
        "_flat_grads",
        "_cache",
        "_forward_shape",
        "_observer",
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        guards = {"forward": _guard_forward, "backward": _guard_backward, "infer": _guard_infer}
        for method, guard in guards.items():
            if method in cls.__dict__:
                setattr(cls, method, guard(cls.__dict__[method]))

    # ---------------------------------------------------------------- what a layer defines

    def setup(self, input_shape: Shape) -> Shape:
        """Declare arrays for an input shape (without the batch axis); return the output shape."""
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Compute the output and cache what ``backward`` needs."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, grad_output: np.ndarray) -> Any:
        """Turn dL/dy into dL/dx, overwriting ``grads`` with dL/dθ on the way."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def children(self) -> list[tuple[str, Layer]]:
        """(path segment, layer) of every layer inside; containers override it."""
        return []

    def multiply_adds(self) -> int:
        """Multiply-adds of one forward for one sample (products only, elementwise work is free)."""
        return sum(layer.multiply_adds() for _, layer in self.children())

    def name_features(self, names: Sequence[str]) -> None:
        """Hear what the columns of the input are called; containers pass it on, `Columns` uses it.

        An estimator that was given a table with column names calls it before ``build``.
        """

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        """Return ``x`` as an array of the network's dtype."""
        if hasattr(x, "tocsr"):
            raise TypeError(
                f"in {self.where}: takes no sparse rows, only Dense does, as the first layer; "
                "use X.toarray()"
            )
        array = np.asarray(x)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"in {self.where}: expects numbers, got {type(x).__name__} of dtype {array.dtype}"
            )
        own = array.dtype if array.dtype in (np.float32, np.float64) else np.dtype(np.float64)
        return array.astype(self.dtype if self.is_built else own, copy=False)

    # ---------------------------------------------------------------- inside setup

    def add_param(
        self, name: str, shape: Shape, initializer: Initializer, decay: bool = True
    ) -> None:
        """Declare a learned array; ``decay=False`` exempts it from weight decay."""
        assert isinstance(self._declared, dict), "add_param belongs into setup"
        if name in self._declared or name in self._own_buffers:
            raise ValueError(f"in {self.where}: {name!r} is declared twice")
        self._declared[name] = Declaration(tuple(shape), initializer, decay)

    def add_buffer(self, name: str, array: np.ndarray) -> None:
        """Declare an array that is saved but never optimised."""
        assert isinstance(self._own_buffers, dict), "add_buffer belongs into setup"
        if name in self._declared or name in self._own_buffers:
            raise ValueError(f"in {self.where}: {name!r} is declared twice")
        self._own_buffers[name] = np.array(array)

    def check(self, ok: bool, name: str, expected: str) -> None:
        """Refuse the hyper-parameter ``name`` unless ``ok``, saying what it must be."""
        if not ok:
            value = getattr(self, name)
            raise ValueError(f"in {self.where}: {name} must be {expected}, got {value!r}")

    def check_input(self, ok: bool, expected: str) -> None:
        """Refuse the input shape unless ``ok``, saying what it must be."""
        if not ok:
            came = batch_shape(self.input_shape)
            raise ValueError(f"in {self.where}: expects {expected}, got {came}")

    def auto_initializer(self) -> Initializer:
        """Initial weights that suit the activation that follows; without one, Glorot uniform."""
        return self.follower_init or initializers.glorot_uniform

    def resolve_initializer(self) -> Initializer:
        """``self.initializer``, where "auto" suits the activation that follows."""
        initializer = self.initializer  # type: ignore[attr-defined]
        ok = callable(initializer) or initializer == "auto"
        self.check(ok, "initializer", '"auto" or a callable (shape, rng) -> array')
        return self.auto_initializer() if initializer == "auto" else initializer

    # ---------------------------------------------------------------- building a tree

    def build(
        self,
        input_shape: int | Shape,
        random_state: Any = None,
        dtype: DTypeLike = np.float32,
        rebuild: bool = False,
    ) -> Layer:
        """Infer all shapes, allocate the two flat vectors and initialise the parameters.

        Parameters
        ----------
        input_shape : int or tuple of int
            Shape of one sample.
        random_state : None, int, numpy Generator, RandomState or SeedSequence
            Seeds one stream per layer for initial values and one for its noise.
        dtype : float32 or float64
        rebuild : bool, default=False
            Draw everything anew although (part of) the tree is built. Vectors and views handed out
            before then no longer belong to it.

        Returns
        -------
        self : Layer
        """
        layers = self._claim(rebuild)
        before = [(layer, layer.__dict__.copy()) for layer in layers]
        try:
            self._build(_as_shape(input_shape), as_seed_sequence(random_state), _as_dtype(dtype))
        except BaseException:  # leave the tree as it was
            for layer, state in before:
                layer.__dict__ = state
            raise
        return self

    def _claim(self, rebuild: bool) -> list[Layer]:
        places: dict[int, str] = {}
        layers = []
        for path, layer in self.walk():
            if id(layer) in places:
                raise ValueError(
                    f"the same {layer.label} instance stands at {places[id(layer)]!r} and at "
                    f"{path!r}; a layer has one set of parameters and one cache: make two instances"
                )
            if layer._own_params and not rebuild:
                raise RuntimeError(
                    f"in {layer.where}: already built; build(..., rebuild=True) draws new "
                    "parameters and detaches the vectors handed out before"
                )
            places[id(layer)] = path
            layers.append(layer)
        return layers

    def _build(self, input_shape: Shape, seed: np.random.SeedSequence, dtype: np.dtype) -> None:
        tree = list(self.walk())
        for path, layer in tree:
            layer.path, layer.dtype, layer._own_params = path, dtype, None
            layer.name, layer.follower_init = "", None
        self.declare(input_shape)
        self._bind(dtype)
        init_seed, noise_seed = seed.spawn(2)
        for (_, layer), layer_seed in zip(tree, init_seed.spawn(len(tree)), strict=True):
            layer._initialize(layer_seed)
        self.reseed(noise_seed)

    def declare(self, input_shape: Shape) -> Shape:
        """Run ``setup`` and remember the shapes; containers call it on their children."""
        self._declared, self._own_buffers = {}, {}
        self._cache = self._forward_shape = None
        self.input_shape = tuple(input_shape)
        self.output_shape = tuple(self.setup(self.input_shape))
        return self.output_shape

    def _bind(self, dtype: np.dtype) -> None:
        """Make this layer the root: two flat vectors, and views of them for every layer below.

        Values that the layers hold already (after unpickling) move into the new vectors.
        """
        tree = list(self.walk())
        size = sum(math.prod(d.shape) for _, layer in tree for d in layer._declared.values())
        flat_params, flat_grads = np.zeros(size, dtype), np.zeros(size, dtype)
        start = 0
        for path, layer in tree:
            held, layer.path, layer.dtype = layer._own_params or {}, path, dtype
            layer._own_params, layer._own_grads = {}, {}
            layer._flat_params = layer._flat_grads = None
            buffers = layer._own_buffers.items()
            layer._own_buffers = {name: np.array(b, dtype) for name, b in buffers}
            for name, declared in layer._declared.items():
                where = slice(start, start + math.prod(declared.shape))
                layer._own_params[name] = flat_params[where].reshape(declared.shape)
                layer._own_grads[name] = flat_grads[where].reshape(declared.shape)
                if name in held:
                    layer._own_params[name][...] = held[name]
                start = where.stop
        self._flat_params, self._flat_grads = flat_params, flat_grads

    def _initialize(self, seed: np.random.SeedSequence) -> None:
        rng = np.random.default_rng(seed)
        for name, (shape, initializer, decay) in self._declared.items():
            assert initializer is not None
            value = np.asarray(initializer(shape, rng))
            if value.shape != shape:
                raise ValueError(
                    f"in {self.where}: the initializer of {name} must return {shape}, "
                    f"got {value.shape}"
                )
            self.params[name][...] = value
            self._declared[name] = Declaration(shape, None, decay)  # type: ignore[index]

    def reseed(self, random_state: Any) -> Layer:
        """Restart every layer's stream of noise from one seed."""
        layers = [layer for _, layer in self.walk()]
        seeds = as_seed_sequence(random_state).spawn(len(layers))
        for layer, seed in zip(layers, seeds, strict=True):
            layer._seed, layer._rng = seed, None
        return self

    # ---------------------------------------------------------------- looking at it

    def walk(self, path: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (path, layer) of this layer and of all inside it, in forward order."""
        yield path, self
        for name, child in self.children():
            yield from child.walk(f"{path}.{name}" if path else name)

    @property
    def label(self) -> str:
        """The layer in an error message: its repr, containers without their contents."""
        return type(self).__name__ if self.children() else repr(self)

    @property
    def where(self) -> str:
        """The layer's place and label, for error messages."""
        return f"{self.path} {self.label}".strip()

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        """Views of this layer's parameters, by name."""
        return MappingProxyType(self._built())

    @property
    def grads(self) -> Mapping[str, np.ndarray]:
        """Views of this layer's gradients, by name."""
        self._built()
        return MappingProxyType(self._own_grads)

    @property
    def buffers(self) -> Mapping[str, np.ndarray]:
        """Arrays outside the flat vectors, by name."""
        return MappingProxyType(self._own_buffers)

    @property
    def flat_params(self) -> np.ndarray:
        """All parameters of the tree, one contiguous vector; only the root has it."""
        return self._root_vector("flat_params")

    @property
    def flat_grads(self) -> np.ndarray:
        """All gradients of the tree, one contiguous vector; only the root has it."""
        return self._root_vector("flat_grads")

    @property
    def layout(self) -> list[Slot]:
        """What lies where in the flat vectors: (path, slice, shape, decay, trainable) each."""
        self._root_vector("flat_params")
        slots, start = [], 0
        for path, layer in self.walk():
            for name, declared in layer._declared.items():
                where = slice(start, start + math.prod(declared.shape))
                full = f"{path}.{name}" if path else name
                slots.append(Slot(full, where, declared.shape, declared.decay, layer.trainable))
                start = where.stop
        return slots

    @property
    def n_params(self) -> int:
        """Number of parameters in this layer and all inside it."""
        return sum(p.size for _, layer in self.walk() for p in layer.params.values())

    @property
    def trainable(self) -> bool:
        """False while the layer is frozen."""
        return self._trainable

    @trainable.setter
    def trainable(self, flag: bool) -> None:
        for _, layer in self.walk():
            layer._trainable = bool(flag)

    @property
    def needs_input_grad(self) -> bool:
        """False when nobody asks for dL/dx (of the data, in training): backward may return None."""
        return self._needs_input_grad

    @needs_input_grad.setter
    def needs_input_grad(self, flag: bool) -> None:
        self._needs_input_grad = flag

    @property
    def is_built(self) -> bool:
        """Whether the layer has its arrays."""
        return self._own_params is not None

    @property
    def rng(self) -> np.random.Generator:
        """The layer's own stream of random numbers, for noise in training."""
        if self._rng is None:
            if self._seed is None:
                raise RuntimeError(f"in {self.where}: draws random numbers, so build it first")
            self._rng = np.random.Generator(np.random.SFC64(self._seed))
        return self._rng

    @property
    def cache(self) -> Any:
        """What the last ``forward`` left for ``backward``."""
        if self._cache is None:
            raise RuntimeError(f"in {self.where}: backward needs a forward before it")
        return self._cache

    @cache.setter
    def cache(self, value: Any) -> None:
        self._cache = value

    def clear_cache(self) -> None:
        """Forget what forward left, in the whole tree (it can be large)."""
        for _, layer in self.walk():
            layer._cache = layer._forward_shape = None

    @contextlib.contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Within a ``with`` block, show ``observer`` all that passes through the tree.

        It is called as ``observer(layer, direction, came_in, went_out)`` after each layer's forward
        or backward, where ``direction`` is "forward" or "backward".
        """
        layers = [layer for _, layer in self.walk()]
        try:
            for layer in layers:
                layer._observer = observer
            yield
        finally:
            for layer in layers:
                layer._observer = None

    def infer(self, x: np.ndarray) -> np.ndarray:
        """Compute ``forward(x, training=False)``, leaving no trace: safe in many threads."""
        return self._twin().forward(x, training=False)  # type: ignore[arg-type]

    def summary(self, input_shape: int | Shape | None = None) -> Summary:
        """Table of names, output shapes, parameters and multiply-adds.

        Parameters
        ----------
        input_shape : int or tuple of int, optional
            Shape of one sample, needed only while the network is not built.

        Returns
        -------
        summary : Summary
            Prints as text; shows as HTML in a notebook.
        """
        from layerkit.summary import summarize

        return summarize(self, None if input_shape is None else _as_shape(input_shape))

    # ---------------------------------------------------------------- copies and pickles

    def __copy__(self) -> Layer:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def _twin(self) -> Layer:
        """Return a copy with the same arrays but a cache of its own, down to the layers inside."""
        twin = self.__copy__()
        if self.children():
            twin.__dict__.update({name: _twins(value) for name, value in self.__dict__.items()})
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in self._unpickled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._own_params is not None:  # views do not survive a copy; new vectors, same values
            self._bind(self.dtype)

    def __sklearn_clone__(self) -> Layer:
        """Return an unbuilt copy (called by ``sklearn.clone``).

        A layer that is built and frozen is a constant, so it is copied with its parameters.
        """
        from sklearn.base import clone

        if self.is_built and not self.trainable:
            return copy.deepcopy(self)
        twin = type(self)(
            **{k: clone(v, safe=False) for k, v in self.get_params(deep=False).items()}
        )
        twin._trainable = self._trainable
        return twin

    # ---------------------------------------------------------------- checks

    def _built(self) -> dict[str, np.ndarray]:
        if self._own_params is None:
            raise RuntimeError(f"in {self.where}: not built yet; call build(input_shape) first")
        return self._own_params

    def _root_vector(self, name: str) -> np.ndarray:
        self._built()
        vector = getattr(self, f"_{name}")
        if vector is None:
            raise AttributeError(f"in {self.where}: only the root of a tree has {name}")
        return vector

    def _accept(self, x: ArrayLike) -> np.ndarray:
        """Return the input as an array that fits, or raise."""
        if type(x) is np.ndarray and x.dtype == self.dtype and x.shape[1:] == self.input_shape:
            return x
        array = self.convert_input(x)
        if array.ndim == 0:
            raise ValueError(f"in {self.where}: expects a batch of samples, got a single number")
        if not self.is_built:
            self._set_up_without_build(array.shape[1:])
        elif array.shape[1:] != self.input_shape:
            raise ValueError(
                f"in {self.where}: expects {batch_shape(self.input_shape)}, got {array.shape}"
            )
        return array

    def _set_up_without_build(self, input_shape: Shape) -> None:
        """Let a layer without parameters (ReLU, MaxPool2D, …) work at once, for any shape."""
        if any(layer._own_params for _, layer in self.walk()):
            self._built()
        self.declare(input_shape)
        if any(layer._declared for _, layer in self.walk()):
            self._built()


def _twins(value: Any) -> Any:
    if isinstance(value, Layer):
        return value._twin()
    if type(value) is dict:
        return dict(zip(value, map(_twins, value.values()), strict=True))
    return type(value)(map(_twins, value)) if type(value) in (list, tuple) else value


def batch_shape(shape: Shape | None) -> str:
    """Print a shape with its batch axis: ``(n_samples, 28, 28, 1)``."""
    return f"({', '.join(['n_samples', *map(str, shape or ())])}{'' if shape else ','})"


def is_size(value: Any, least: int = 1) -> bool:
    """Whether a hyper-parameter is an integer of at least ``least``."""
    return isinstance(value, int | np.integer) and value is not True and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether a hyper-parameter is a finite real number."""
    return (
        isinstance(value, (int, float, np.number))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def as_seed_sequence(random_state: Any) -> np.random.SeedSequence:
    """Turn any common kind of random state into a root of independent streams."""
    if isinstance(random_state, np.random.SeedSequence):
        return random_state
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(2**32, size=4).tolist())
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(random_state.randint(2**31, size=4).tolist())
    if random_state is None or is_size(random_state, least=0):
        return np.random.SeedSequence(random_state)
    raise ValueError(
        "random_state must be None, a non-negative integer, a numpy Generator, RandomState or "
        f"SeedSequence, got {random_state!r}"
    )


def _as_shape(input_shape: int | Shape) -> Shape:
    shape = (input_shape,) if isinstance(input_shape, (int, np.integer)) else tuple(input_shape)
    if not all(is_size(n) for n in shape):
        raise ValueError(
            f"input_shape must hold positive integers, without the batch axis, got {input_shape!r}"
        )
    return tuple(int(n) for n in shape)


def _as_dtype(dtype: DTypeLike) -> np.dtype:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return np.dtype(dtype)
