"""Tables and numbers, and how records come to them."""

import math

import pytest
from errors import raises_exactly

from layerkit.inspection.shown import Printed, Shown, as_html, as_markdown, as_text
from layerkit.tables import html_row, html_table, number, percent, ruled, short_number, text_table


def test_numbers():
    assert [number(x) for x in (-0.0, 1 / 3, 12345.6)] == ["0", "0.3333", "1.235e+04"]
    assert [short_number(x) for x in (0.0, 1 / 3, 234.6, 1e-5, -2e7)] == [
        *("0", "0.33", "235", "1e-5", "-2e7")
    ]
    assert [short_number(x) for x in (math.nan, math.inf, -math.inf)] == ["–", "∞", "-∞"]
    assert [percent(x) for x in (0.0, math.nan, 0.256)] == ["–", "–", "26%"]


def test_text_table_aligns_its_columns():
    lines = text_table([("layer", "params", "x"), ("Dense", "1,001", "")], [False, True, False])
    assert lines == ["layer  params  x", "Dense   1,001"]
    assert ruled(lines) == [lines[0], "-" * 16, lines[1]]
    with raises_exactly(ValueError, "zip() argument 3 is shorter than arguments 1-2"):
        text_table([("a", "b")], [False])


def test_html_table_sets_a_style_for_each_column():
    assert html_row(["1", "2"], ["a", "b"], tag="th") == (
        '<tr><th style="a">1</th><th style="b">2</th></tr>'
    )
    page = html_table(["h"], [["1"], ["2"]], ["s"], caption="c")
    assert page == (
        '<table><caption>c</caption><thead><tr><th style="s">h</th></tr></thead>'
        '<tbody><tr><td style="s">1</td></tr><tr><td style="s">2</td></tr></tbody></table>'
    )


def test_a_record_is_shown_by_the_renderer_of_its_class():
    class Plain(Printed):
        pass

    class Rich(Shown):
        pass

    class Richer(Rich):
        pass

    as_text.register(Plain, lambda record: "plain")
    as_text.register(Rich, lambda record: "rich")
    as_html.register(Rich, lambda record: "<b>rich</b>")
    assert str(Plain()) == repr(Plain()) == "plain" and not hasattr(Plain(), "_repr_html_")
    assert str(Richer()) == "rich" and Richer()._repr_html_() == "<b>rich</b>"


@pytest.mark.parametrize("show", [as_text, as_html, as_markdown])
def test_a_record_without_renderer_says_so(show):
    with pytest.raises(TypeError, match=r"for int$"):
        show(3)
