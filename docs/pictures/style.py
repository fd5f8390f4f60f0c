"""What the pictures of these pages have in common: colours that most colour-blind readers can tell apart, circles, squares."""

from __future__ import annotations

import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, GREY = "#56B4E9", "#E69F00", "#009E73", "0.8"


def canvas(width: float, height: float):
    """Axes in inches, without a frame."""
    figure, axes = plt.subplots(figsize=(width, height))
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1)
    return axes


def variable(axes, x, y, label="", colour=BLUE, size=0.2):
    """A circle, with its label in it."""
    axes.add_patch(plt.Circle((x, y), size, facecolor=colour, edgecolor="black", zorder=2))
    axes.text(x, y, label, ha="center", va="center", zorder=3)


def factor(axes, x, y, label="", colour=ORANGE, size=0.13):
    """A square, with its label below it."""
    axes.add_patch(plt.Rectangle((x - size, y - size), 2 * size, 2 * size, facecolor=colour, edgecolor="black", zorder=2))
    axes.text(x, y - size - 0.06, label, ha="center", va="top", zorder=3)


def line(axes, *points, **style):
    """An edge."""
    axes.plot(*zip(*points, strict=True), **{"color": "0.4", "linewidth": 1.2, "zorder": 1} | style)


def arrow(axes, start, end, text="", colour="black", shift=(0.0, 0.0)):
    """A message, with its name beside its middle."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.5}, zorder=4)
    axes.text(
        (start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1], text, ha="center", va="center", color=colour
    )
