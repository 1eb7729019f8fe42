"""The figures of *how it works*, as SVG that takes its colours from the page, light or dark.

``python docs/_extensions/figure_files.py`` writes them into ``docs/figures``; so does Sphinx.
"""

from html import escape
from pathlib import Path

from written import write


class Figure:
    """Boxes, arrows and words on a canvas."""

    def __init__(self, title, width, height):
        self.title, self.size, self.parts = title, (width, height), []

    def box(self, x, y, width, height, *lines, kind="box"):
        self.parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1)
        for k, line in enumerate(lines):
            self.text(x + width / 2, top + 18 * k + 5, line, weight="bold" if k == 0 else "small")

    def text(self, x, y, words, weight="small", anchor="middle"):
        self.parts.append(
            f'<text class="{weight}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def arrow(self, *points, kind="forward"):
        path = " L ".join(f"{x} {y}" for x, y in points)
        self.parts.append(f'<path class="{kind}" d="M {path}" marker-end="url(#{kind}-head)"/>')

    def svg(self):
        width, height = self.size
        heads = "".join(
            f'<marker id="{kind}-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path class="{kind}-head" d="M0 0 L8 4 L0 8 z"/>'
            "</marker>"
            for kind in ("forward", "backward")
        )
        return (
            f'<div class="diagram"><svg role="img" aria-label="{escape(self.title)}" '
            f'viewBox="0 0 {width} {height}" style="min-width:{0.62 * width:.0f}px">'
            f"<title>{escape(self.title)}</title><defs>{heads}</defs>{''.join(self.parts)}</svg></div>\n"
        )


def rooms():
    figure = Figure(
        "X and y go through estimators, training, layers and kernels, and back", 860, 268
    )
    names = [
        ("estimators", "data to task"),
        ("training", "batches, the loop"),
        ("layers", "the mathematics"),
        ("kernels", "the hot loops"),
    ]
    figure.text(26, 64, "X, y", "bold")
    figure.arrow((48, 59), (84, 59))
    for k, (name, what) in enumerate(names):
        figure.box(90 + 196 * k, 32, 150, 56, name, what)
        if k:
            figure.arrow((46 + 196 * k, 59), (84 + 196 * k, 59))
    figure.box(286, 126, 150, 56, "losses", "value, derivative")
    figure.box(482, 126, 150, 56, "layers", "in reverse", kind="back")
    figure.box(482, 206, 150, 56, "optimizers", "params ← grads", kind="back")
    figure.arrow((510, 88), (510, 106), (400, 106), (400, 120))
    figure.text(455, 101, "y_pred")
    figure.arrow((436, 154), (476, 154), kind="backward")
    figure.arrow((557, 182), (557, 200), kind="backward")
    figure.text(577, 196, "grads", anchor="start")
    return figure


def chain():
    figure = Figure(
        "Values go forward through the layers, gradients come back in reverse", 860, 236
    )
    names = [
        ("Dense", "x W + b"),
        ("Tanh", "tanh(x)"),
        ("Dense", "x W + b"),
        ("Loss", "L(y, target)"),
    ]
    figure.text(14, 64, "x", "bold")
    for k, (name, what) in enumerate(names):
        x = 88 + 200 * k
        figure.arrow(((26 if k == 0 else x - 76), 59), (x - 6, 59))
        figure.box(x, 32, 120, 56, name, what)
        figure.arrow((x + 60, 88), (x + 60, 142))
        figure.text(x + 68, 119, "cache", anchor="start")
        back = ("∂L/∂W, ∂L/∂b" if name == "Dense" else "slope × gradient", "∂L/∂y")[name == "Loss"]
        figure.box(x, 148, 120, 56, "backward", back, kind="back")
        if k:
            figure.arrow((x - 6, 176), (x - 74, 176), kind="backward")
    figure.arrow((82, 176), (46, 176), kind="backward")
    figure.text(20, 181, "∂L/∂x", "bold")
    figure.text(440, 20, "forward: each layer turns its input into its output")
    figure.text(
        440, 230, "backward: each layer turns the gradient of its output into that of its input"
    )
    return figure


def vectors():
    figure = Figure(
        "Layers hold views into one vector of parameters and one of gradients", 860, 250
    )
    slots = [("W", 12, 276), ("b", 4, 92), ("W", 8, 184), ("b", 2, 46)]
    for name, y in (("flat_params", 84), ("flat_grads", 154)):
        x = 130
        figure.text(118, y + 27, name, "bold", anchor="end")
        for k, (label, size, width) in enumerate(slots):
            kind = "box" if name == "flat_params" else "back"
            figure.box(
                x, y, width, 44, label, f"{size}" if width < 60 else f"{size} numbers", kind=kind
            )
            x += width + 2 + 14 * (k == 1)
    figure.text(316, 30, "Dense(4): W (3, 4), b (4,)", "bold")
    figure.text(632, 30, "Dense(2): W (4, 2), b (2,)", "bold")
    for left, right, middle in ((130, 500, 316), (516, 748, 632)):
        figure.parts.append(
            f'<path class="brace" d="M {left} 76 v -14 h {right - left} v 14 M {middle} 62 v -20"/>'
        )
    figure.text(440, 232, "optimizer.step(flat_params, flat_grads, layout)")
    return figure


def estimator():
    figure = Figure(
        "fit prepares, builds, learns; predict runs the network and undoes the codes", 860, 196
    )
    steps = [
        ("prepare", "check X, encode y"),
        ("network", "your layers + head"),
        ("train", "epochs, best weights"),
        ("network_", "history_, classes_"),
    ]
    figure.text(24, 54, "fit", "bold")
    for k, (name, what) in enumerate(steps):
        x = 70 + 202 * k
        figure.arrow(((42 if k == 0 else x - 40), 49), (x - 6, 49))
        figure.box(x, 20, 158, 58, name, what)
    figure.text(34, 150, "predict", "bold")
    figure.arrow((72, 145), (110, 145))
    figure.box(116, 116, 158, 58, "check X", "as in fit", kind="back")
    figure.arrow((274, 145), (312, 145))
    figure.box(318, 116, 158, 58, "infer", "raw outputs", kind="back")
    figure.arrow((476, 145), (514, 145))
    figure.box(520, 116, 200, 58, "inverse link, classes", "labels, probabilities", kind="back")
    figure.arrow((740, 78), (740, 97), (397, 97), (397, 110))
    return figure


def files():
    """Return every figure: {file name: SVG}."""
    return {f"{draw.__name__}.svg": draw().svg() for draw in (rooms, chain, vectors, estimator)}


def generate(app):
    write(Path(app.srcdir) / "figures", files())


def setup(app):
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write(Path(__file__).parent.parent / "figures", files())
