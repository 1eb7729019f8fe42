"""Text and HTML of records, which know neither.

A renderer registers itself for a class of records, with ``@as_text.register`` and the like; the
package of both imports it.
"""

from functools import singledispatch
from typing import Any


@singledispatch
def as_text(record: Any) -> str:
    """Return a record for a terminal."""
    raise TypeError(f"no text for {type(record).__name__}")


@singledispatch
def as_html(record: Any) -> str:
    """Return a record for a notebook."""
    raise TypeError(f"no HTML for {type(record).__name__}")


@singledispatch
def as_markdown(record: Any) -> str:
    """Return a record as a page for GitHub."""
    raise TypeError(f"no Markdown for {type(record).__name__}")


@singledispatch
def as_page(record: Any) -> str:
    """Return a record as a page of HTML that stands alone."""
    raise TypeError(f"no page for {type(record).__name__}")


class Printed:
    """A record with a renderer for terminals."""

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return as_text(self)


class Shown(Printed):
    """A record with renderers for terminals and for notebooks."""

    def _repr_html_(self) -> str:
        return as_html(self)
