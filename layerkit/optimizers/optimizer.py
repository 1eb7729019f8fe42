"""The base class of first-order optimizers: rate, clipping, weight decay, frozen slots, state."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from operator import attrgetter, is_
from typing import Any, ClassVar

import numpy as np

from layerkit.kernels import plus_decay, shrink
from layerkit.optimizers.clipping import clipped
from layerkit.optimizers.pieces import (
    Prepared,
    check_vectors,
    cut,
    read_only,
    settings_of,
    single_slot,
    state_for,
)
from layerkit.other_libraries import OF_OPTIMIZERS, refusing
from layerkit.parameters import Parameterized, in_range, is_positive
from layerkit.schedules import Schedule
from layerkit.shapes import Slot

# Elements handed to a rule at a time: many, since the kernels split them among the processors and
# go through blocks that stay in the cache; but the temporaries of a rule without such a kernel, and
# of coupled weight decay, are no longer.
CHUNK = 2**22
Rate = float | Callable[[int], float]
Vector = np.ndarray  # float32 or float64, of one axis


@refusing(OF_OPTIMIZERS)
class Optimizer(Parameterized):
    """Base class: `step` prepares everything, a subclass states its rule in `update`.

    A step takes the gradient g of the trainable parameters p through

    1. ``clip_value``, then ``clip_norm``;
    2. weight decay: ``g ← g + weight_decay p`` (coupled, an L2 penalty), or
       ``p ← (1 - rate weight_decay) p`` where the class is `decoupled`;
    3. `update`, piece by piece.

    Parameters
    ----------
    learning_rate : float or callable, default=0.01
        A number >= 0, or a schedule: a function of the number of steps already taken.
    weight_decay : float or callable, default=0.0
        A number >= 0, or a schedule as for the learning rate. With a layout it applies to the slots
        that decay (not to biases or normalization parameters), times their factor ``decay``;
        without one to everything.
    clip_norm : float or None, default=None
        Largest Euclidean norm of the gradient; a longer one is scaled by
        ``clip_norm / (norm + 1e-6)``, as in PyTorch. Positive.
    clip_value : float or None, default=None
        Every element of the gradient is clipped to ``[-clip_value, clip_value]``. Positive.

    Attributes
    ----------
    rate_parameter : str
        Name of the parameter that sets the learning rate, for advice on it.
    memory : tuple of str
        Names of the vectors that the rule keeps from step to step. They start at zero, have the
        dtype of the parameters and are passed to `update` by name.
    decoupled : bool
        Whether weight decay shrinks the parameters instead of joining the gradient.
    update_decays : bool
        Whether `update` has an argument ``keep`` and multiplies p by it in its own pass, if weight
        decay is decoupled; otherwise `step` does so before. A class that overrides `update` must
        set it again.

    Notes
    -----
    The state is not a hyper-parameter: ``sklearn.clone`` drops it, ``pickle`` and ``deepcopy`` keep
    it.

    Examples
    --------
    A rule of your own. `p` is changed in place, `g` is read-only; NumPy scalars among the
    hyper-parameters would turn float32 into float64, hence ``float``.

    >>> import numpy as np
    >>> class SignDescent(Optimizer):
    ...     def __init__(self, learning_rate=0.1, momentum=0.5, clip_norm=None):
    ...         super().__init__(learning_rate, clip_norm=clip_norm)
    ...         self.momentum = momentum
    ...     memory = ("velocity",)
    ...     def update(self, p, g, rate, t, velocity):
    ...         velocity *= float(self.momentum)
    ...         velocity += np.sign(g)
    ...         p -= rate * velocity
    >>> params = np.array([1.0, 2.0])
    >>> SignDescent().step(params, np.array([5.0, -0.1]))
    >>> params.tolist()
    [0.9, 2.1]
    """

    habits: ClassVar[Mapping[str, str]] = {
        "lr": "write learning_rate",
        "params": "step(flat_params, flat_grads) is given the parameters, train the network",
    }
    learning_rate: Rate = 0.01  # these four, so that a subclass need not have all
    weight_decay: Rate = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    rate_parameter: ClassVar[str] = "learning_rate"
    decoupled: ClassVar[bool] = False
    update_decays: ClassVar[bool] = False
    _state: dict[str, Any] | None = None
    _pieces: Prepared | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        owner = next(base for base in cls.__mro__ if "update" in vars(base))
        cls.update_decays = vars(owner).get("update_decays", False)  # said beside `update`
        cls.coefficients = vars(owner).get("coefficients", Optimizer.coefficients)  # type: ignore[method-assign]

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        *,
        weight_decay: Rate = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.clip_value = clip_value

    @property
    def memory(self) -> tuple[str, ...]:
        """Names of the vectors that the rule keeps from step to step."""
        return ()

    def update(self, p: Vector, g: Vector, rate: float, t: int, *args: Any, **memory: Any) -> None:
        """Change a piece of the parameters by one step: the rule, which a subclass defines.

        Parameters
        ----------
        p : ndarray
            Parameters, changed in place.
        g : ndarray
            Their gradient, clipped and with coupled decay; read-only.
        rate : float
            Learning rate of this step.
        t : int
            Number of this step of `p`, from 1.
        *args, **memory : ndarray
            The vectors named in `memory`, changed in place.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def coefficients(self, rate: float, t: int) -> tuple[float, ...] | None:
        """Return `update` as a rule of `layerkit.kernels.epoch_program` and its numbers, or None.

        A class that overrides `update` states it anew.

        Parameters
        ----------
        rate : float
            The learning rate of the step.
        t : int
            The number of the step, from 1.

        Returns
        -------
        tuple of float or None
            The rule and up to five numbers.
        """
        return None

    def validate(self) -> None:
        """Refuse hyper-parameters out of range; a subclass adds its own checks.

        The first step after any of them was set calls it.
        """
        for name in ("learning_rate", "weight_decay"):
            value = getattr(self, name)
            ok = in_range(value, 0) or (callable(value) and not isinstance(value, type))
            self.check(ok, name, "a finite number >= 0 or a schedule")
        for name in ("clip_norm", "clip_value"):
            bound = getattr(self, name)
            ok = bound is None or is_positive(bound)
            self.check(ok, name, "None or a positive finite number")

    def step(
        self,
        flat_params: np.ndarray,
        flat_grads: np.ndarray,
        layout: Sequence[Slot] | None = None,
    ) -> None:
        """Change `flat_params` in place by one step; `flat_grads` stays as it is.

        Parameters
        ----------
        flat_params, flat_grads : ndarray of shape (n_params,), float32 or float64
            Of the same dtype. The caller has to check that the gradient is finite: without clipping
            it enters the parameters and the state as it is.
        layout : sequence of Slot or None, default=None
            The network's ``layout``. Slots with ``trainable=False`` do not change, nor does their
            state; once unfrozen, their bias corrections start anew. None: a single slot, trainable
            and decaying.

        Raises
        ------
        ValueError
            If a hyper-parameter, the learning rate of this step or a vector is invalid, or the
            vectors have another size, dtype or layout than the state.
        FloatingPointError
            If the gradient to be clipped, or its norm, is not finite. Nothing has been changed.
        """
        found = self._prepared(flat_params, flat_grads, layout)
        rate, decay = self.rate, self._now(self.weight_decay)
        grads = flat_grads
        if self.clip_value is not None or self.clip_norm is not None:
            grads = clipped(self, flat_grads, found.cut.spans)
        if found is not self._pieces:
            self._pieces, self._state = found, found.state  # all checks have passed

        ages = found.state["ages"]
        if decay and self.decoupled and not self.update_decays:
            for (start, stop), of_rate, of_decay in found.cut.decaying:
                shrink(flat_params[start:stop], 1 - rate * of_rate * decay * of_decay)
        for here, p, g, memory, slot, decaying, of_rate, of_decay in found.cut.pieces:
            if grads is not flat_grads:
                g = read_only(grads[here])
            if decay and not self.decoupled:
                out = found.scratch[: g.size]
                plus_decay(g, p, decay * of_decay, decaying, out)
                g = read_only(out)
            if decay and self.decoupled and self.update_decays and len(decaying):
                memory = memory | {"keep": 1 - rate * of_rate * decay * of_decay}
            self.update(p, g, rate * of_rate, ages[slot] + 1, **memory)
        found.state["t"] += 1
        for slot in found.cut.trainable:
            ages[slot] += 1

    def tabled(
        self, params: Vector, grads: Vector, layout: Sequence[Slot]
    ) -> tuple[int, np.ndarray] | None:
        """Describe the rule to a kernel: to save time only.

        Parameters
        ----------
        params, grads, layout : ndarray, ndarray, sequence of Slot
            As `step` takes them.

        Returns
        -------
        (int, ndarray) or None
            The rule of `layerkit.kernels.epoch_program`, and the vectors that it remembers, to be
            changed; None where the kernel does not know it, or something is frozen or clipped.
        """
        if type(self).step is not Optimizer.step:
            return None
        found = self._prepared(params, grads, layout)
        self._pieces, self._state = found, found.state
        return None if found.rule is None else (found.rule, found.matrix)

    def _rule(self, layout: Sequence[Slot], ages: list[int]) -> int | None:
        """Return the rule as a kernel knows it, None where something is frozen or clipped."""
        if self.clip_value is not None or self.clip_norm is not None or callable(self.weight_decay):
            return None
        known = self.coefficients(0.0, 1)
        odd = any(s.rate != 1 or s.decay not in (0, 1) or not s.trainable for s in layout)
        return None if known is None or odd or len(set(ages)) != 1 else int(known[0])

    def next_steps(self, decays: list[float]) -> list[tuple[float, ...]]:
        """Describe the next steps to a kernel, after `tabled`: keep, decay, a, b, c, d, e of each.

        Parameters
        ----------
        decays : list of float
            The weight decay of each step.

        Returns
        -------
        rows : list of tuple
            As `layerkit.kernels.epoch_program` says, without the normalizers.
        """
        assert self._state is not None
        rows, t = [], self._state["ages"][0]
        for i, decay in enumerate(decays):
            rate = self.rate_after(i)
            numbers = self.coefficients(rate, t + i + 1)[1:]  # type: ignore[index]
            shared = (1 - rate * decay, 0.0) if self.decoupled else (1.0, decay)
            rows.append((*shared, *numbers, *[0.0] * (5 - len(numbers))))
        return rows

    def advance(self, steps: int) -> None:
        """Count steps that a kernel took as `next_steps` had described them.

        Parameters
        ----------
        steps : int
            How many.
        """
        assert self._state is not None
        self._state["t"] += steps
        self._state["ages"][:] = [age + steps for age in self._state["ages"]]

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.rate_after(0)

    def rate_after(self, steps: int) -> float:
        """Return the learning rate of a later step.

        Parameters
        ----------
        steps : int
            Number of steps before that one.

        Returns
        -------
        rate : float
            At least 0.
        """
        return self._now(self.learning_rate, steps)

    @property
    def steps_done(self) -> int:
        """Number of steps taken since the state was made."""
        return 0 if self._state is None else self._state["t"]

    def _now(self, value: Rate, steps: int = 0) -> float:
        """Return a number, or the value of a schedule at the next step or ``steps`` after it."""
        if not callable(value):
            return float(value)
        t = self.steps_done + steps
        found = value(t)
        if not in_range(found, 0):
            raise ValueError(
                f"{self!r}: at step {t} the schedule must give a finite number >= 0, got {found!r}"
            )
        return float(found)

    def reset(self) -> None:
        """Reset the state, also that of the schedule: the next step is the first."""
        self.state = {}

    @property
    def state(self) -> dict[str, Any]:
        """A copy of everything but the hyper-parameters that later steps depend on; settable.

        ``t``, the number of steps; ``ages``, the number of steps that each slot took part in; the
        vectors of `memory`; and the state of a schedule, as ``schedule.<name>``. All are numbers
        and arrays. Before the first step there is only that of the schedule.
        """
        state: dict[str, Any] = {}
        if self._state is not None:
            state = {name: self._state[name].copy() for name in self.memory if name in self._state}
            state |= {"t": self._state["t"], "ages": np.array(self._state["ages"])}
        if isinstance(self.learning_rate, Schedule):
            state |= {f"schedule.{name}": x for name, x in self.learning_rate.state.items()}
        return state

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        own, schedule = dict(state), {}
        if isinstance(self.learning_rate, Schedule):
            for name in [name for name in own if name.startswith("schedule.")]:
                schedule[name.removeprefix("schedule.")] = own.pop(name)
        entries = {"t", "ages", *self.memory}
        if own and own.keys() != entries:
            raise ValueError(
                f"{self!r}: a state has the entries {', '.join(sorted(entries))}, "
                f"got {', '.join(sorted(own))}"
            )
        if isinstance(self.learning_rate, Schedule):
            self.learning_rate.state = schedule
        self._state = self._pieces = None
        if own:
            self._state = {name: np.array(own[name]) for name in self.memory}
            self._state |= {"t": int(own["t"]), "ages": [int(age) for age in own["ages"]]}

    def follow(self, other: "Optimizer") -> None:
        """Continue from the state of another optimizer of this class, which keeps its own.

        The same as ``self.state = other.state``, but with what the other has prepared for its next
        step: of small networks that takes longer than a step.

        Parameters
        ----------
        other : Optimizer
            Of the same class.
        """
        mine, theirs = (
            (vars(each).keys() - {"_state", "_pieces"}, each.memory) for each in (self, other)
        )
        if other._pieces is None or mine != theirs or isinstance(self.learning_rate, Schedule):
            self.state = other.state
        else:
            self._pieces = other._pieces.twin(self.memory)
            self._state = self._pieces.state

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_pieces"}

    def _prepared(
        self, params: np.ndarray, grads: np.ndarray, layout: Sequence[Slot] | None
    ) -> Prepared:
        """Return the pieces of a step: those of the step before if they are still valid."""
        found = self._pieces
        if (
            found is None
            or found.params is not params
            or found.grads is not grads
            or found.layout != layout
        ):
            return self._find_pieces(params, grads, copy(layout))
        settings = found.settings_of(self)
        if all(map(is_, settings, found.settings)):
            return found
        kind = self._kind()
        if kind != found.kind:
            return self._find_pieces(params, grads, found.layout)
        self.validate()
        rule = self._rule(found.layout or (), found.state["ages"])
        return found._replace(settings=settings, rule=rule)

    def _kind(self) -> tuple[Any, ...]:
        """Return the settings on which the pieces depend."""
        decays = callable(self.weight_decay) or self.weight_decay > 0
        return self.memory, decays, self.decoupled, self.update_decays

    def _find_pieces(
        self, params: np.ndarray, grads: np.ndarray, layout: Sequence[Slot] | None
    ) -> Prepared:
        """Cut what is trainable into pieces no longer than `CHUNK`, having checked everything."""
        self.validate()
        check_vectors(params, grads)
        slots = single_slot(params) if layout is None else layout
        state = state_for(self, self._state, params, len(slots))
        matrix = np.empty((len(self.memory), params.size), params.dtype)
        for row, name in zip(matrix, self.memory, strict=True):
            row[...] = state[name]
            state[name] = row
        decays = callable(self.weight_decay) or self.weight_decay > 0
        apart = decays and self.decoupled and self.update_decays
        memory = {name: state[name] for name in self.memory}
        of_vector = cut(params, grads, memory, slots, state["ages"], CHUNK, apart)
        coupled = decays and not self.decoupled
        longest = max((p.grads.size for p in of_vector.pieces), default=0) if coupled else 0
        read = attrgetter(*settings_of(self, Optimizer))
        made_for = read, read(self), params, grads, self._kind(), layout
        scratch = np.empty(longest, params.dtype)
        rule = self._rule(slots, state["ages"])
        return Prepared(*made_for, state, of_vector, scratch, matrix, rule)
