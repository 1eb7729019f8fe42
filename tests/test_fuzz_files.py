"""Broken and hostile files: each one loads to an equal model or is a ModelFileError, soon.

``pytest -m ""`` tries 5,000 files and more; by default it is some hundreds.
"""

import hashlib
import io
import json
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from calls import Calls
from hypothesis import given, settings
from hypothesis import strategies as st

from layerkit import (
    BatchNorm,
    Columns,
    Dense,
    Dropout,
    MLPClassifier,
    ModelFileError,
    Sequential,
    SequentialClassifier,
    archive,
)
from layerkit.interchange import load, save
from layerkit.optimizers import Adam

X, Y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 3
CALLS, BYTES = 5_000_000, 200_000_000


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Contents of files to start from, and what is in them."""
    path = tmp_path_factory.mktemp("originals") / "model.npz"
    network = Sequential([Columns([([0, 2], Dense(3)), (1, Dropout(0.2))]), BatchNorm()])
    network.build(4, random_state=0)
    short = {"max_iter": 2, "n_iter_no_change": None, "random_state": 0}
    words = np.array(["a", "b", "c"], object)[Y]
    estimators = [
        SequentialClassifier([Dense(3)], **short).fit(X, Y),
        MLPClassifier((3,), solver="lbfgs", tol=0.1, random_state=0).fit(X, words),
    ]
    found = []
    for model in (network, *estimators):
        extras = {"optimizer": Adam()} if model is network else {}
        save(model, path, random_streams=True, **extras)
        found.append((path.read_bytes(), model))
    return found


def network_of(model):
    return model if isinstance(model, Sequential) else model.network_


def is_equal(loaded, model):
    """Whether both predict the same, to the last bit, and know the same names."""
    one, other = network_of(loaded), network_of(model)
    same = one.layout == other.layout and np.array_equal(one.flat_params, other.flat_params)
    same = same and np.array_equal(one.infer(X), other.infer(X))
    if model is not other:
        same = same and loaded.predict(X).tolist() == model.predict(X).tolist()
        same = same and loaded.loss_curve_ == model.loss_curve_
    return same


def try_to_load(content, path):
    """Return the model or None; fail if that did or took too much, or raised another error."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with Calls() as calls:
            model, message = outcome(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert calls.count < CALLS
    assert peak < BYTES
    assert model is not None or (message.startswith(str(path)) and len(message) < 2000)
    return model


def outcome(path):
    """Return the model and None, or None and what the error says."""
    try:
        return load(path), None
    except ModelFileError as error:
        return None, str(error)


# ---------------------------------------------------------------- bytes


def truncate(content, rng, others):
    return content[: rng.randrange(len(content))]


def flip(content, rng, others):
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 10])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(content, rng, others):
    start, length = rng.randrange(len(content)), rng.choice([1, 4, 30, 300])
    return content[:start] + rng.randbytes(length) + content[start + length :]


def insert(content, rng, others):
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.choice([1, 4, 100])) + content[start:]


def cut_out(content, rng, others):
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice([1, 4, 100]) :]


def repeat(content, rng, others):
    start, length = rng.randrange(len(content)), rng.choice([30, 300])
    return content[: start + length] + content[start:]


def splice(content, rng, others):
    """The beginning of one file and the end of another."""
    return content[: rng.randrange(len(content))] + others[rng.randrange(len(others)) :]


def large_numbers(content, rng, others):
    """Sizes and offsets of four bytes as large as they can be, at a header of the zip."""
    marks = [i for i in range(len(content) - 4) if content[i : i + 2] == b"PK"]
    start = rng.choice(marks) + rng.randrange(4, 46)
    value = struct.pack("<I", rng.choice([0xFFFFFFFF, 0x7FFFFFFF, 0xFFFF, rng.getrandbits(32)]))
    return content[:start] + value + content[start + 4 :]


# ---------------------------------------------------------------- members


