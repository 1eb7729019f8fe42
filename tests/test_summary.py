"""What a network says about itself."""

import tracemalloc

import pytest
from errors import raises_exactly

from layerkit import (
    Columns,
    Concat,
    Dense,
    Residual,
    Sequential,
    Tanh,
)


def summarised():
    network = Sequential([("block", Residual(Sequential([Dense(4), Tanh()]))), Dense(10)])
    network[0].trainable = False
    return network


def test_summary_text():
    assert str(summarised().summary(input_shape=4)) == (
        "Sequential for (n_samples, 4)\n"
        "name         layer            output shape          params  multiply-adds\n"
        "-------------------------------------------------------------------------\n"
        "block        Residual         (n_samples, 4)\n"
        "  body       Sequential       (n_samples, 4)\n"
        "    dense_1  Dense(units=4)   (n_samples, 4)   20 (frozen)             16\n"
        "    tanh_1   Tanh()           (n_samples, 4)             0              0\n"
        "dense_1      Dense(units=10)  (n_samples, 10)           50             40\n"
        "-------------------------------------------------------------------------\n"
        "70 parameters (50 trainable), 56 multiply-adds a sample"
    )


def test_summary_html():
    class Tagged(Tanh):
        def __init__(self, text="<b>"):
            self.text = text

    html = Sequential([Dense(1000), Tagged("<i>")]).summary(1000)._repr_html_()
    assert html.count("<tr>") == 3
    assert '<td style="text-align:right">1,001,000</td>' in html
    assert "Tagged(text=&#x27;&lt;i&gt;&#x27;)" in html and "<i>" not in html
    assert "<caption>Sequential for (n_samples, 1000): 1,001,000 parameters, 1,000,000" in html


def test_the_columns_add_up_and_html_keeps_what_is_inside_of_what():
    summary = summarised().summary(4)
    assert sum(row.params for row in summary.rows) == summary.n_params == 70
    assert sum(row.multiply_adds for row in summary.rows) == summary.multiply_adds == 56
    html = summary._repr_html_()
    assert ">&nbsp;&nbsp;&nbsp;&nbsp;body<" in html
    assert html.count('<td style="text-align:right"></td>') == 4  # two containers show no sum


def test_a_bare_network_is_its_summary():
    network = summarised()
    assert network._repr_html_() is None  # nothing is known of shapes: its repr is shown
    network.build(4)
    assert network._repr_html_() == network.summary()._repr_html_()
    assert "<table>" in network[1]._repr_html_()


def test_summary_of_one_layer_and_of_a_part():
    network = Sequential([Dense(3), Tanh(), Dense(2)]).build(4)
    assert str(Dense(3).summary(4)).splitlines()[3].split() == [
        *("Dense(units=3)", "(n_samples,", "3)", "15", "12")
    ]
    assert network[:2].summary().n_params == 15
    assert network[:2].summary().multiply_adds == 12


def test_summary_checks_the_shape_it_is_given():
    with raises_exactly(
        ValueError, "in Dense(units=3): not built yet, so summary needs input_shape"
    ):
        Dense(3).summary()
    with raises_exactly(
        ValueError,
        "in Dense(units=3): built for (n_samples, 4), summary got input_shape=(5,)",
    ):
        Dense(3).build(4).summary(5)


def test_summary_before_build_allocates_nothing():
    network = Sequential([Dense(20_000), Tanh(), Dense(20_000)])
    tracemalloc.start()
    summary = network.summary(20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert summary.n_params == 2 * (20_000 * 20_000 + 20_000)
    assert peak < 1_000_000
    assert not network.is_built


@pytest.mark.parametrize(
    "make, input_shape, expected",
    [
        (lambda: Dense(3), (4,), 12),
        (lambda: Dense(3), (5, 4), 60),
        (lambda: Sequential([Dense(3), Concat([Dense(2), Dense(1)])]), (4,), 12 + 6 + 3),
        (lambda: Columns([([0, 1], Dense(3)), (2, Dense(2))]), (4,), 6 + 2),
    ],
)
def test_multiply_adds_by_hand(make, input_shape, expected):
    assert make().summary(input_shape).multiply_adds == expected
