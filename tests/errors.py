"""Errors and what exactly they say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def raises_exactly(kind: type[Exception], text: str) -> Iterator[None]:
    with pytest.raises(kind) as raised:
        yield
    assert str(raised.value) == text


def error_of(kind: type[Exception], call: Callable, argument: object) -> str:
    with pytest.raises(kind) as raised:
        call(argument)
    return str(raised.value)