def sealed(members):
    """Return a zip of these (name, content), with a digest that fits its tree."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name, content in members:
            target.writestr(zipfile.ZipInfo(name), content)
        tree = dict(members).get(archive.TREE, b"")
        target.comment = archive.SEAL + hashlib.sha256(tree).hexdigest().encode()
    return file.getvalue()


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        return [(name, source.read(name)) for name in source.namelist()]


def drop_member(content, rng, others):
    members = members_of(content)
    members.pop(rng.randrange(len(members)))
    return sealed(members)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def double_member(content, rng, others):
    members = members_of(content)
    return sealed([*members, (rng.choice(members)[0], rng.choice(members)[1])])


def rename_member(content, rng, others):
    members = members_of(content)
    i = rng.randrange(len(members))
    name = rng.choice(["../../etc/passwd", "/etc/passwd", "a" * 60_000, "", "C:\\x", "model", "é"])
    return sealed([(name if k == i else old, inner) for k, (old, inner) in enumerate(members)])


def swap_members(content, rng, others):
    members = members_of(content)
    names = [name for name, _ in members if name != archive.TREE]
    shuffled = rng.sample(names, len(names))
    new = dict(zip(names, shuffled, strict=True))
    return sealed([(new.get(name, name), inner) for name, inner in members])


def pickled_member(content, rng, others):
    """An object array, which NumPy would unpickle."""
    file = io.BytesIO()
    np.save(file, np.array([Bomb()], object), allow_pickle=True)
    members = members_of(content)
    i = rng.randrange(len(members) - 1)
    return sealed([(n, file.getvalue() if k == i else c) for k, (n, c) in enumerate(members)])


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self):
        return (explode, ())


def explode():
    raise SystemExit("code from the file was run")


def header_of_member(content, rng, others):
    """A header that promises more than there is."""
    members = members_of(content)
    i = rng.randrange(len(members) - 1)
    name, inner = members[i]
    shape = rng.choice([b"(10000000000,)", b"(1,1,1,1,1)", b"(-1,)", b"((((((1", b"open('x')"])
    start = inner.find(b"'shape': ") + 9
    inner = inner[:start] + shape + inner[start + len(shape) :]
    members[i] = (name, inner)
    return sealed(members)


def bomb(content, rng, others):
    """A gigabyte that takes a megabyte in the file."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as target:
        comment = target.comment
        target.writestr(rng.choice(["bomb.npy", "more.json"]), b"\0" * 10**7)
        target.comment = comment
    return file.getvalue()


# ---------------------------------------------------------------- the tree, sealed anew

ODD = [None, True, -1, 0, 10**12, 2**63, 10**400, 1e308, "", "os.system", "x" * 10_000, [], {}]
ODD += [{"$tuple": 3}, {"$array": ["x", "O", [1], ""]}, {"$layer": {}}, {"$object": [1, 2, 3]}]
ODD += [
    {"$partial": [["$named"], [], {}]},
    {"$float": "nan"},
    {"$dict": [[[], 1]]},
    {"a": 1, "$b": 2},
]
ODD += [{"$named": ["__import__", False]}, {"$slice": [0, 10**12, 1]}, {"$objects": [[9**9], []]}]
ODD += [{"$object": [["Sequential", False], {"layers": []}, None]}, {"$dtype": "O"}]


def change_tree(content, rng, others):
    members = dict(members_of(content))
    tree = json.loads(members[archive.TREE])
    for _ in range(rng.choice([1, 1, 3])):
        spots = list(places(tree))
        holder, key = rng.choice(spots)
        kind = rng.randrange(4)
        if kind == 0:
            holder[key] = rng.choice(ODD)
        elif kind == 1:
            other, its_key = rng.choice(spots)
            holder[key] = json.loads(json.dumps(other[its_key]))
        elif kind == 2 and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = nested(holder[key], rng.choice([1, 50, 5000]), rng)
    text = dumps(tree)
    if rng.random() < 0.2:
        text = text.replace(b'"class"', b'"class": 1, "class"', 1)
    return sealed(
        [*((n, c) for n, c in members.items() if n != archive.TREE), (archive.TREE, text)]
    )


def places(tree):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(value, dict | list) and len(value):
            yield from places(value)


def nested(value, depth, rng):
    if depth > 500:  # deeper than json can write by itself
        return f"@@{depth}@@"
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"$tuple": [value]}
    return value


def dumps(tree):
    text = json.dumps(tree).encode()
    return text.replace(b'"@@5000@@"', b"[" * 5000 + b"]" * 5000)


def json_tricks(content, rng, others):
    members = dict(members_of(content))
    text = members[archive.TREE]
    members[archive.TREE] = rng.choice(
        [
            text.replace(b"false", b"NaN"),
            text.replace(b"1,", b"Infinity,", 1),
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"9" * 10_000_000,
            b"[" + b"0," * 3_000_000 + b"0]",
            text.replace(b":", b": /* */ ", 1),
            b"\xef\xbb\xbf" + text,
            text.decode().encode("utf-16"),
            b"",
            b"null",
            b'"' + b"\\ud800" * 1000 + b'"',
            text + b" " * 10**7,
        ]
    )
    return sealed(list(members.items()))


def weights(content, rng, others):
    """NaN and infinite weights, with digests that fit."""
    tree = archive.read(io_path(content))
    built = find_built(tree["model"])
    params = built["params"].copy()
    params[rng.randrange(len(params))] = rng.choice([np.nan, np.inf, -np.inf])
    built["params"] = params
    path = io_path(content)
    archive.write(path, tree)
    return path.read_bytes()


def find_built(node):
    value = node.value
    if node.kind == "estimator":
        return find_built(value[2]["network_"])
    return value["built"]


IO = {}


def io_path(content):
    IO["path"].write_bytes(content)
    return IO["path"]


DAMAGE = [truncate, flip, overwrite, insert, cut_out, repeat, splice, large_numbers]
DAMAGE += [drop_member, double_member, rename_member, swap_members, pickled_member]
DAMAGE += [header_of_member, bomb, json_tricks, weights]
FORGERY = [change_tree]


