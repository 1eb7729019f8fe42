"""A tree of plain values and arrays as one file that is safe to read: arrays, and a JSON text.

The file is an uncompressed zip, so that ``numpy.load`` opens it (an ``.npz``): one ``.npy`` member
for every array, and ``tree.json``, which has everything else and says what each array must be.
Nothing in a file is ever run, and no memory is taken that the file does not have itself.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from zipfile import ZipFile

TREE = "tree.json"
SEAL = b"layerkit sha256 "  # the archive's comment: this and the digest of tree.json

# What a file may ask for beside the bytes of its arrays.
LARGEST_TREE = 2**24  # bytes of JSON
MOST_VALUES = 400_000
MOST_MEMBERS = 10_000
MOST_SCALARS = 5_000  # that are members, as layerkit 0.1.0 reads them; more stand in tree.json
DEEPEST = 120
CHUNK = 2**20


class ModelFileError(ValueError):
    """A model file or checkpoint that is damaged, not ours, too new, or for something else."""


@dataclass(frozen=True)
class Node:
    """A value of a kind that only the writer and the reader of a tree know of."""

    kind: str
    value: Any


def write(path: str | os.PathLike | IO[bytes], tree: Any) -> None:
    """Write a tree to a file, whole or not at all.

    It goes to a temporary file in the same folder, which takes the place of `path` once it is on
    the disk: whoever is killed meanwhile leaves the old file as it was.

    Parameters
    ----------
    path : str, path or binary file object
        An open file is written to as it is, from where it stands.
    tree : dict, list, tuple, None, bool, int, float, str, NumPy array or scalar, or `Node`
        Nested as you like. Arrays of numbers, bools and text; object arrays of plain values.

    Raises
    ------
    TypeError
        If something in the tree is none of these; it says where. Nothing has been written.
    ModelFileError
        If there is more of it than `read` would let in. Nothing has been written.
    OSError
        If the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> write(f"{folder.name}/tree.npz", {"W": np.eye(2), "sizes": (2, None)})
    >>> read(f"{folder.name}/tree.npz")
    {'W': array([[1., 0.],
           [0., 1.]]), 'sizes': (2, None)}
    >>> np.load(f"{folder.name}/tree.npz")["W"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    arrays: dict[str, np.ndarray] = {}
    plain = _encode(tree, "", arrays, 0)
    text = json.dumps(plain, allow_nan=False, ensure_ascii=False).encode(errors="strict")
    _check_text(text)
    if len(arrays) >= MOST_MEMBERS:
        raise ModelFileError(f"too many arrays: {len(arrays)}, at most {MOST_MEMBERS - 1}")
    from zipfile import ZipFile, ZipInfo

    with _opened_to_write(path) as file, ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            info = ZipInfo(f"{name}.npy")  # dated 1980: equal models give equal files
            with archive.open(info, "w", force_zip64=array.nbytes > 2**30) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.writestr(ZipInfo(TREE), text)
        archive.comment = SEAL + hashlib.sha256(text).hexdigest().encode()


def read(path: str | os.PathLike | IO[bytes]) -> Any:
    """Read what `write` has written.

    Raises
    ------
    ModelFileError
        If the file is anything else, or damaged.
    OSError
        If it cannot be read at all.
    """
    given: Any = path
    with contextlib.nullcontext(given) if hasattr(given, "read") else open(given, "rb") as file:
        try:
            return _read(file)
        except ModelFileError as error:
            raise ModelFileError(f"{name_of(path)}: {error}") from error.__cause__
        except Exception as error:  # raised by zipfile, json and NumPy for a broken file
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a wrong offset
                raise
            reason = f"not a layerkit file, or damaged: {type(error).__name__}: {str(error)[:200]}"
            raise ModelFileError(f"{name_of(path)}: {reason}") from error


def name_of(path: Any) -> str:
    """Return the name of a file for errors: its path, or the name of an open one."""
    if hasattr(path, "read") or hasattr(path, "write"):
        return str(getattr(path, "name", type(path).__name__))
    return os.fsdecode(path)


# ---------------------------------------------------------------- writing


def _opened_to_write(path: Any) -> contextlib.AbstractContextManager[IO[bytes]]:
    if isinstance(path, io.TextIOBase):
        raise TypeError(f"{name_of(path)} must be open for bytes, as with mode='wb', not for text")
    return contextlib.nullcontext(path) if hasattr(path, "write") else replacing(Path(path))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the place of ``path`` when all went well."""
    given = os.fspath(path)
    if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced
        with open(path, "wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))  # through a link, to the file that it names
    if not path.parent.is_dir():
        code = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
        raise OSError(code, f"there is no folder {os.fspath(path.parent)!r} to write to", given)
    temporary = path.with_name(f"{_temporary(path)}{secrets.token_hex(4)}.tmp")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            with contextlib.suppress(OSError):  # no file yet, or a disk without permissions
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and str(error.filename) == os.fspath(temporary):
            error.filename = given  # name the file that the user knows
        raise
    _sync_folder(path.parent)


def _temporary(path: Path) -> str:
    """Return how the names of temporary files of ``path`` begin; a long name stands as a digest."""
    if len(os.fsencode(path.name)) <= 200:
        return f".{path.name}."
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}."


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of writers of ``path`` that were killed."""
    path = Path(os.path.realpath(path))
    for temporary in path.parent.glob(f"{glob.escape(_temporary(path))}{'[0-9a-f]' * 8}.tmp"):
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be synced."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems cannot
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _encode(value: Any, where: str, arrays: dict[str, np.ndarray], depth: int) -> Any:
    """Turn a value into JSON, its arrays set aside under the name of their place."""

    def inner(value: Any, name: object) -> Any:
        return _encode(value, f"{where}/{name}" if where else str(name), arrays, depth + 1)

    if depth > DEEPEST:
        raise TypeError(f"cannot store what is nested more than {DEEPEST} levels deep, in {where}")
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if type(value) in (list, tuple):
        items = [inner(item, i) for i, item in enumerate(value)]
        return items if type(value) is list else {"$tuple": items}
    if type(value) is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: inner(item, key) for key, item in value.items()}
        pairs = enumerate(value.items())
        return {"$dict": [[inner(key, f"key {i}"), inner(item, i)] for i, (key, item) in pairs]}
    if isinstance(value, Node):
        return {f"${value.kind}": _encode(value.value, where, arrays, depth + 1)}
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        scalar = np.asarray(value)
        inline = len(arrays) >= MOST_SCALARS
        return {"$scalar": _inline(scalar) if inline else _set_aside(scalar, where, arrays)}
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        items = [inner(item, i) for i, item in enumerate(value.ravel().tolist())]
        return {"$objects": [list(value.shape), items]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return {"$array": _set_aside(value, where, arrays)}
    raise TypeError(f"cannot store {where or 'the tree'} = {value!r}, a {_kind(value)}")


def _kind(value: Any) -> str:
    kind = type(value)
    array = f" of {value.dtype}" if isinstance(value, np.ndarray | np.generic) else ""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.") + array


def _set_aside(array: np.ndarray, where: str, arrays: dict[str, np.ndarray]) -> list[Any]:
    """Keep an array for a member of its own; return its name, dtype, shape and digest."""
    name = "".join(c if c.isalnum() or c in "/._-" else "_" for c in where)[:200] or "array"
    while name in arrays or name == TREE:
        name += "_"
    dtype = array.dtype.newbyteorder("<")
    arrays[name] = array = np.ascontiguousarray(array, dtype).reshape(array.shape)
    return [name, dtype.str, list(array.shape), hashlib.sha256(_bytes(array)).hexdigest()]


def _inline(scalar: np.ndarray) -> list[str]:
    scalar = scalar.astype(scalar.dtype.newbyteorder("<"))
    return [scalar.dtype.str, scalar.tobytes().hex()]


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


# ---------------------------------------------------------------- reading


def _read(file: IO[bytes]) -> Any:
    from zipfile import ZipFile

    size = _check_end(file)
    with ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(set(names)) != len(names):
            raise ModelFileError("damaged: a member stands in it twice")
        if any(member.compress_type != 0 or member.flag_bits & 1 for member in members):
            raise ModelFileError("not a layerkit file: a member is compressed or encrypted")
        if sum(member.file_size for member in members) > size:
            raise ModelFileError("damaged: its members are larger than the file")
        if TREE not in names:
            raise ModelFileError(f"not a layerkit file, it has no {TREE}")
        if archive.getinfo(TREE).file_size > LARGEST_TREE:
            raise ModelFileError(f"its {TREE} is larger than {LARGEST_TREE} bytes")
        text = archive.read(TREE)
        if archive.comment != SEAL + hashlib.sha256(text).hexdigest().encode():
            raise ModelFileError(f"damaged: its {TREE} is not what was written")
        return _Reader(archive, names).read(text)


def _check_end(file: IO[bytes]) -> int:
    """Refuse an end that is not ours, before zipfile builds a list of the members; give the size.

    The record at the end of a zip is 22 bytes and the comment. The one for large archives, which
    stands before it, can hide how many members there are.
    """
    size = file.seek(0, os.SEEK_END)
    length = len(SEAL) + 64
    file.seek(max(0, size - 22 - length - 20))
    end = file.read()
    locator, record = end[:20], end[20:42]
    if len(end) != 42 + length or record[:4] != b"PK\5\6" or not end[42:].startswith(SEAL):
        raise ModelFileError("not a layerkit file, or cut off")
    n_members = int.from_bytes(record[10:12], "little")
    if n_members > MOST_MEMBERS or (locator[:4] == b"PK\6\7" and size < 2**31 - 2**24):
        raise ModelFileError("not a layerkit file: it claims too many members")
    file.seek(0)
    return size


def _check_text(text: bytes) -> None:
    """Refuse a JSON text that takes more memory and time than any model's."""
    values = sum(text.count(mark) for mark in (b",", b"[", b"{"))
    if len(text) > LARGEST_TREE or values > MOST_VALUES:
        raise ModelFileError(
            f"too much beside its arrays: {len(text)} bytes and about {values} values of JSON, at "
            f"most {LARGEST_TREE} and {MOST_VALUES}"
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ModelFileError("damaged: a name stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ModelFileError(f"damaged: {name} is no JSON")


class _Reader:
    """Turns JSON back into values, and reads each array when its declaration comes up."""

    def __init__(self, archive: ZipFile, names: list[str]) -> None:
        self.archive = archive
        self.unread = {*names} - {TREE}

    def read(self, text: bytes) -> Any:
        _check_text(text)
        plain = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        tree = self.decode(plain, 0)
        if self.unread:
            raise ModelFileError(f"damaged: nothing says what {min(self.unread)} is")
        return tree

    def decode(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise ModelFileError(f"nested more than {DEEPEST} levels deep")
        if isinstance(value, list):
            return [self.decode(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, inner),) = value.items()
            if key.startswith("$"):
                return self.tagged(key[1:], inner, depth + 1)
        if any(key.startswith("$") for key in value):
            raise ModelFileError(f"damaged: names {sorted(value)[:3]} in one object")
        return {key: self.decode(item, depth + 1) for key, item in value.items()}

    def tagged(self, kind: str, value: Any, depth: int) -> Any:
        if kind == "array":
            return self.array(*value)
        if kind == "scalar":
            return _scalar(*value) if len(value) == 2 else self.array(*value)[()]
        if kind == "float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value]
        if kind == "tuple":  # these are one level each, as in `_encode`
            return tuple(self.decode(item, depth) for item in _as_list(value))
        if kind == "dict":
            pairs = map(_as_list, _as_list(value))
            return {self.decode(key, depth): self.decode(item, depth) for key, item in pairs}
        if kind == "objects":
            shape, items = value
            filled = np.empty(len(_as_list(items)), object)
            for i, item in enumerate(items):
                filled[i] = self.decode(item, depth)
            return filled.reshape(shape)
        return Node(kind, self.decode(value, depth))

    def array(self, name: str, code: str, shape: list[int], digest: str) -> np.ndarray:
        """Read a member after checking that it has the declared size."""
        member = f"{name}.npy"
        if member not in self.unread:
            raise ModelFileError(f"damaged: {member[:100]} is missing")
        self.unread.remove(member)
        dtype = _dtype(code, member)
        if type(shape) is not list or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
            raise ModelFileError(f"{member[:100]}: {str(shape)[:100]} is no shape")
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes > self.archive.getinfo(member).file_size:
            raise ModelFileError(f"{member[:100]} must have {n_bytes} bytes, but is smaller")
        with self.archive.open(member) as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ModelFileError(f"{member[:100]}: not version 1 of NumPy's format")
            header = np.lib.format.read_array_header_1_0(stream)
            if header != (tuple(shape), False, dtype):
                raise ModelFileError(f"{member[:100]}: must be {code} {tuple(shape)}, is {header}")
            array = np.empty(shape, dtype)
            _fill(_bytes(array), stream, member)
        if hashlib.sha256(_bytes(array)).hexdigest() != digest:
            raise ModelFileError(f"damaged: {member[:100]} is not what was written")
        return _native(array, member)


def _dtype(code: str, where: str) -> np.dtype:
    dtype = np.dtype(code)
    if dtype.kind not in "biufU" or dtype.str != code:
        raise ModelFileError(f"{where[:100]}: an array of {str(code)[:20]} is not for here")
    return dtype


def _native(array: np.ndarray, where: str) -> np.ndarray:
    """Refuse invalid bytes, and return the array in this machine's byte order."""
    if array.dtype.kind == "U":
        array.tolist()  # raises where bytes are no characters
    if array.dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise ModelFileError(f"{where[:100]}: a truth value is neither 0 nor 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _scalar(code: str, digits: str) -> np.generic:
    """Read what `_inline` has made of a scalar."""
    (scalar,) = _native(np.frombuffer(bytes.fromhex(digits), _dtype(code, "a scalar")), "a scalar")
    return scalar


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ModelFileError("damaged: a list is missing")
    return value


def _fill(buffer: memoryview, stream: IO[bytes], member: str) -> None:
    start = 0
    while start < len(buffer):
        piece = stream.read(min(CHUNK, len(buffer) - start))
        if not piece:
            raise ModelFileError(f"damaged: {member[:100]} ends too early")
        buffer[start : start + len(piece)] = piece
        start += len(piece)
    if stream.read(1):
        raise ModelFileError(f"damaged: {member[:100]} is longer than it must be")
