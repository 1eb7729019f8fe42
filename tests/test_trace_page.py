"""The page of a trace: all numbers are in it, and a browser steps through them from a file."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from layerkit import (
    LSTM,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    MultiHeadAttention,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
)
from layerkit.inspection import trace
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import SGD
from layerkit.tables import number

BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)


class Page(HTMLParser):
    """Its cells and steps, and whatever it would load."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.steps, self.loads, self.open = {}, [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.loads += [found[key] for key in ("src", "href") if key in found]
        if tag == "td" and "data-id" in found:
            self.open = self.cells.setdefault(found["data-id"], {**found, "text": ""})
        if tag == "li":
            self.open = {**found, "text": ""}
            self.steps.append(self.open)

    def handle_data(self, data):
        if self.open is not None:
            self.open["text"] += data

    def handle_endtag(self, tag):
        if tag in ("td", "li"):
            self.open = None


def walk(layers=None, n=1, width=2, loss=None, y=None):
    layers = layers or [Dense(2), Sigmoid(), Dense(1)]
    network = Sequential(layers).build(width, random_state=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(n, *np.atleast_1d(width)))
    y = np.ones((n, 1)) if y is None else y
    return trace(network, x, y, loss or MeanSquaredError(), optimizer=SGD(0.1))


WALKS = {
    "two layers": lambda: walk(),
    "two samples": lambda: walk(n=2),
    "a neuron": lambda: walk([Dense(1)]),
    "a residual block": lambda: walk([Residual(Sequential([Dense(2), ReLU()])), Dense(1)]),
    "a batch normalised": lambda: walk([BatchNorm(), Dense(1)], n=3),
    "images": lambda: walk([Conv2D(1, 2), MaxPool2D(2), Flatten(), Dense(1)], width=(4, 4, 1)),
    "through time": lambda: walk([LSTM(2), Dense(1)], width=(3, 2)),
    "attention": lambda: walk([MultiHeadAttention(1), Flatten(), Dense(1)], width=(2, 2)),
    "classes": lambda: walk([Dense(3)], loss=CategoricalCrossEntropy(), y=np.array([2])),
}


@pytest.mark.parametrize("name", list(WALKS))
def test_every_number_stands_in_its_cell_and_is_made_once(name):
    walked = WALKS[name]()
    page = Page(walked.to_html())
    for step in walked.steps:
        for place in np.ndindex(step.output.shape):
            cell = page.cells[f"{step.name} y[{', '.join(map(str, place))}]"]
            assert cell["text"] == number(step.output[place])
        for param, gradient in step.grads.items():
            for place in np.ndindex(gradient.shape):
                shown = f"[{', '.join(map(str, place))}]"
                weight = page.cells[f"{step.name} {param}{shown}"]
                assert page.cells[weight["data-grad"]]["text"] == number(gradient[place])
    made = [cell for step in page.steps for cell in step["data-makes"].split("|") if cell]
    assert len(made) == len(set(made))
    given = {cell for cell in page.cells if cell not in made}
    handed_on = {cell for cell in given if "data-same" in page.cells[cell]}
    names = [cell.split()[1].partition("[")[0] for cell in given - handed_on]
    assert {name for name in names if name.startswith("dL/")} == set()
    for cell in handed_on:
        assert page.cells[cell]["text"] == page.cells[page.cells[cell]["data-same"]]["text"]


def test_a_gradient_names_the_cells_it_comes_from():
    steps = {step["data-makes"]: step for step in Page(walk().to_html()).steps}
    weight = steps["dense_1 dL/dW[0, 1]"]
    assert weight["data-from"].split("|") == ["dense_1 x[0, 0]", "dense_1 G[0, 1]"]
    slope = steps["sigmoid_1 dL/dx[0, 1]"]
    assert slope["data-from"].split("|") == ["sigmoid_1 G[0, 1]", "sigmoid_1 f'(x)[0, 1]"]
    neuron = {step["data-makes"]: step for step in Page(walk([Dense(1)]).to_html()).steps}
    assert neuron["dense_1 dL/dW[1, 0]"]["data-from"].split("|") == [
        "dense_1 G[0, 0]",
        "dense_1 x[0, 1]",
    ]


def test_the_steps_are_those_of_both_passes_in_their_order():
    steps = Page(walk().to_html()).steps
    passes = [step["data-pass"] for step in steps]
    assert passes == sorted(passes, reverse=True)  # forward, then backward
    assert steps[0]["text"].startswith("y[0, 0] = x[0, 0] W[0, 0] + ")
    assert steps[-1]["text"].startswith("dL/dx[0, 1] = ")


def test_the_page_says_every_equation_of_the_text_and_where_it_is():
    walked = walk()
    steps = [(step["data-where"], step["data-pass"]) for step in Page(walked.to_html()).steps]
    passes = [
        *(("forward through dense_1", "forward") for _ in range(2)),
        *(("forward through sigmoid_1", "forward") for _ in range(2)),
        ("forward through dense_2", "forward"),
        ("the loss", "forward"),
        ("back from the loss", "backward"),
        *(("backward through dense_2", "backward") for _ in range(2 + 1 + 2)),
        *(("backward through sigmoid_1", "backward") for _ in range(2 + 2)),
        *(("backward through dense_1", "backward") for _ in range(4 + 2 + 2)),
    ]
    assert steps == passes
    lines = [
        re.sub(" +", " ", line.strip())
        for line in str(walked).partition("ONE STEP")[0].splitlines()
        if re.match(r"  [\w/']+(\(x)?\[|  L = ", line)
    ]
    assert [step["text"] for step in Page(walked.to_html()).steps] == lines


