"""What constructors take: arguments of other libraries are refused with the line to write here."""

import inspect
import pickle
from abc import ABC, abstractmethod
from copy import copy, deepcopy

import pytest
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
    with pytest.raises(TypeError, match=rf"^{name}: too many positional arguments; it is {name}\("):
        getattr(package, name)(*range(1 + len(by_place)))


D = nn.Dense(2)
HABITS = {
    "nn.Linear(4, 8)": (lambda: nn.Dense(4, 8), r"Linear\(4, 8\) is Dense\(8\)"),
    "Dense(8, 'relu')": (lambda: nn.Dense(8, "relu"), r"Dense\(8\), ReLU\(\)"),
    "activation": (lambda: nn.Dense(8, activation="relu"), r"'activation'; .*Dense\(8\), ReLU\(\)"),
    "Conv activation": (lambda: nn.Conv2D(8, 3, activation="relu"), r"a layer of its own"),
    "input_shape": (lambda: nn.Dense(8, input_shape=(4,)), r"network\.build\(4\)"),
    "bias": (lambda: nn.Dense(8, bias=False), r"'bias'; it is Dense\(units, \*, use_bias=True"),
    "Conv2d(1, 16, 3)": (lambda: nn.Conv2D(1, 16, 3), r"is Conv2D\(16, 5\): build counts"),
    "Conv1d(1, 16, 3)": (lambda: nn.Conv1D(1, 16, 3), r"build counts the input's channels"),
    "strides": (lambda: nn.Conv2D(8, 3, strides=2), r"kernel_size, \*, stride=1"),
    "LayerNorm(16)": (lambda: nn.LayerNorm(16), r"LayerNorm\(16\) is LayerNorm\(\)"),
    "BatchNorm1d(64)": (lambda: nn.BatchNorm(64), r"build counts the channels"),
    "GroupNorm(4, 16)": (lambda: nn.GroupNorm(4, 16), r"GroupNorm\(4, 16\) GroupNorm\(4\)"),
    "Dropout inplace": (lambda: nn.Dropout(0.5, True), r"it is Dropout\(rate=0\.5\)"),
    "ReLU(True)": (lambda: nn.ReLU(True), r"it is ReLU\(\)"),
    "inplace": (lambda: nn.ReLU(inplace=True), r"never change the array"),
    "Embedding padding": (lambda: nn.Embedding(10, 4, 0), r"Embedding\(num_embeddings, dim\)"),
    "MaxPool2d padding": (lambda: nn.MaxPool2D(2, 2, 1), r"stride=None, \*, padding='valid'"),
    "LSTM activation": (lambda: nn.LSTM(8, activation="relu"), r"SimpleRNN has activation"),
    "LSTM mask": (lambda: nn.LSTM(8, mask_zero=True), r"a list of arrays, one for each row"),
    "GRU num_layers": (lambda: nn.GRU(8, num_layers=2), r"return_sequences=True\), GRU\(8\)"),
    "bidirectional": (lambda: nn.LSTM(8, bidirectional=True), r"Bidirectional\(LSTM\(8\)\)"),
    "hidden_size": (lambda: nn.LSTM(hidden_size=8), "write units"),
    "LSTM(4, 8)": (lambda: nn.LSTM(4, 8), r"LSTM\(4, 8\) is LSTM\(8\)"),
    "RNN(4, 8)": (lambda: nn.SimpleRNN(4, 8), r"LSTM\(4, 8\) is LSTM\(8\)"),
    "nn.Sequential": (lambda: nn.Sequential(D, nn.ReLU()), r"Sequential\(\[Dense\(8\), ReLU"),
    "Concat": (lambda: nn.Concat(D, D), r"Concat\(\[Dense\(8\)"),
    "permute": (lambda: nn.Permute(2, 1), r"Permute\(\(2, 1\)\)"),
    "reshape": (lambda: nn.Reshape(4, 4, 1), r"Reshape\(\(4, 4, 1\)\)"),
    "SGD(.1, .9, .01)": (lambda: optimizers.SGD(0.1, 0.9, 0.01), r"=0\.01, \*, momentum=0\.0"),
    "lr": (lambda: optimizers.Adam(lr=0.1), r"'lr'; it is Adam\(.*; write learning_rate$"),
    "net.parameters()": (lambda: optimizers.Adam([], lr=0.1), r"write learning_rate$"),
    "LBFGS lr": (lambda: optimizers.LBFGS(lr=1), r"line search"),
    "from_logits": (lambda: losses.BinaryCrossEntropy(from_logits=True), r"raw outputs"),
    "weight": (lambda: losses.CategoricalCrossEntropy(weight=[1, 2]), r"sample_weight"),
    "reduction": (lambda: losses.MeanSquaredError(reduction="sum"), r"weighted mean"),
    "alpha": (lambda: schedules.CosineDecay(0.1, 100, 0.01), r"steps=1000, \*, final=0\.0"),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_of_another_library_gets_the_line_to_write(habit):
    call, message = HABITS[habit]
    with pytest.raises(TypeError, match=message):
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
    with pytest.raises(TypeError, match=r"^Own: too many .*; it is Own\(width, \*, sharp=False\)$"):
        Own(1, True)
    with pytest.raises(TypeError, match=r"^Own: .* 'widht'; it is Own\(width, \*, sharp=False\)$"):
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
