"""Errors and what exactly they say."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

Kind = type[BaseException] | tuple[type[BaseException], ...]


def theirs(part: str) -> re.Pattern[str]:
    """A message of another library, or one that varies: this part of it is looked at."""
    return re.compile(f"(?s:.*{re.escape(part)}.*)")


@contextmanager
def raises_exactly(
    kind: Kind, text: str | re.Pattern[str]
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Hold the whole message: a text as it is, or a pattern where it is not ours or varies."""
    with pytest.raises(kind) as raised:
        yield raised
    if isinstance(text, str):
        assert str(raised.value) == text
    else:
        assert text.fullmatch(str(raised.value)), str(raised.value)


@contextmanager
def warns_exactly(
    kind: type[Warning], text: str | re.Pattern[str]
) -> Iterator[pytest.WarningsRecorder]:
    whole = re.escape(text) if isinstance(text, str) else text.pattern
    with pytest.warns(kind, match=rf"\A(?:{whole})\Z") as caught:
        yield caught


def error_of(kind: type[Exception], call: Callable, argument: object) -> str:
    with pytest.raises(kind) as raised:
        call(argument)
    return str(raised.value)
