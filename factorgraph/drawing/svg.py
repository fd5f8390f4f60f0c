"""A scene as a small SVG picture, for notebooks: without matplotlib, and in the colour of the text around it."""

from __future__ import annotations

from html import escape

import numpy as np

from factorgraph.drawing.colours import LINE, OBSERVED, of_state
from factorgraph.drawing.labels import place_labels
from factorgraph.drawing.layout import place
from factorgraph.drawing.paint import extent
from factorgraph.drawing.scene import Node, Scene
from factorgraph.drawing.shapes import FACTOR, VARIABLE, bars_of, half_width, rooms_of, text_size

_UNIT, _FONT, _HIGHEST = 50.0, 11.0, 600.0  # pixels


def svg_of(scene: Scene) -> str:
    """
    The picture as an ``<svg>`` element.

    Widths of texts are estimated, since there is nothing to measure them with.
    """
    rooms = rooms_of(scene, _UNIT * 8.0 / _FONT)
    places, paths = place(scene, rooms, programs=False)
    low, high = extent(places, paths, rooms)
    width, height = (high - low) * _UNIT
    centres = (places - low) * (_UNIT, -_UNIT) + (0.0, height)
    lines = [(path - low) * (_UNIT, -_UNIT) + (0.0, height) for path in paths]
    parts = [_line(line) for line in lines]
    parts += [_frame(centre, half_width(node) * _UNIT) for node, centre in zip(scene.nodes, centres, strict=True) if node.plate]
    for node, centre in zip(scene.nodes, centres, strict=True):
        parts += _factor(centre) if node.kind == "factor" else _variable(node, centre)
    parts += _labels(scene, centres, lines, np.array([0.0, 0.0, width, height]))
    style = f"max-width:100%;height:auto;font:{_FONT:g}px sans-serif"
    scale = min(1.0, _HIGHEST / height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{scale * width:.0f}" '
        f'height="{scale * height:.0f}" style="{style}" role="img" aria-label="factor graph">{"".join(parts)}</svg>'
    )


def _line(points: np.ndarray) -> str:
    through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{through}" fill="none" stroke="{LINE}"/>'


def _frame(centre: np.ndarray, half: float) -> str:
    left, top = centre - half
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{2 * half:.1f}" height="{2 * half:.1f}" rx="5" '
        f'fill="#8888" fill-opacity="0.15" stroke="{LINE}"/>'
    )


def _factor(centre: np.ndarray) -> list[str]:
    side, (left, top) = 2 * FACTOR * _UNIT, centre - FACTOR * _UNIT
    return [f'<rect x="{left:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}" fill="currentColor" opacity="0.8"/>']


def _variable(node: Node, centre: np.ndarray) -> list[str]:
    radius = VARIABLE * _UNIT
    fill, rim = (OBSERVED, 2.4) if node.observed else ("#ffffff", 1.0)
    parts = [
        f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:.1f}" fill="{fill}" stroke="currentColor" '
        f'stroke-width="{rim}"/>'
    ]
    if node.belief.bars is not None:
        for state, (left, bottom, width, height) in enumerate(bars_of(node.belief.bars, np.zeros(2), radius)):
            x, y = centre[0] + left, centre[1] - bottom - height
            colour = of_state(state, len(node.belief.bars))
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')
    return parts


def _labels(scene: Scene, centres: np.ndarray, lines: list[np.ndarray], bounds: np.ndarray) -> list[str]:
    halves = np.array([half_width(node) for node in scene.nodes]) * _UNIT + 1.0
    boxes = np.concatenate([centres - halves[:, None], centres + halves[:, None]], axis=1)
    segments = np.concatenate([np.zeros((0, 4)), *(np.concatenate([p[:-1], p[1:]], axis=1) for p in lines)])
    shown = scene.labelled()
    forms = [scene.nodes[number].texts() for number in shown]
    sizes = [np.array([text_size(form, _FONT) for form in each]) + np.array([4.0, 0.0]) for each in forms]
    parts = []
    for placed, each in zip(
        place_labels(sizes, centres[shown], halves[shown], boxes, segments, bounds, _FONT), forms, strict=True
    ):
        if placed is None:
            continue
        if placed.leader is not None:
            parts.append(_line(placed.leader))
        rows = each[placed.form].split("\n")
        x, middle = placed.centre
        for number, row in enumerate(rows):
            y = middle + (number - (len(rows) - 1) / 2) * 1.2 * _FONT + 0.36 * _FONT
            parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="currentColor">{escape(row)}</text>')
    return parts