@pytest.mark.filterwarnings("ignore:Duplicate name", "ignore::RuntimeWarning")
@pytest.mark.parametrize("rounds", [12, pytest.param(220, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mutate", DAMAGE, ids=lambda mutate: mutate.__name__)
def test_damaged_files(mutate, rounds, originals, tmp_path):
    """Damage is noticed or makes no difference; 17 kinds of it, so 3,740 files in CI."""
    IO["path"] = tmp_path / "made.npz"
    rng = random.Random(mutate.__name__)
    slow_to_make = (json_tricks, bomb)
    for _ in range(rounds if mutate not in slow_to_make else rounds // 4 + 1):
        content, model = rng.choice(originals)
        others, _ = rng.choice(originals)
        loaded = try_to_load(mutate(content, rng, others), tmp_path / "fuzzed.npz")
        assert loaded is None or is_equal(loaded, model)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rounds", [120, pytest.param(1700, marks=pytest.mark.slow)])
def test_forged_trees(rounds, originals, tmp_path):
    """A digest does not tell who wrote a file: what is sealed anew is still read with care."""
    rng = random.Random(rounds)
    refused = 0
    for _ in range(rounds):
        content, _ = rng.choice(originals)
        loaded = try_to_load(change_tree(content, rng, None), tmp_path / "fuzzed.npz")
        refused += loaded is None
    assert refused > rounds / 3


@settings(max_examples=150)
@given(content=st.binary(max_size=400))
def test_anything_at_all(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "anything.npz"
    assert try_to_load(content, path) is None
    assert try_to_load(sealed([(archive.TREE, content)]), path) is None


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("ab$", max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(tree=PLAIN)
def test_every_plain_tree_comes_back(tree, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "plain.npz"
    archive.write(path, tree)
    assert archive.read(path) == tree


def test_a_zip_bomb_of_overlapping_members(originals, tmp_path):
    """Many names in the directory for the same bytes of the file."""
    content, _ = originals[0]
    end = content.rfind(b"PK\5\6")
    count, size, start = struct.unpack("<HII", content[end + 10 : end + 20])
    directory = content[start : start + size]
    many = 2000
    record = content[end : end + 8] + struct.pack("<HHII", many, many, size * many // count, start)
    bombed = content[:start] + directory * (many // count) + record + content[end + 20 :]
    assert try_to_load(bombed, tmp_path / "fuzzed.npz") is None


def test_many_members(tmp_path):
    members = [(f"{i}.npy", b"") for i in range(archive.MOST_MEMBERS + 1)]
    assert try_to_load(sealed([*members, (archive.TREE, b"{}")]), tmp_path / "fuzzed.npz") is None


def many_layers(n_layers, file):
    """Return a file of so many layers: small, and quadratic to set up."""
    node = {"$layer": {"class": ["Dropout", False], "params": {"rate": 0.5}}}
    chain = [node] * n_layers
    built = {"input_shape": [3], "dtype": "<f4", "layout": [], "buffers": {}, "streams": None}
    archive.write(file, {"params": np.zeros(0, np.float32)})
    members = dict(members_of(file.read_bytes()))
    array = json.loads(members[archive.TREE])["params"]
    layers = {"class": ["Sequential", False], "params": {"layers": chain}}
    tree = {"format": "layerkit model", "version": 1, "estimator": False, "optimizer": None}
    tree["model"] = {"$layer": layers | {"built": built | {"params": array}}}
    members[archive.TREE] = json.dumps(tree).encode()
    file.write_bytes(sealed(list(members.items())))


def test_many_layers(tmp_path):
    file, counts = tmp_path / "made.npz", []
    for n_layers in (100, 200):
        many_layers(n_layers, file)
        with Calls() as calls:
            assert len(load(file)) == n_layers
        counts.append(calls.count)
    assert counts[1] < 4 * counts[0]  # so the most that are allowed take seconds ...
    many_layers(5_000, file)
    assert try_to_load(file.read_bytes(), file) is None  # ... and more are refused at once


@pytest.mark.slow
def test_as_many_layers_as_are_allowed(tmp_path):
    many_layers(1900, tmp_path / "made.npz")
    assert len(load(tmp_path / "made.npz")) == 1900


@pytest.mark.parametrize(
    "keys",
    [["a b", "a_b", "a?b"], ["tree.json", "tree_json"], ["x" * 300 + "1", "x" * 300 + "2"]],
    ids=["odd letters", "the tree's own", "long"],
)
def test_arrays_whose_names_would_be_one_stay_apart(keys, tmp_path):
    from layerkit import archive

    assert archive.TREE == "tree.json"
    tree = {key: np.arange(i, i + 3.0) for i, key in enumerate(keys)}
    archive.write(tmp_path / "file", tree)
    found = archive.read(tmp_path / "file")
    assert list(found) == keys
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(found[key], np.arange(i, i + 3.0))
