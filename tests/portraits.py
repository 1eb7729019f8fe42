"""Figures in words: whatever is drawn, a line for each artist, as Matplotlib itself reports it.

``python tests/portraits.py`` writes those of ``test_displays.FIGURES`` to ``data/figures.txt``; its
difference says what a change did to them.
"""

import re
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch
from matplotlib.ticker import LogFormatter, ScalarFormatter

NUMBER = re.compile(r"(?<![\w.#])-?\d+\.?\d*(?:e[-+]\d+)?(?![\w.])")
FILE = Path(__file__).parent / "data" / "figures.txt"


def digits(values):
    """Numbers in four digits, long arrays by shape, mean and weighted mean: each place counts."""
    array = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    if array.size > 12:
        weighted = np.nanmean(array.ravel() * np.linspace(1, 2, array.size))
        return f"{array.shape} {np.nanmean(array):.4g} {weighted:.4g}"
    return " ".join(f"{value + 0.0:.4g}" for value in array.ravel())


def described(kind, **said):
    return kind + "".join(f" {name}={value}" for name, value in said.items() if value is not None)


def line(artist):
    marked = artist.get_marker() not in ("None", "")
    return described(
        "line",
        label=repr(artist.get_label()),
        color=to_hex(artist.get_color(), keep_alpha=True),
        stroke=f"{artist.get_linestyle()}{artist.get_linewidth():g}",
        alpha=artist.get_alpha(),
        marker=f"{artist.get_marker()}{artist.get_markersize():g}" if marked else None,
        edge=to_hex(artist.get_markeredgecolor()) if marked else None,
        filled=artist.get_fillstyle() if marked else None,
        order=f"{artist.get_zorder():g}",
        clipped=None if artist.get_clip_on() else False,
        effects=len(artist.get_path_effects()) or None,
        x=digits(artist.get_xdata()),
        y=digits(artist.get_ydata()),
    )


def text(artist, kind="text"):
    if not artist.get_text():
        return None
    return described(
        kind,
        says=repr(artist.get_text()),
        size=f"{artist.get_fontsize():g}",
        color=to_hex(artist.get_color()),
        turned=artist.get_rotation() or None,
        at=f"{artist.get_horizontalalignment()}-{artist.get_verticalalignment()}",
        place=digits(artist.get_position()) if kind == "text" else None,
    )


def image(artist):
    looks = described(
        "image",
        map=artist.get_cmap().name,
        limits=digits(artist.get_clim()),
        drawn=artist.get_interpolation(),
    )
    return looks, [*artist.get_extent(), *np.ravel(artist.get_array())]


def patch(artist):
    fill = to_hex(artist.get_facecolor(), keep_alpha=True) if artist.get_fill() else "none"
    looks = described(type(artist).__name__, fill=fill)
    if isinstance(artist, StepPatch):
        heights, edges, _ = artist.get_data()
        return looks, [*heights, *edges]
    return looks, artist.get_bbox().bounds


def gathered(artists):
    """One line for neighbours that differ in their numbers only."""
    for looks, alike in groupby(artists, key=itemgetter(0)):
        each = [numbers for _, numbers in alike]
        yield described(looks, count=len(each), numbers=digits(np.concatenate(each)))


def collection(artist):
    values = artist.get_array()
    edges = {to_hex(color) for color in artist.get_edgecolor()}
    kind = PolyCollection if isinstance(artist, PolyCollection) else type(artist)
    return described(
        kind.__name__,
        map=artist.get_cmap().name,
        scale=type(artist.norm).__name__,
        edges=edges.pop() if len(edges) == 1 else None,
        widths=digits(sorted(set(np.ravel(artist.get_linewidths()).tolist()))),
        alpha=artist.get_alpha(),
        limits=digits(artist.get_clim()) if values is not None else None,
        values=digits(values) if values is not None else None,
    )


