"""Names that users of other libraries try on a layer, and what to write instead."""

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
