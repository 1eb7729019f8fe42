"""What constructors take: arguments of other libraries are refused with the line to write here."""

import inspect
import pickle
import re
from abc import ABC, abstractmethod
from copy import copy, deepcopy

import pytest
from errors import raises_exactly
from sklearn.base import clone

import layerkit.layers as nn
from layerkit import Layer, losses, optimizers, schedules
from layerkit.parameters import Parameterized

CLASSES = [
    (package, name)
    for package in (nn, losses, optimizers, schedules)
    for name in package.__all__
    if issubclass(getattr(package, name), Parameterized)
]
# How many arguments may come without their names, where it is not one or as many as must be given.
NATURAL = {
    "BatchNorm": 0,
    "LayerNorm": 0,
    "RMSNorm": 0,
    "GELU": 0,
    "BinaryCrossEntropy": 0,
    "CategoricalCrossEntropy": 0,
    "LBFGS": 0,
    "Residual": 2,
    "Gate": 2,
    "HardTanh": 2,
    "InstanceNorm": 0,
    **dict.fromkeys(["MaxPool1D", "MaxPool2D", "AvgPool1D", "AvgPool2D"], 2),
    **dict.fromkeys(["StepDecay", "ExponentialDecay", "CosineDecay", "CosineRestarts"], 2),
    **dict.fromkeys(["Polynomial", "OneCycle", "Warmup"], 2),
}


@pytest.mark.parametrize(("package", "name"), CLASSES, ids=lambda value: getattr(value, "", value))
def test_options_are_given_by_name(package, name):
    arguments = inspect.signature(getattr(package, name)).parameters.values()
    by_place = [a for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD]
    required = [a for a in by_place if a.default is a.empty]
    natural = NATURAL.get(name, max(len(required), 1))
    assert len(by_place) == min(natural, len(arguments))
    told = rf"{name}: too many positional arguments; it is {name}\(.*\)(; .*)?"
    with raises_exactly(TypeError, re.compile(told)):
        getattr(package, name)(*range(1 + len(by_place)))


