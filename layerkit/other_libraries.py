"""Names that users of other libraries try on a layer or an estimator, and what to write instead."""

FREEZING = "a layer is frozen by layer.trainable = False"
_FITTING = (
    "layerkit.train(network, loss, optimizer, (X, y), epochs=10) trains it; "
    "SequentialClassifier(layers).fit(X, y) is an estimator"
)
_EDITING = "Sequential([*network.layers, Dense(2)]).build(input_shape) keeps what is built"
_WEIGHTS = "the arrays are layer.params, all of a network's are network.flat_params"
INSTEAD = {
    "requires_grad": FREEZING,
    **dict.fromkeys(("fit", "compile", "train"), _FITTING),
    **dict.fromkeys(("predict", "call", "eval"), "network.infer(X) computes outputs"),
    **dict.fromkeys(("add", "append", "pop", "insert", "extend", "add_module"), _EDITING),
    **dict.fromkeys(
        ("W", "b", "weight", "bias", "weights", "kernel", "coefs_", "parameters"), _WEIGHTS
    ),
    **dict.fromkeys(("get_weights", "set_weights", "state_dict", "load_state_dict"), _WEIGHTS),
    "save": "layerkit.interchange.save(network, path) writes a file",
    "zero_grad": "backward overwrites the gradients, there is nothing to zero",
    "to": "build(input_shape, dtype=np.float64) chooses the dtype; layerkit computes on the CPU",
}

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