def axis(axis):
    labels, lines = axis.get_ticklabels(), axis.get_gridlines()
    named = not isinstance(axis.get_major_formatter(), ScalarFormatter | LogFormatter)
    names = [label.get_text() for label in labels] if named else []
    grid = lines[0] if lines and lines[0].get_visible() else None
    return described(
        f"{axis.axis_name} axis",
        scale=axis.get_scale(),
        limits=digits(axis.get_view_interval()),
        ticks=digits(axis.get_majorticklocs()),
        names=names or None,
        turned=labels[0].get_rotation() or None if labels else None,
        grid=f"{grid.get_color()}-{grid.get_linewidth():g}" if grid else None,
    )


def place(ax):
    spec = ax.get_subplotspec()
    if spec is None:  # that of a colour bar is beside the panels that share it
        beside = ax._colorbar_info
        return described("bar", beside=len(beside["parents"]), shrink=beside["shrink"])
    grid = spec.get_gridspec()
    return described(
        "panel",
        row=spec.rowspan.start,
        column=spec.colspan.start,
        of=f"{grid.nrows}x{grid.ncols}",
        heights=grid.get_height_ratios() if grid.nrows > 1 else None,
        shared="".join(
            a for a in "xy" if len(getattr(ax, f"get_shared_{a}_axes")().get_siblings(ax)) > 1
        )
        or None,
    )


def panel(ax):
    if not ax.axison:
        return [f"{place(ax)} off"]
    spines = "".join(sorted(name[0] for name, s in ax.spines.items() if s.get_visible()))
    frame = described(
        "frame", edges=spines or None, aspect=ax.get_aspect(), below=ax.get_axisbelow()
    )
    found = [place(ax), frame, axis(ax.xaxis), axis(ax.yaxis)]
    found += [text(ax.title, "title"), text(ax.xaxis.label, "x"), text(ax.yaxis.label, "y")]
    found += [*map(line, ax.lines), *gathered(map(image, ax.images))]
    found += [*gathered(map(patch, ax.patches)), *map(collection, ax.collections)]
    found += [*map(text, ax.texts)]
    if legend := ax.get_legend():
        names = [t.get_text() for t in legend.get_texts()]
        anchor = legend.get_bbox_to_anchor().transformed(ax.transAxes.inverted())
        said = legend.get_title().get_text() or None
        corner = legend.get_window_extent().transformed(ax.transAxes.inverted())
        found.append(
            described(
                "legend",
                names=names,
                title=said,
                size=f"{legend.get_texts()[0].get_fontsize():g}",
                frame=legend.get_frame_on(),
                anchor=digits(anchor.bounds),
                side=f"{corner.x0 > 0.9}{corner.y0 > 0.9}",
            )
        )
    return [words for words in found if words]


def portrait(figure):
    """A line for each thing drawn, in the order in which it is."""
    figure.draw_without_rendering()
    found = [described("figure", size=digits(figure.get_size_inches()), dpi=f"{figure.dpi:g}")]
    if figure._suptitle:
        found.append(text(figure._suptitle, "title"))
    return found + [words for ax in figure.axes for words in panel(ax)]


@cache
def read():
    """The portraits of the file, by name."""
    found = {}
    for words in FILE.read_text().splitlines():
        if words.startswith("# "):
            lines = found[words[2:]] = []
        elif words:
            lines.append(words)
    return found


def assert_alike(found, expected):
    """Words are the same, numbers as far as the last digit that is written, which may round."""
    assert [NUMBER.sub("0", line) for line in found] == [NUMBER.sub("0", e) for e in expected]
    for line, wanted in zip(found, expected, strict=True):
        numbers = [[float(n) for n in NUMBER.findall(words)] for words in (line, wanted)]
        np.testing.assert_allclose(*numbers, rtol=1.1e-3, atol=1e-9, err_msg=wanted)


def renew(figures):
    parts = []
    for name, make in figures.items():
        parts += [f"# {name}", *portrait(make().plot().figure_), ""]
        plt.close("all")
    FILE.write_text("\n".join(parts))


if __name__ == "__main__":
    from test_displays import FIGURES

    renew(FIGURES)