D = nn.Dense(2)
HABITS = {
    "nn.Linear(4, 8)": (
        lambda: nn.Dense(4, 8),
        "Dense: too many positional arguments; it is Dense(units, *, use_bias=True, "
        "initializer='auto'); PyTorch's Linear(4, 8) is Dense(8): build counts the "
        "inputs; an activation is a layer of its own: Dense(8), ReLU()",
    ),
    "Dense(8, 'relu')": (
        lambda: nn.Dense(8, "relu"),
        "Dense: too many positional arguments; it is Dense(units, *, use_bias=True, "
        "initializer='auto'); PyTorch's Linear(4, 8) is Dense(8): build counts the "
        "inputs; an activation is a layer of its own: Dense(8), ReLU()",
    ),
    "activation": (
        lambda: nn.Dense(8, activation="relu"),
        "Dense: got an unexpected keyword argument 'activation'; it is Dense(units, *, "
        "use_bias=True, initializer='auto'); an activation is a layer of its own: "
        "Dense(8), ReLU()",
    ),
    "Conv activation": (
        lambda: nn.Conv2D(8, 3, activation="relu"),
        "Conv2D: got an unexpected keyword argument 'activation'; it is Conv2D(filters, "
        "kernel_size, *, stride=1, padding='valid', dilation=1, groups=1, use_bias=True, "
        "initializer='auto', algorithm='auto'); an activation is a layer of its own: "
        "Dense(8), ReLU()",
    ),
    "input_shape": (
        lambda: nn.Dense(8, input_shape=(4,)),
        "Dense: got an unexpected keyword argument 'input_shape'; it is Dense(units, *, "
        "use_bias=True, initializer='auto'); the shape of the input is told to build: "
        "network.build(4)",
    ),
    "bias": (
        lambda: nn.Dense(8, bias=False),
        "Dense: got an unexpected keyword argument 'bias'; it is Dense(units, *, "
        "use_bias=True, initializer='auto'); write use_bias",
    ),
    "Conv2d(1, 16, 3)": (
        lambda: nn.Conv2D(1, 16, 3),
        "Conv2D: too many positional arguments; it is Conv2D(filters, kernel_size, *, "
        "stride=1, padding='valid', dilation=1, groups=1, use_bias=True, "
        "initializer='auto', algorithm='auto'); PyTorch's Conv2d(3, 16, 5) is Conv2D(16, "
        "5): build counts the input's channels",
    ),
    "Conv1d(1, 16, 3)": (
        lambda: nn.Conv1D(1, 16, 3),
        "Conv1D: too many positional arguments; it is Conv1D(filters, kernel_size, *, "
        "stride=1, padding='valid', dilation=1, groups=1, use_bias=True, "
        "initializer='auto'); PyTorch's Conv2d(3, 16, 5) is Conv2D(16, 5): build counts "
        "the input's channels",
    ),
    "strides": (
        lambda: nn.Conv2D(8, 3, strides=2),
        "Conv2D: got an unexpected keyword argument 'strides'; it is Conv2D(filters, "
        "kernel_size, *, stride=1, padding='valid', dilation=1, groups=1, use_bias=True, "
        "initializer='auto', algorithm='auto'); write stride",
    ),
    "LayerNorm(16)": (
        lambda: nn.LayerNorm(16),
        "LayerNorm: too many positional arguments; it is LayerNorm(*, eps=1e-05); build "
        "counts the channels: PyTorch's LayerNorm(16) is LayerNorm(), its GroupNorm(4, "
        "16) GroupNorm(4)",
    ),
    "BatchNorm1d(64)": (
        lambda: nn.BatchNorm(64),
        "BatchNorm: too many positional arguments; it is BatchNorm(*, momentum=0.1, "
        "eps=1e-05); build counts the channels: PyTorch's LayerNorm(16) is LayerNorm(), "
        "its GroupNorm(4, 16) GroupNorm(4)",
    ),
    "GroupNorm(4, 16)": (
        lambda: nn.GroupNorm(4, 16),
        "GroupNorm: too many positional arguments; it is GroupNorm(groups, *, "
        "eps=1e-05); build counts the channels: PyTorch's LayerNorm(16) is LayerNorm(), "
        "its GroupNorm(4, 16) GroupNorm(4)",
    ),
    "Dropout inplace": (
        lambda: nn.Dropout(0.5, True),
        "Dropout: too many positional arguments; it is Dropout(rate=0.5)",
    ),
    "ReLU(True)": (lambda: nn.ReLU(True), "ReLU: too many positional arguments; it is ReLU()"),
    "inplace": (
        lambda: nn.ReLU(inplace=True),
        "ReLU: got an unexpected keyword argument 'inplace'; it is ReLU(); layers never "
        "change the array they are given",
    ),
    "Embedding padding": (
        lambda: nn.Embedding(10, 4, 0),
        "Embedding: too many positional arguments; it is Embedding(num_embeddings, dim); "
        "a row for padding has no argument of its own",
    ),
    "MaxPool2d padding": (
        lambda: nn.MaxPool2D(2, 2, 1),
        "MaxPool2D: too many positional arguments; it is MaxPool2D(pool_size=2, "
        "stride=None, *, padding='valid')",
    ),
    "LSTM activation": (
        lambda: nn.LSTM(8, activation="relu"),
        "LSTM: got an unexpected keyword argument 'activation'; it is LSTM(units, *, "
        "return_sequences=False, stateful=False); SimpleRNN has activation; an LSTM's "
        "and a GRU's are those of the formula",
    ),
    "LSTM mask": (
        lambda: nn.LSTM(8, mask_zero=True),
        "LSTM: got an unexpected keyword argument 'mask_zero'; it is LSTM(units, *, "
        "return_sequences=False, stateful=False); rows that differ in length are a list "
        "of arrays, one for each row",
    ),
    "GRU num_layers": (
        lambda: nn.GRU(8, num_layers=2),
        "GRU: got an unexpected keyword argument 'num_layers'; it is GRU(units, *, "
        "return_sequences=False, stateful=False); write a layer for each: LSTM(8, "
        "return_sequences=True), GRU(8)",
    ),
    "bidirectional": (
        lambda: nn.LSTM(8, bidirectional=True),
        "LSTM: got an unexpected keyword argument 'bidirectional'; it is LSTM(units, *, "
        "return_sequences=False, stateful=False); write Bidirectional(LSTM(8))",
    ),
    "hidden_size": (
        lambda: nn.LSTM(hidden_size=8),
        "LSTM: missing a required argument: 'units'; it is LSTM(units, *, "
        "return_sequences=False, stateful=False); write units",
    ),
    "LSTM(4, 8)": (
        lambda: nn.LSTM(4, 8),
        "LSTM: too many positional arguments; it is LSTM(units, *, "
        "return_sequences=False, stateful=False); PyTorch's LSTM(4, 8) is LSTM(8): build "
        "counts the inputs",
    ),
    "RNN(4, 8)": (
        lambda: nn.SimpleRNN(4, 8),
        "SimpleRNN: too many positional arguments; it is SimpleRNN(units, *, "
        "activation='tanh', return_sequences=False, stateful=False); PyTorch's LSTM(4, "
        "8) is LSTM(8): build counts the inputs",
    ),
    "nn.Sequential": (
        lambda: nn.Sequential(D, nn.ReLU()),
        "Sequential: too many positional arguments; it is Sequential(layers); put the "
        "layers in a list: Sequential([Dense(8), ReLU()])",
    ),
    "Concat": (
        lambda: nn.Concat(D, D),
        "Concat: too many positional arguments; it is Concat(branches, *, axis=-1); put "
        "the branches in a list: Concat([Dense(8), Identity()])",
    ),
    "permute": (
        lambda: nn.Permute(2, 1),
        "Permute: too many positional arguments; it is Permute(axes); put the axes in a "
        "tuple, without the batch axis: Permute((2, 1))",
    ),
    "reshape": (
        lambda: nn.Reshape(4, 4, 1),
        "Reshape: too many positional arguments; it is Reshape(shape); put the sizes in "
        "a tuple, without the batch axis: Reshape((4, 4, 1))",
    ),
    "SGD(.1, .9, .01)": (
        lambda: optimizers.SGD(0.1, 0.9, 0.01),
        "SGD: too many positional arguments; it is SGD(learning_rate=0.01, *, "
        "momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=None, clip_value=None)",
    ),
    "lr": (
        lambda: optimizers.Adam(lr=0.1),
        "Adam: got an unexpected keyword argument 'lr'; it is Adam(learning_rate=0.001, "
        "*, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, clip_norm=None, "
        "clip_value=None); write learning_rate",
    ),
    "net.parameters()": (
        lambda: optimizers.Adam([], lr=0.1),
        "Adam: got an unexpected keyword argument 'lr'; it is Adam(learning_rate=0.001, "
        "*, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, clip_norm=None, "
        "clip_value=None); write learning_rate",
    ),
    "LBFGS lr": (
        lambda: optimizers.LBFGS(lr=1),
        "LBFGS: got an unexpected keyword argument 'lr'; it is LBFGS(*, max_iter=200, "
        "tol=1e-05, history=10, max_fun=15000, weight_decay=0.0); a line search finds "
        "the length of its steps",
    ),
    "from_logits": (
        lambda: losses.BinaryCrossEntropy(from_logits=True),
        "BinaryCrossEntropy: got an unexpected keyword argument 'from_logits'; it is "
        "BinaryCrossEntropy(*, pos_weight=None, label_smoothing=0.0); it takes raw "
        "outputs: end the network without sigmoid or softmax",
    ),
    "weight": (
        lambda: losses.CategoricalCrossEntropy(weight=[1, 2]),
        "CategoricalCrossEntropy: got an unexpected keyword argument 'weight'; it is "
        "CategoricalCrossEntropy(*, label_smoothing=0.0); give weights to "
        "forward(y_pred, y_true, sample_weight) or an estimator's fit",
    ),
    "reduction": (
        lambda: losses.MeanSquaredError(reduction="sum"),
        "MeanSquaredError: got an unexpected keyword argument 'reduction'; it is "
        "MeanSquaredError(); the loss is the weighted mean of the samples",
    ),
    "alpha": (
        lambda: schedules.CosineDecay(0.1, 100, 0.01),
        "CosineDecay: too many positional arguments; it is "
        "CosineDecay(learning_rate=0.01, steps=1000, *, final=0.0, warmup=0)",
    ),
}