def test_the_page_has_every_heading_and_caption_in_its_place():
    page = walk([Dense(1), ReLU()]).to_html().partition("<body")[2].partition("<script>")[0]
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "dense_1 <code>Dense(units=1)</code>",
        "relu_1 <code>ReLU()</code>",
        "loss <code>MeanSquaredError()</code>",
        "Every number, in the order in which it is computed",
        "One step of SGD(learning_rate=0.1)",
    ]
    sides = re.findall('data-name="(.*?)">(.*?)</div>', page)
    assert [(name, re.findall("<caption>(.*?)<", side)) for name, side in sides] == [
        ("forward ↓", ["x", "W", "b", "y"]),
        ("backward ↑", ["G = dL/dy", "dL/dW", "dL/db", "dL/dx"]),
        ("forward ↓", ["x", "y"]),
        ("backward ↑", ["G = dL/dy", "f&#x27;(x)", "dL/dx"]),
        ("forward ↓", ["y_pred", "y_true", "L"]),
        ("backward ↑", ["dL/dy_pred"]),
    ]
    assert "<h1>Backprop through Sequential</h1>" in page
    places = dict(re.findall('title="(.*?)" data-id="(.*?)"', page))
    assert places["W[1, 0]"] == "dense_1 W[1, 0]"
    assert places["f&#x27;(x)[0, 0]"] == "relu_1 f&#x27;(x)[0, 0]"


def test_it_stands_alone_and_escapes_what_it_shows(tmp_path):
    class Hostile(MeanSquaredError):
        def __repr__(self):
            return "<script>alert(1)</script>"

    page = walk(loss=Hostile()).to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert "alert(1)</script>" not in page and "<!-- " not in page.partition("<script>")[0]
    assert Page(page).loads == [] and "http" not in page.replace("http-equiv", "")


def test_names_of_layers_are_escaped():
    net = Sequential([('<b>&"hidden', Dense(2)), ("head", Dense(1))]).build(3, random_state=0)
    page = trace(net, np.ones((2, 3)), np.ones((2, 1)), MeanSquaredError()).to_html()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;&quot;hidden" in page


def test_a_large_network_is_a_table_and_a_line_for_each_layer():
    page = walk([Dense(100), ReLU(), Dense(1)], n=5).to_html()
    assert "<td" in page and "norm of dL/dy" in page
    assert len(Page(page).steps) == 3 + 1 + 4


PRESS = """
<script>
const said = [], press = key => dispatchEvent(new KeyboardEvent("keydown", { key }));
const note = () => said.push([at("place").textContent, at("line").textContent,
  document.querySelectorAll("td.later").length, document.querySelectorAll("td.now").length]);
note(); press("ArrowRight"); note(); press("ArrowLeft"); note(); press("End"); note();
const weight = cells.get("dense_1 W[0, 1]");
weight.focus();
said.push([at("chain").textContent, document.querySelectorAll("td.from").length]);
go(steps.findIndex(step => step.dataset.where.includes("loss")) + 1);
said.push(scrollY);
scrollTo(0, 0);
for (const move of ["mouseenter", "mouseleave"]) weight.dispatchEvent(new MouseEvent(move));
said.push(scrollY);
at("first").click(); note();
document.body.dataset.said = JSON.stringify(said);
</script>
"""


def shown(page, folder):
    """Return what a browser made of a page that it opened from a file."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += [f"--user-data-dir={folder / 'home'}", "--window-size=800,600", "--dump-dom"]
    command = [BROWSER, *options, (folder / "page.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_steps_through_it_from_a_file(tmp_path):
    if "<p>" not in shown("<p>nothing</p>", tmp_path):
        pytest.skip("Chromium does not start here")
    walked = walk()
    page = walked.to_html().replace("</body>", f"{PRESS}</body>")
    start, one, back, end, (chain, sources), down, stays, again = json.loads(
        html.unescape(re.search(r'data-said="(.*?)"', shown(page, tmp_path))[1])
    )
    n_steps = len(Page(page).steps)
    assert start[:2] == [f"0 of {n_steps}", "Press → to compute the first number."]
    assert one[0] == f"1 of {n_steps}, forward through dense_1"
    assert one[1] == str(walked.steps[0].forward[0]) and one[3] == 1
    assert one[2] < start[2]
    assert back == start == again
    assert end[2] == 0
    lines = chain.split("\n")
    assert lines[0].startswith("dL/dW[0, 1] = x[0, 0] G[0, 1] = ")
    assert [re.search(r"\(([^()]*)\)$", line)[1] for line in lines] == [
        "backward through dense_1",
        "backward through sigmoid_1",
        "backward through dense_2",
        "back from the loss",
        "backward through sigmoid_1",
    ]
    assert sources == 2
    assert down > 0 and stays == 0  # a step shows its cell, a pointer that leaves moves nothing
