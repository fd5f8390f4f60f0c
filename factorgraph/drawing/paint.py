"""A scene on matplotlib's axes. Labels find their places anew whenever the axes' size or section has changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.drawing.colours import FACTOR as DARK
from factorgraph.drawing.colours import LEADER, LINE, OBSERVED, PLATE, RIM, of_state, shade
from factorgraph.drawing.labels import place_labels
from factorgraph.drawing.scene import Node, Scene
from factorgraph.drawing.shapes import FACTOR, FONT, VARIABLE, bars_of, half_width
from factorgraph.drawing.texts import literal

_SMALLEST_FONT, _LARGEST_FONT = 5.5, 9.0
_FONT_SHARE = FONT / 46.0  # of a unit
_SMALLEST_BARS = 5.5  # points of a circle's radius
_MOST_STRETCHED = 1.6
_MARGIN = np.array([0.5, 0.3])  # around all nodes, in units


def paint(ax: Any, scene: Scene, places: np.ndarray, paths: list[np.ndarray], rooms: np.ndarray) -> None:
    """
    Draw a scene.

    Parameters
    ----------
    ax : matplotlib Axes
    scene : Scene
    places, paths : as `layout.place` gave them
    rooms : (n, 2) width and height that nodes need with their labels
    """
    ax.set_axis_off()
    if scene.directed:
        places, paths = _stretched(ax, places, paths, rooms)
    unit = _set_limits(ax, scene, places, paths, rooms)
    _draw_nodes(ax, scene, places, paths, unit)
    _Labels(ax, scene, places, paths, float(np.clip(_FONT_SHARE * unit, _SMALLEST_FONT, _LARGEST_FONT)))


def extent(places: np.ndarray, paths: list[np.ndarray], rooms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower left and upper right corner of the picture, with room for labels."""
    if not len(places):
        return np.zeros(2), np.ones(2)
    points = np.concatenate([places - rooms / 2, places + rooms / 2, *paths])
    return points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN


def _stretched(ax: Any, places: np.ndarray, paths: list[np.ndarray], rooms: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Layers wider, or farther apart, where the axes have room for it."""
    low, high = extent(places, paths, rooms)
    shape = (ax.bbox.width / ax.bbox.height) / ((high[0] - low[0]) / (high[1] - low[1]))
    by = np.clip([shape, 1 / shape], 1.0, _MOST_STRETCHED)
    return places * by, [path * by for path in paths]


def legend_of(scene: Scene) -> list[tuple[str, str, str]]:
    """What the picture's signs mean: sign, colour and words."""
    rows = [(kind, {"variable": "white", "factor": DARK}[kind], kind) for kind in ("variable", "factor")]
    found = [row for row in rows if any(node.kind == row[0] for node in scene.nodes)]
    if any(node.observed for node in scene.nodes):
        found.append(("observed", OBSERVED, "observed"))
    if any(node.belief.bars is not None for node in scene.nodes):
        words = [name if number else f"{scene.bars} of {name}" for number, name in enumerate(scene.states)]
        found += [("state", of_state(number, len(words)), text) for number, text in enumerate(words)]
    return found


def _set_limits(ax: Any, scene: Scene, places: np.ndarray, paths: list[np.ndarray], rooms: np.ndarray) -> float:
    """Choose the section shown, with a strip below for the legend; points of one unit."""
    points = 72.0 / ax.figure.dpi
    width, height = ax.bbox.width * points, ax.bbox.height * points
    strip = _add_legend(ax, scene, width) * points
    low, high = extent(places, paths, rooms)
    size = np.maximum(high - low, 1e-6)
    unit = float(min(width / size[0], max(height - strip, height / 2) / size[1]))
    middle = (low + high) / 2
    ax.set_xlim(middle[0] - width / unit / 2, middle[0] + width / unit / 2, auto=True)
    spare = max(height - strip - size[1] * unit, 0.0) / unit / 2
    bottom = low[1] - spare - strip / unit
    ax.set_ylim(bottom, bottom + height / unit, auto=True)
    ax.set_aspect("equal", adjustable="datalim")
    ax.apply_aspect()
    return unit


def _add_legend(ax: Any, scene: Scene, width: float) -> float:
    """A legend in as many columns as the width, in points, allows; its height in pixels, 0 without one."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def handle(sign: str, colour: str) -> Any:
        if sign == "state":
            return Patch(facecolor=colour)
        marker, size, rim = {"variable": ("o", 9, 1.0), "factor": ("s", 6, 0.0), "observed": ("o", 9, 2.2)}[sign]
        return Line2D([], [], linestyle="", marker=marker, markersize=size, color=colour, mec=RIM, mew=rim)

    rows = legend_of(scene)
    if not rows:
        return 0.0
    handles, words = [handle(sign, colour) for sign, colour, _ in rows], [literal(text) for _, _, text in rows]
    for columns in range(len(rows), 0, -1):
        legend = ax.legend(
            handles, words, loc="lower center", ncols=columns, fontsize=FONT, frameon=False, handletextpad=0.4,
            columnspacing=1.4, handlelength=1.2, borderaxespad=0.2,
        )  # fmt: skip
        box = legend.get_window_extent()
        if box.width * 72.0 / ax.figure.dpi <= width:
            break
    return float(box.height) + 2.0


def _draw_nodes(ax: Any, scene: Scene, places: np.ndarray, paths: list[np.ndarray], unit: float) -> None:
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

    def add(patches: list[Any], name: str, order: float, **look: Any) -> None:
        if patches:
            collection = PatchCollection(patches, zorder=order, **look)
            collection.set_gid(name)
            ax.add_collection(collection, autolim=False)

    lines = LineCollection(paths, colors=LINE, linewidths=float(np.clip(unit / 40, 0.5, 1.1)), zorder=1)
    lines.set_gid("edges")
    ax.add_collection(lines, autolim=False)
    frames, circles, squares = [], [], []
    fills: list[str] = []
    bars: list[Any] = []
    bar_fills: list[str] = []
    small = VARIABLE * unit < _SMALLEST_BARS
    for node, centre in zip(scene.nodes, places, strict=True):
        if node.plate:
            half = half_width(node)
            inner = half * 0.7
            frames.append(
                FancyBboxPatch(centre - inner, 2 * inner, 2 * inner, boxstyle=f"round,pad={half - inner},rounding_size=0.1")
            )
        if node.kind == "factor":
            squares.append(Rectangle(centre - FACTOR, 2 * FACTOR, 2 * FACTOR))
            continue
        circles.append(Circle(centre, VARIABLE))
        chances = node.belief.bars
        fills.append(_fill(node, small))
        if chances is not None and not small:
            for state, (left, bottom, wide, high) in enumerate(bars_of(chances, centre, VARIABLE)):
                bars.append(Rectangle((left, bottom), wide, high))
                bar_fills.append(of_state(state, len(chances)))
    rims = np.array([2.0 if node.observed else 0.8 for node in scene.nodes if node.kind == "variable"])
    thin = float(np.clip(unit / 40, 0.35, 1.0))
    add(frames, "plates", 1.6, facecolors=PLATE, edgecolors=LINE, linewidths=0.8)
    add(squares, "factors", 2, facecolors=DARK, edgecolors="none")
    add(circles, "variables", 2, facecolors=fills, edgecolors=RIM, linewidths=rims * thin)
    add(bars, "bars", 3, facecolors=bar_fills, edgecolors="none")


def _fill(node: Node, small: bool) -> str:
    """Colour of a circle: the most probable state's where there is no room for bars."""
    chances = node.belief.bars
    if chances is None or not small:
        return OBSERVED if node.observed else "white"
    best = int(np.argmax(chances))
    certain = (chances[best] - 1 / len(chances)) / max(1 - 1 / len(chances), 1e-9)
    return shade(of_state(best, len(chances)), 0.15 + 0.85 * float(certain))


class _Labels:
    """
    Texts beside nodes, and the lines that lead from far ones to their nodes.

    They are placed at once, and again before they are drawn where the axes have another size or section by then.
    """

    def __init__(self, ax: Any, scene: Scene, places: np.ndarray, paths: list[np.ndarray], font: float) -> None:
        from matplotlib.collections import LineCollection

        self._ax, self._font = ax, font
        self._shown = scene.labelled()
        self._forms = [scene.nodes[number].texts() for number in self._shown]
        self._places, self._paths = places, paths
        self._halves = np.array([half_width(node) for node in scene.nodes])
        self._texts = []
        for number, forms in zip(self._shown, self._forms, strict=True):
            variable = scene.nodes[number].kind == "variable"
            text = ax.text(
                *places[number], forms[0], fontsize=font if variable else 0.9 * font, ha="center", va="center", zorder=4,
                color="black" if variable else "#606060", linespacing=1.05, clip_on=False, parse_math=False,
            )  # fmt: skip
            text.set_gid("label")
            text.set_in_layout(False)
            self._texts.append(text)
        self._leaders = LineCollection([], colors=LEADER, linewidths=0.6, zorder=1.5)
        self._leaders.set_gid("leaders")
        ax.add_collection(self._leaders, autolim=False)
        self._state: tuple[Any, ...] = ()
        self._place(None)
        self._watch()

    def _watch(self) -> None:
        """Look at the axes before each drawing of them."""
        from matplotlib.artist import Artist

        labels = self

        class Watcher(Artist):
            """Draws nothing; stands before all that is drawn on the axes."""

            def draw(self, renderer: Any) -> None:
                labels._place(renderer)

        watcher = Watcher()
        watcher.set_zorder(-1)
        watcher.set_in_layout(False)
        self._ax.add_artist(watcher)

    def _place(self, renderer: Any) -> None:
        ax = self._ax
        state = (*ax.transData.frozen().get_matrix().ravel().round(6), ax.figure.dpi)
        if state == self._state or not self._texts:
            return
        self._state = state
        sizes = [self._sizes(text, forms, renderer) for text, forms in zip(self._texts, self._forms, strict=True)]
        centres = ax.transData.transform(self._places)
        scale = abs(ax.transData.transform([(1.0, 1.0)]) - ax.transData.transform([(0.0, 0.0)]))[0].min()
        halves = self._halves * scale + ax.figure.dpi / 72.0  # and the rim
        boxes = np.concatenate([centres - halves[:, None], centres + halves[:, None]], axis=1)
        legend = ax.get_legend()
        if legend is not None:
            boxes = np.concatenate([boxes, [legend.get_window_extent(renderer).extents]])
        lines = [ax.transData.transform(path) for path in self._paths]
        segments = np.concatenate([np.zeros((0, 4)), *(np.concatenate([p[:-1], p[1:]], axis=1) for p in lines)])
        found = place_labels(
            sizes, centres[self._shown], halves[self._shown], boxes, segments, np.array(ax.bbox.extents),
            self._font * ax.figure.dpi / 72.0,
        )  # fmt: skip
        back = ax.transData.inverted().transform
        leaders = []
        for text, forms, placed in zip(self._texts, self._forms, found, strict=True):
            text.set_visible(placed is not None)
            if placed is None:
                text.set_text(forms[0])
                continue
            text.set_text(forms[placed.form])
            text.set_position(back([placed.centre])[0])
            if placed.leader is not None:
                leaders.append(back(placed.leader))
        self._leaders.set_segments(leaders)

    @staticmethod
    def _sizes(text: Any, forms: list[str], renderer: Any) -> np.ndarray:
        """Width and height of each form of a label, in pixels and with a little air."""
        text.set_visible(True)
        air = 0.5 * text.get_fontsize() * text.figure.dpi / 72.0
        found = []
        for form in forms:
            text.set_text(form)
            box = text.get_window_extent(renderer)
            found.append((box.width + air, box.height + 0.2 * air))
        return np.array(found)