OF_LAYERS = {
    "an activation is a layer of its own: Dense(8), ReLU()": "activation",
    "the shape of the input is told to build: network.build(4)": "input_shape input_dim",
    "the dtype is told to build: network.build(4, dtype=np.float64)": "dtype",
    'names are given in a list: Sequential([("hidden", Dense(8)), ...])': "name",
    "it is an attribute: layer.trainable = False": "trainable",
    "layers never change the array they are given": "inplace",
    "build counts the inputs: PyTorch's Linear(4, 8) is Dense(8)": "in_features out_features "
    "in_channels out_channels",
    "write use_bias": "bias",
    "write stride": "strides",
    "write rate": "p",
}
OF_SEQUENCES = {
    "an activation is a layer of its own: Dense(8), ReLU()": "",
    "SimpleRNN has activation; an LSTM's and a GRU's are those of the formula": "activation",
    "write Bidirectional(LSTM(8))": "bidirectional",
    "write Bidirectional(LSTM(8)), which reads both ways": "go_backwards",
    "write units": "hidden_size",
    "write a layer for each: LSTM(8, return_sequences=True), GRU(8)": "num_layers",
    "rows that differ in length are a list of arrays, one for each row": "mask_zero mask",
}
LINES = {
    nn.ReLU: OF_LAYERS,
    nn.LSTM: OF_LAYERS | OF_SEQUENCES,
    losses.MeanSquaredError: {
        "the loss is the weighted mean of the samples": "reduction",
        "it takes raw outputs: end the network without sigmoid or softmax": "from_logits",
        "give weights to forward(y_pred, y_true, sample_weight) or an estimator's fit": "weight",
        "an estimator takes class_weight": "class_weight",
    },
    optimizers.SGD: {
        "write learning_rate": "lr",
        "step(flat_params, flat_grads) is given the parameters, train the network": "params",
    },
    optimizers.LBFGS: {"a line search finds the length of its steps": "lr"},
}


