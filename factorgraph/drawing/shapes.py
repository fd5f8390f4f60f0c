"""Sizes of what is drawn, in units of about the length of an edge."""

from __future__ import annotations

import numpy as np

from factorgraph.drawing.colours import SERIES
from factorgraph.drawing.scene import Node, Scene

VARIABLE, FACTOR, PLATE = 0.25, 0.11, 1.55  # half the width of a circle and of a square; of a plate, times that
FONT = 8.0  # points
_WIDE, _HIGH = 0.56, 1.25  # of a letter, and of a line, in font sizes
_WIDEST = 2.6  # room that a label asks for


def half_width(node: Node) -> float:
    """Half the width of a node, its plate included."""
    own = VARIABLE if node.kind == "variable" else FACTOR
    return max(own * PLATE, 0.22) if node.plate else own


def text_size(text: str, font: float) -> np.ndarray:
    """About the width and the height of a text, in the unit of its font's size."""
    lines = text.split("\n")
    return np.array([_WIDE * font * max(map(len, lines)), _HIGH * font * len(lines)])


def rooms_of(scene: Scene, unit: float) -> np.ndarray:
    """
    Width and height that nodes need with their labels below them, ``(n, 2)``.

    Parameters
    ----------
    scene : Scene
    unit : points of one unit
    """
    rooms = np.zeros((len(scene.nodes), 2))
    for number, node in enumerate(scene.nodes):
        own = 2 * half_width(node)
        words = node.texts() if node.kind == "variable" or node.plate else []
        width, height = text_size(words[0], FONT) / unit if words else (0.0, 0.0)
        rooms[number] = max(own, min(width + 0.15, _WIDEST)), own + height
    return rooms


def bars_of(probabilities: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """
    Left, bottom, width and height of a bar for each state, within a circle, ``(q, 4)``.

    The bars of many states, which are low, are as high as there is room.
    """
    number = len(probabilities)
    probabilities = np.clip(np.nan_to_num(probabilities), 0.0, 1.0)
    if number > len(SERIES):
        probabilities = probabilities / max(float(probabilities.max()), 1e-9)
    width = 1.24 * radius / number
    gap = min(0.06 * radius, 0.2 * width)
    left = centre[0] - 0.62 * radius + width * np.arange(number) + gap / 2
    height = 1.2 * radius * probabilities
    bottom = np.full(number, centre[1] - 0.6 * radius)
    return np.stack([left, bottom, np.full(number, width - gap), height], axis=1)
