"""Names that users of other libraries try on objects of ours, and what to write instead."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind")

FREEZING = "a layer is frozen by layer.trainable = False"
_FITTING = (
    "layerkit.train(network, loss, optimizer, (X, y), epochs=10) trains it; "
    "SequentialClassifier(layers).fit(X, y) is an estimator"
)
_EDITING = "Sequential([*network.layers, Dense(2)]).build(input_shape) keeps what is built"
_WEIGHTS = "the arrays are layer.params, all of a network's are network.flat_params"
INSTEAD = {
    **dict.fromkeys(("fit", "compile", "train"), _FITTING),
    **dict.fromkeys(("predict", "call", "eval"), "network.infer(X) computes outputs"),
    **dict.fromkeys(("add", "append", "pop", "insert", "extend", "add_module"), _EDITING),
    "parameters": _WEIGHTS,
    **dict.fromkeys(("get_weights", "set_weights", "state_dict", "load_state_dict"), _WEIGHTS),
    "save": "layerkit.interchange.save(network, path) writes a file",
    "zero_grad": "backward overwrites the gradients, there is nothing to zero",
    "to": "build(input_shape, dtype=np.float64) chooses the dtype; layerkit computes on the CPU",
}

# What they assign as well: to layers, and to optimizers.
OF_LAYERS = {
    **dict.fromkeys(("requires_grad", "frozen"), FREEZING),
    **dict.fromkeys(("W", "b", "weight", "bias", "weights", "kernel", "coefs_"), _WEIGHTS),
    "training": "network.forward(x, training=True) and network.infer(x) say what is wanted",
    "p": "the probability of dropping is rate",
}
OF_OPTIMIZERS = dict.fromkeys(("lr", "param_groups"), "write optimizer.learning_rate = 0.01")

# Keywords of every estimator's constructor and fit, each of which says where it goes.
OF_ESTIMATORS = {
    **dict.fromkeys(
        ("epochs", "n_epochs", "num_epochs", "max_epochs"), "write max_iter, in the constructor"
    ),
    **dict.fromkeys(("seed", "random_seed"), "write random_state, in the constructor"),
    "callbacks": "pass them to set_callbacks",
    **dict.fromkeys(("validation_data", "eval_set"), "give them to fit, X_val and y_val"),
    "validation_split": "write early_stopping=True and validation_fraction, in the constructor",
    "device": "everything is computed on processors",
    "metrics": "score them by sklearn.model_selection.cross_validate(scoring=...)",
}


class Foreign:
    """An attribute that objects of ours do not have: assigning it would change nothing.

    Classes of one's own, built on ours, may have it.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None or self.name not in vars(owner):
            raise AttributeError(f"{kind.__name__} has no {self.name}: {self.instead}")
        return vars(owner)[self.name]

    def __set__(self, owner: Any, value: Any) -> None:
        if type(owner).__module__.startswith("layerkit."):
            who = f"in {owner.where}" if hasattr(owner, "where") else repr(owner)
            raise AttributeError(f"{who}: {self.instead}")
        vars(owner)[self.name] = value


def refusing(names: Mapping[str, str]) -> Callable[[type[Kind]], type[Kind]]:
    """Decorate a class so that its objects refuse what other libraries assign to theirs."""

    def decorate(kind: type[Kind]) -> type[Kind]:
        for name, instead in names.items():
            setattr(kind, name, Foreign(name, instead))
        return kind

    return decorate
