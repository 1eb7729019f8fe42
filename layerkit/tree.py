"""A tree of layers and its arrays: two flat vectors at the root, views and random streams below."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from layerkit.building import (
    as_dtype,
    check_instances,
    check_root,
    check_shape,
    copy_what_is_built,
    draw,
    fill,
    keep_what_is_freed,
    map_layers,
    widest_dtype,
)
from layerkit.edits import ClosedDict, opened, renamed_settled, restoring, watch_hyper_parameters
from layerkit.initializers import Initializer
from layerkit.parameters import Parameterized, is_flag, plain, told_by_habits
from layerkit.seeds import as_seed_sequence, with_plain_seed, with_seed
from layerkit.shapes import Shape, Slot, as_shape

_ANOTHER = (
    "Sequential(network.layers).build(input_shape, dtype=dtype) is a network with the same weights"
)
_NAMED = 'names are given in a list, Sequential([("hidden", Dense(8)), ...])'
_FOLLOWS = "it follows from the hyper-parameters and the shape of the input, make another layer"


def settled_by_build(name: str, instead: str = _FOLLOWS) -> Any:
    """Make an attribute that ``build`` or ``setup`` sets; then it can only be read."""

    def settle(layer: Any, value: Any) -> None:
        if layer._own_params is not None:
            raise AttributeError(
                f"in {layer.where}: {name} is settled when the network is built, and nobody else "
                f"would hear of another: {instead}"
            )
        vars(layer)[f"_{name}"] = value

    said = f"``{name}``, which ``build`` sets; from then on it can only be read."
    return property(attrgetter(f"_{name}"), settle, doc=said)


class Declaration(NamedTuple):
    """The arguments of ``add_param``."""

    shape: Shape
    initializer: Initializer | None
    decay: float
    rate: float = 1.0


class Tree(Parameterized):
    """A node of a tree that declares arrays: the base of `layerkit.Layer`.

    ``build`` lets every node declare its arrays (``setup``), allocates one vector of parameters and
    one of gradients at the root, hands out views and draws initial values. Copies and pickles bind
    the views anew. Forward and backward are left to the layer.
    """

    # The state of a built layer. Class-level defaults: a subclass needs no super().__init__().
    path: str = settled_by_build("path", _ANOTHER)
    name: str = settled_by_build("name", _NAMED)
    input_shape: Shape = settled_by_build("input_shape", _ANOTHER)
    output_shape: Shape = settled_by_build("output_shape", _ANOTHER)
    dtype: np.dtype = settled_by_build("dtype", _ANOTHER)
    follower_init: Initializer | None = settled_by_build("follower_init", _ANOTHER)
    _path = _name = ""
    _input_shape = _output_shape = _dtype = _follower_init = None
    may_be_stateful: bool = True  # as a part of its container
    needs_input_grad: bool = True
    _trainable = True
    _declared: Mapping[str, Declaration] = MappingProxyType({})
    _own_params: dict[str, np.ndarray] | None = None
    _own_buffers: Mapping[str, np.ndarray] = MappingProxyType({})
    _flat_params: np.ndarray | None = None
    _flat_grads: np.ndarray | None = None
    _seed: np.random.SeedSequence | None = None
    _rng: np.random.Generator | None = None
    _forward_shape: Any = None  # of the last output
    _unpickled: tuple[str, ...] = (
        *("_shown_params", "_shown_grads", "_flat_params", "_flat_grads"),
        *("cache", "_forward_shape"),
    )

    def setup(self, input_shape: Shape) -> Shape:
        """Declare arrays and return the shape of the output; a subclass overrides it."""
        return input_shape

    def children(self) -> list[tuple[str, Any]]:
        """(path segment, layer) of every layer inside; containers override it."""
        return []

    # ---------------------------------------------------------------- building

    @told_by_habits
    def build(
        self,
        input_shape: int | Shape,
        random_state: Any = None,
        dtype: DTypeLike = "auto",
        rebuild: bool = False,
    ) -> Self:
        """Infer all shapes, allocate the two flat vectors and initialise the parameters.

        Parameters
        ----------
        input_shape : int or tuple of int
            Shape of one sample; ``(None, n_features)`` for rows of any number of steps.
        random_state : int, numpy Generator, RandomState or SeedSequence, optional
            Seeds one stream per layer for initial values and one for its noise.
        dtype : "auto", float32 or float64, default="auto"
            Data type of parameters, gradients and results; "auto" is float32, unless layers that
            are kept are float64.
        rebuild : bool, default=False
            Draw all parameters anew even if the tree, or a part of it, is already built. Vectors
            and views obtained before no longer belong to it.

        Returns
        -------
        self : Layer
            The root of the tree.

        Raises
        ------
        ValueError
            If a layer refuses its input, a hyper-parameter is out of range, or a layer that is
            kept would need other arrays than it has; nothing has changed then.
        RuntimeError
            If it is built already, and ``rebuild`` is False or it is a part of a network.

        Notes
        -----
        Layers already built, such as those of a trained network, are kept: copies of them go in,
        with weights, running statistics and frozen state; their own network does not change. So
        ``Sequential([*network.layers[:-1], Dense(2)]).build(network.input_shape)`` has a new head.
        """
        check_root(self, rebuild)
        check_instances(list(self.walk()))
        with restoring(self):
            held = {} if self.is_built else copy_what_is_built(self)
            kept = {} if rebuild else held
            if isinstance(dtype, str) and dtype == "auto":
                dtype = widest_dtype(self) if kept else np.float32
            shape, seed = as_shape(input_shape), as_seed_sequence(random_state)
            layers = self._allocate(shape, as_dtype(dtype))
            init_seed, noise_seed = seed.spawn(2)
            for layer, layer_seed in zip(layers, init_seed.spawn(len(layers)), strict=True):
                if id(layer) in kept:
                    fill(layer, kept[id(layer)])
                else:
                    draw(layer, layer_seed)
                layer._forget_initializers()
            self.reseed(noise_seed)
        return self

    def adopt(self, input_shape: Shape, dtype: DTypeLike, flat_params: np.ndarray) -> Self:
        """Build with given parameters, such as those of a file, instead of drawing them."""
        check_root(self, rebuild=True)
        if not self.is_built:
            copy_what_is_built(self)
        layers = self._allocate(as_shape(input_shape), as_dtype(dtype))
        self.flat_params[...] = flat_params
        for layer in layers:
            layer._forget_initializers()
        return self.reseed(None)

    def _allocate(self, input_shape: Shape, dtype: np.dtype) -> list[Any]:
        layers = []
        for path, layer in self.walk():
            layer._own_params = None
            layer.path, layer.dtype = path, dtype
            layer.name, layer.follower_init, layer.may_be_stateful = "", None, True
            vars(layer).pop("_shown_params", None)
            vars(layer).pop("_shown_grads", None)
            layers.append(layer)
        self.declare(input_shape)
        self._bind(dtype)
        return layers

    def declare(self, input_shape: Shape) -> Shape:
        """Run ``setup`` and store the shapes; containers call it on their children."""
        self.check_stored()
        held = vars(self)
        held |= {n: plain(held[n]) for n in type(self).__signature__.parameters if n in held}
        self._forget()
        self._declared, self._own_buffers = {}, {}
        self._input_shape = tuple(input_shape)
        self._output_shape = check_shape(self, self.setup(self._input_shape))
        return self._output_shape

    def take_place(self, name: str, follower_init: Initializer | None) -> None:
        """Receive the name in the container, and the initializer that suits the layers behind."""
        self._name, self._follower_init = name, follower_init

    def _declare_unbuilt(self, input_shape: Shape) -> None:
        """Let a layer without parameters (ReLU, MaxPool2D, …) work at once, for any shape."""
        if any(layer._own_params for _, layer in self.walk()):
            self._built()
        self.declare(input_shape)
        if any(layer._declared for _, layer in self.walk()):
            self._built()

    def _bind(self, dtype: np.dtype) -> None:
        """Make this the root: two flat vectors, and views of them for everything below.

        Values that are held already (after unpickling) move into the new vectors.
        """
        keep_what_is_freed()
        tree = list(self.walk())
        size = sum(math.prod(d.shape) for _, layer in tree for d in layer._declared.values())
        flat_params, flat_grads = np.zeros(size, dtype), np.zeros(size, dtype)
        start = 0
        for path, layer in tree:
            held, params, grads = layer._own_params or {}, {}, {}
            for name, declared in layer._declared.items():
                where = slice(start, start + math.prod(declared.shape))
                params[name] = flat_params[where].reshape(declared.shape)
                grads[name] = flat_grads[where].reshape(declared.shape)
                if name in held:
                    params[name][...] = held[name]
                start = where.stop
            layer._path, layer._dtype = path, dtype
            layer._own_params, layer._shown_params = params, ClosedDict(params, "params")
            layer._shown_grads = ClosedDict(grads, "grads")
            buffers = {k: np.array(b, dtype) for k, b in layer._own_buffers.items()}
            layer._own_buffers = ClosedDict(buffers, "buffers")
            layer._flat_params = layer._flat_grads = None
            watch_hyper_parameters(layer)
        self._flat_params, self._flat_grads = flat_params, flat_grads

    def _forget_initializers(self) -> None:
        self._declared = {k: d._replace(initializer=None) for k, d in self._declared.items()}

    def reseed(self, random_state: Any) -> Self:
        """Restart every layer's random generator from one seed."""
        layers = [layer for _, layer in self.walk()]
        seeds = as_seed_sequence(random_state).spawn(len(layers))
        for layer, seed in zip(layers, seeds, strict=True):
            layer._seed, layer._rng = seed, None
        return self

    # ---------------------------------------------------------------- looking at it

    def walk(self, path: str = "") -> Iterator[tuple[str, Any]]:
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

    # Every forward and backward reads these: attrgetter is faster than a Python function.
    params = property(attrgetter("_shown_params"), doc="Views of this layer's parameters, by name.")
    grads = property(attrgetter("_shown_grads"), doc="Views of this layer's gradients, by name.")

    # Only used before `_bind`, which stores the mappings under these names.
    @cached_property
    def _shown_params(self) -> Mapping[str, np.ndarray]:
        return MappingProxyType(self._built())

    @cached_property
    def _shown_grads(self) -> Mapping[str, np.ndarray]:
        self._built()
        return MappingProxyType({})

    @property
    def declared_params(self) -> Mapping[str, Declaration]:
        """What ``setup`` declared with ``add_param``, by name; there before the arrays are."""
        return self._declared

    @property
    def buffers(self) -> Mapping[str, np.ndarray]:
        """Arrays outside the flat vectors, by name."""
        held = self._own_buffers
        return held if type(held) is ClosedDict else MappingProxyType(held)

    @property
    def flat_params(self) -> np.ndarray:
        """All parameters of the tree, one contiguous vector; only the root has it."""
        return self._root_vector("flat_params")

    @flat_params.setter
    def flat_params(self, values: np.ndarray) -> None:  # net.flat_params -= rate * net.flat_grads
        vector, given = self._root_vector("flat_params"), np.asarray(values)
        if given.dtype.kind not in "fiub" or given.shape not in ((), vector.shape):
            raise ValueError(
                f"in {self.where}: flat_params takes {vector.shape} numbers, got "
                f"{given.shape} of dtype {given.dtype}"
            )
        vector[...] = given

    @property
    def flat_grads(self) -> np.ndarray:
        """All gradients of the tree, one contiguous vector; only the root has it."""
        return self._root_vector("flat_grads")

    @property
    def layout(self) -> list[Slot]:
        """What lies where in the flat vectors: (path, slice, shape, decay, trainable, rate)."""
        self._root_vector("flat_params")
        slots, start = [], 0
        for path, layer in self.walk():
            for name, declared in layer._declared.items():
                where = slice(start, start + math.prod(declared.shape))
                full = f"{path}.{name}" if path else name
                factors = declared.decay, layer.trainable, declared.rate
                slots.append(Slot(full, where, declared.shape, *factors))
                start = where.stop
        return slots

    @property
    def n_params(self) -> int:
        """Number of parameters in this layer and all inside it."""
        return sum(p.size for _, layer in self.walk() for p in layer.params.values())

    def clear_cache(self) -> None:
        """Drop what forward cached, in the whole tree; it can be large."""
        for _, layer in self.walk():
            layer._forget()

    def reset_state(self) -> None:
        """Set to zero what layers with ``stateful=True`` keep from window to window."""
        for _, layer in self.children():
            layer.reset_state()

    def _forget(self) -> None:
        self._forward_shape = None
        self.__dict__.pop("cache", None)

    def _freeze_or_thaw(self, flag: bool) -> None:
        if not is_flag(flag):
            raise ValueError(f"in {self.where}: trainable must be True or False, got {flag!r}")
        for _, layer in self.walk():
            layer._trainable = bool(flag)

    trainable = property(attrgetter("_trainable"), _freeze_or_thaw, doc="False while it is frozen.")

    @property
    def is_built(self) -> bool:
        """Whether the layer has its arrays."""
        return self._own_params is not None

    @property
    def rng(self) -> np.random.Generator:
        """The layer's own random generator, for noise in training."""
        if self._rng is None:
            if self._seed is None:
                raise RuntimeError(f"in {self.where}: draws random numbers, so build it first")
            self._rng = np.random.Generator(np.random.SFC64(self._seed))
        return self._rng

    # ---------------------------------------------------------------- copies and pickles

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def _twin(self) -> Self:
        """Return a copy with the same arrays but a cache of its own, down to the layers inside."""
        twin = self.__copy__()
        if self.children():
            twin.__dict__ = {k: map_layers(Tree._twin, v) for k, v in vars(twin).items()}
        return twin

    def astype(self, dtype: DTypeLike) -> Self:
        """Return a copy of a built network that computes in another dtype.

        Parameters
        ----------
        dtype : dtype-like
            ``float32`` or ``float64``.

        Returns
        -------
        Layer
            The copy, with the same parameters and buffers, rounded to `dtype`.

        Raises
        ------
        RuntimeError
            If the network is not built.
        ValueError
            If `dtype` is another one.

        Examples
        --------
        >>> import numpy as np
        >>> from layerkit import Dense
        >>> network = Dense(2).build(3, random_state=0)
        >>> network.astype(np.float64).infer(np.ones((1, 3))).dtype
        dtype('float64')
        """
        self._root_vector("flat_params")
        twin = self._twin()
        twin.clear_cache()
        twin._bind(as_dtype(dtype))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()  # in one step: a forward in another thread may add to it
        kept = {k: opened(v) for k, v in state.items() if k not in self._unpickled}
        return with_plain_seed(kept)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(renamed_settled(type(self), with_seed(state)))
        if self._own_params is not None:  # views do not survive a copy; new vectors, same values
            self._bind(self.dtype)

    def __sklearn_clone__(self) -> Self:
        """Return an unbuilt copy (called by ``sklearn.clone``).

        A layer that is built and frozen is a constant, so it is copied with its parameters.
        """
        from sklearn.base import clone

        if self.is_built and not self.trainable:
            return copy.deepcopy(self)
        params = {k: clone(v, safe=False) for k, v in self.get_params(deep=False).items()}
        twin = type(self)(**params)
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
