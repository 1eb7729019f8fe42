"""Hyper-parameters: reading, setting, nesting, cloning."""

import numpy as np
import pytest
from errors import raises_exactly
from sklearn.base import clone

from layerkit import estimators, layers, losses, optimizers, schedules
from layerkit.parameters import Parameterized


class Leaf(Parameterized):
    def __init__(self, size=1, colour="green"):
        self.size = size
        self.colour = colour


class Branch(Parameterized):
    def __init__(self, leaf=None, length=1.0, function=np.ones):
        self.leaf = leaf
        self.length = length
        self.function = function


class Tree(Parameterized):
    """Its children hide in a list."""

    def __init__(self, branches):
        self.branches = branches

    def _nested(self):
        for i, branch in enumerate(self.branches):
            yield f"branches__{i}", branch

    def _set_nested(self, name, value):
        i = int(name.removeprefix("branches__"))
        self.branches = [*self.branches[:i], value, *self.branches[i + 1 :]]


class Bare(Parameterized):
    pass


def test_parameters_are_the_constructors_arguments():
    assert Leaf(3).get_params() == {"size": 3, "colour": "green"}
    assert Bare().get_params() == {}


def test_nested_parameters_are_reported_when_deep():
    leaf = Leaf(size=3)
    branch = Branch(leaf)
    assert branch.get_params(deep=False) == {"leaf": leaf, "length": 1.0, "function": np.ones}
    assert branch.get_params() == branch.get_params(deep=False) | {
        "leaf__size": 3,
        "leaf__colour": "green",
    }
    assert "leaf__size" not in Branch(Leaf).get_params()  # a class is a value like any other
    assert Tree([Branch(), branch]).get_params()["branches__1__leaf__size"] == 3


def test_set_params_reaches_every_depth_and_returns_self():
    tree = Tree([Branch(), Branch(Leaf())])
    assert tree.set_params(branches__0__length=5.0, branches__1__leaf__size=7) is tree
    assert tree.branches[0].length == 5.0
    assert tree.branches[1].leaf.size == 7


def test_a_parent_is_set_before_its_children_whatever_the_order():
    branch = Branch(Leaf(size=1)).set_params(leaf__size=7, leaf=Leaf(colour="red"))
    assert repr(branch.leaf) == "Leaf(size=7, colour='red')"
    tree = Tree([]).set_params(branches__0__length=2.0, branches=[Branch()])
    assert tree.branches[0].length == 2.0


def test_replacing_a_child_leaves_the_callers_list_alone():
    given = [Branch(), Branch()]
    tree = Tree(given).set_params(branches__1=Leaf(), branches__1__size=4)
    assert repr(tree.branches) == "[Branch(), Leaf(size=4)]"
    assert repr(given) == "[Branch(), Branch()]"


@pytest.mark.parametrize("name", ["width", "leaf__width", "leaf__size__x", "length__size", "_leaf"])
def test_unknown_names_are_refused_with_the_valid_ones_and_nothing_is_set(name):
    branch = Branch(Leaf())
    message = (
        f"Branch has no parameter {name!r}; "
        "valid parameters are leaf, length, function, leaf__size, leaf__colour"
    )
    with raises_exactly(ValueError, message):
        branch.set_params(length=9.0, leaf__size=9, **{name: 1})
    assert repr(branch) == "Branch(leaf=Leaf())"


def test_nothing_is_set_in_a_list_either():
    tree = Tree([Branch()])
    before = tree.branches
    with raises_exactly(
        ValueError,
        "Tree has no parameter 'branches__3__length'; valid parameters are branches, "
        "branches__0, branches__0__size, branches__0__colour",
    ):
        tree.set_params(branches__0=Leaf(), branches__3__length=1)
    assert tree.branches is before


def test_repr_of_what_is_nested_writes_each_level_once():
    class Once(Leaf):
        def __repr__(self):
            written.append(self)
            return "Once()"

    written, tree = [], Once()
    for _ in range(10):
        tree = Branch(tree)
    assert repr(tree).count("Branch(leaf=") == 10
    assert len(written) == 1


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(Bare()) == "Bare()"
    assert repr(Leaf()) == "Leaf()"
    assert repr(Leaf(size=2)) == "Leaf(size=2)"
    assert repr(Branch(length=float("nan"), function=np.zeros)) == (
        "Branch(length=nan, function=zeros)"
    )
    assert repr(Tree([Branch(Leaf(colour="red"))])) == (
        "Tree(branches=[Branch(leaf=Leaf(colour='red'))])"
    )


def test_clone_copies_all_the_way_down():
    tree = Tree([Branch(Leaf(size=3))])
    twin = clone(tree)
    assert repr(twin) == repr(tree)
    twin.set_params(branches__0__leaf__size=4)
    assert tree.branches[0].leaf.size == 3


def test_a_constructor_must_name_its_arguments():
    class Open(Parameterized):
        def __init__(self, *sizes, **options):
            pass

    with raises_exactly(TypeError, "Open.__init__ must name its hyper-parameters, without * or **"):
        Open().get_params()


def test_check_names_parameter_expectation_and_value():
    with raises_exactly(ValueError, "Leaf(size=-1): size must be a positive number, got -1"):
        Leaf(size=-1).check(False, "size", "a positive number")
    Leaf().check(True, "size", "a positive number")


PUBLIC = [
    kind
    for module in (layers, losses, optimizers, schedules, estimators)
    for kind in (getattr(module, name) for name in module.__all__)
    if isinstance(kind, type) and issubclass(kind, Parameterized | estimators.TableEncoder)
]


@pytest.mark.parametrize("kind", PUBLIC)
def test_two_objects_with_the_same_parameters_are_two_and_can_be_in_a_set(kind):
    """Trees know their layers by identity, and so do callers that keep models in a dict."""
    assert kind.__eq__ is object.__eq__ and kind.__hash__ is object.__hash__


def test_public_kinds_are_many():
    assert len(PUBLIC) > 110