@pytest.mark.parametrize("kind", LINES)
def test_every_name_of_other_libraries_gets_its_whole_line(kind):
    names = {name: line for line, several in LINES[kind].items() for name in several.split()}
    assert kind.habits == names
    needed = (8,) if kind is nn.LSTM else ()
    for name, line in names.items():
        got = f"{kind.__name__}: got an unexpected keyword argument '{name}'; it is "
        with raises_exactly(TypeError, re.compile(re.escape(got) + ".*; " + re.escape(line))):
            kind(*needed, **{name: 1})


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_of_another_library_gets_the_line_to_write(habit):
    call, message = HABITS[habit]
    with raises_exactly(TypeError, message):
        call()


def test_what_all_libraries_write_is_understood():
    assert nn.Conv2D(16, 3).kernel_size == 3
    assert nn.MaxPool2D(2, 2).stride == 2
    assert nn.Embedding(10, 4).dim == 4
    assert optimizers.Adam(0.1).learning_rate == 0.1
    assert schedules.CosineDecay(0.1, 500).steps == 500


class Own(Layer):
    def __init__(self, width, *, sharp=False):
        self.width = width
        self.sharp = sharp


class Free(Layer):
    """Takes anything, which only `get_params` minds."""

    def __init__(self, *widths, **options):
        self.widths, self.options = widths, options


class Interface(ABC):
    @abstractmethod
    def area(self): ...


class Both(Own, Interface):
    def area(self):
        return self.width**2


def test_constructors_of_users_are_left_as_they_are():
    with raises_exactly(
        TypeError, "Own: too many positional arguments; it is Own(width, *, sharp=False)"
    ):
        Own(1, True)
    with raises_exactly(
        TypeError,
        "Own: got an unexpected keyword argument 'widht'; it is Own(width, *, sharp=False)",
    ):
        Own(1, widht=1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'width'"):
        Own()
    free = Free(1, 2, colour="red")
    assert free.widths == (1, 2) and free.options == {"colour": "red"}
    assert Both(3).area() == 9


@pytest.mark.parametrize("make", [copy, deepcopy, clone, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_need_no_arguments(make):
    assert repr(make(Own(3, sharp=True))) == "Own(width=3, sharp=True)"
    assert repr(make(optimizers.SGD(0.3, momentum=0.5))) == ("SGD(learning_rate=0.3, momentum=0.5)")


def test_inspect_sees_the_constructor():
    assert str(inspect.signature(nn.ReLU)) == "()"
    assert list(inspect.signature(nn.Dense).parameters) == ["units", "use_bias", "initializer"]
    assert list(inspect.signature(schedules.Constant(0.1)).parameters) == ["step"]
