"""Places for labels: beside their nodes, and never over each other, over nodes or over lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ANGLES = np.deg2rad([0, 180, 270, 90, 315, 45, 225, 135, 337.5, 22.5, 202.5, 157.5, 292.5, 67.5, 247.5, 112.5])
_RINGS = (0.0, 0.7, 1.6, 2.8, 4.2)  # distances from the node, in heights of a line of text
_TRIES = 8  # orders in which labels are placed
_SHORTER, _FARTHER, _TURNED, _LEADING, _LOST = 6.0, 1.0, 0.02, 1.5, 100.0  # what each costs
_FEW = 12  # places looked at together
_PIECE = 200_000  # comparisons at a time


@dataclass(frozen=True)
class Placed:
    """
    Where a label stands.

    Attributes
    ----------
    form : int
        Which of its forms fits there.
    centre : (x, y)
    leader : (2, 2) array or None
        Ends of the line to its node, where it stands apart.
    """

    form: int
    centre: tuple[float, float]
    leader: np.ndarray | None


@dataclass(frozen=True)
class _Candidates:
    """Places of one label, the best first: forms (c,), boxes (c, 4), costs (c,), leaders (c, 4), NaN where there is none."""

    forms: np.ndarray
    boxes: np.ndarray
    costs: np.ndarray
    leaders: np.ndarray


def place_labels(
    sizes: Sequence[np.ndarray],
    anchors: np.ndarray,
    clearances: np.ndarray,
    boxes: np.ndarray,
    segments: np.ndarray,
    bounds: np.ndarray,
    line: float,
) -> list[Placed | None]:
    """
    Find a place for each label.

    Parameters
    ----------
    sizes : for each label an (f, 2) array of widths and heights of its forms, the one to prefer first
    anchors : (n, 2) centres of the labels' nodes
    clearances : (n,) half the width of each node
    boxes : (b, 4) what no label may meet: left, bottom, right, top; the labels' own nodes among them
    segments : (s, 4) lines that no label may meet: x and y of both ends
    bounds : (4,) box that labels must be inside
    line : height of a line of text, in the same units

    Returns
    -------
    list of a place for each label; None where there is none
    """
    candidates = [
        _free(form_sizes, anchor, clearance, boxes, segments, bounds, line)
        for form_sizes, anchor, clearance in zip(sizes, anchors, clearances, strict=True)
    ]
    rng = np.random.default_rng(0)
    few_first = np.argsort([len(found.costs) for found in candidates], kind="stable")
    best: tuple[float, list[int]] = (np.inf, [])
    for number in range(_TRIES):
        order = (
            few_first if number == 0 else few_first[np.argsort(np.arange(len(few_first)) + rng.normal(0, 4, len(few_first)))]
        )
        cost, chosen = _greedy(candidates, order)
        if cost < best[0]:
            best = cost, chosen
        if cost <= _TURNED * len(_ANGLES) * len(candidates):  # all are whole, and beside their nodes
            break
    return [_placed(found, choice) for found, choice in zip(candidates, best[1], strict=True)]


def _placed(found: _Candidates, choice: int) -> Placed | None:
    if choice < 0:
        return None
    left, bottom, right, top = found.boxes[choice]
    leader = found.leaders[choice]
    ends = None if np.isnan(leader[0]) else leader.reshape(2, 2)
    return Placed(int(found.forms[choice]), (float(left + right) / 2, float(bottom + top) / 2), ends)


def _free(
    sizes: np.ndarray,
    anchor: np.ndarray,
    clearance: float,
    boxes: np.ndarray,
    segments: np.ndarray,
    bounds: np.ndarray,
    line: float,
) -> _Candidates:
    """All places of a label that meet no node and no line."""
    ring, angle = np.meshgrid(np.array(_RINGS) * line, np.arange(len(_ANGLES)), indexing="ij")
    toward = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)[angle.ravel()]
    rings = ring.ravel()
    forms, found, costs, leaders = [], [], [], []
    for form, size in enumerate(sizes):
        half = np.asarray(size) / 2
        # The nearest point of the box is as far from the node as the ring says.
        reach = clearance + 0.1 * line + rings
        snapped = np.where(np.abs(toward) < 0.3, 0.0, np.sign(toward))
        centres = anchor + toward * reach[:, None] + snapped * half
        forms.append(np.full(len(centres), form))
        found.append(np.concatenate([centres - half, centres + half], axis=1))
        apart = rings > 0
        costs.append(_SHORTER * form + _FARTHER * rings / line + _TURNED * angle.ravel() + _LEADING * apart)
        ends = np.concatenate([anchor + toward * clearance, anchor + toward * (reach - 0.02 * line)[:, None]], axis=1)
        leaders.append(np.where(apart[:, None], ends, np.nan))
    all_boxes, all_leaders = np.concatenate(found), np.concatenate(leaders)
    inside = (all_boxes[:, :2] >= bounds[:2]).all(axis=1) & (all_boxes[:, 2:] <= bounds[2:]).all(axis=1)
    rows = np.flatnonzero(inside)
    near = _near(all_boxes[rows], boxes), _near(all_boxes[rows], _boxes_of(segments))
    boxes, segments = boxes[near[0]], segments[near[1]]
    rows = rows[~box_meets_box(all_boxes[rows], boxes).any(axis=1)]
    rows = rows[~box_meets_segment(all_boxes[rows], segments).any(axis=1)]
    own = (boxes[:, :2] <= anchor).all(axis=1) & (boxes[:, 2:] >= anchor).all(axis=1)
    led = ~np.isnan(all_leaders[rows, 0])
    blocked = np.zeros(len(rows), dtype=np.bool_)
    blocked[led] = box_meets_segment(boxes[~own], all_leaders[rows[led]]).any(axis=0)
    rows = rows[~blocked]
    cost = np.concatenate(costs)[rows]
    rows, cost = rows[np.argsort(cost, kind="stable")], np.sort(cost, kind="stable")
    return _Candidates(np.concatenate(forms)[rows], all_boxes[rows], cost, all_leaders[rows])


def _near(found: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which boxes are in the neighbourhood of some at all."""
    if not len(found):
        return np.zeros(len(others), dtype=np.bool_)
    low, high = found[:, :2].min(axis=0), found[:, 2:].max(axis=0)
    return np.asarray((others[:, :2] <= high).all(axis=1) & (others[:, 2:] >= low).all(axis=1))


def _boxes_of(segments: np.ndarray) -> np.ndarray:
    ends = segments.reshape(-1, 2, 2)
    return np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1)


def _greedy(candidates: Sequence[_Candidates], order: np.ndarray) -> tuple[float, list[int]]:
    """Give each label in this order its best place that is left; the cost of all, and the choices, -1 for none."""
    chosen = [-1] * len(candidates)
    taken, leaders = np.zeros((0, 4)), np.zeros((0, 4))
    cost = 0.0
    for number in order.tolist():
        found = candidates[number]
        choice = _first_free(found, taken, leaders)
        if choice is None:
            cost += _LOST
            continue
        chosen[number] = choice
        cost += float(found.costs[choice])
        taken = np.concatenate([taken, found.boxes[choice : choice + 1]])
        if not np.isnan(found.leaders[choice, 0]):
            leaders = np.concatenate([leaders, found.leaders[choice : choice + 1]])
    return cost, chosen


def _first_free(found: _Candidates, taken: np.ndarray, leaders: np.ndarray) -> int | None:
    """The best place of a label that meets neither labels nor their leaders; a few at a time, since mostly an early one is."""
    for start in range(0, len(found.costs), _FEW):
        boxes, own = found.boxes[start : start + _FEW], found.leaders[start : start + _FEW]
        over = box_meets_box(boxes, taken).any(axis=1) | box_meets_segment(boxes, leaders).any(axis=1)
        free = np.asarray(~over)
        led = np.flatnonzero(free & ~np.isnan(own[:, 0]))
        if led.size:
            free[led] = ~box_meets_segment(taken, own[led]).any(axis=0) & ~_cross(own[led], leaders).any(axis=1)
        if free.any():
            return start + int(np.argmax(free))
    return None


def box_meets_box(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether boxes ``(a, 4)`` and ``(b, 4)`` of left, bottom, right and top overlap, ``(a, b)``."""
    return np.asarray(
        (some[:, None, :2] < others[None, :, 2:]).all(axis=-1) & (some[:, None, 2:] > others[None, :, :2]).all(axis=-1)
    )


def box_meets_segment(boxes: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Whether boxes ``(a, 4)`` and straight lines ``(s, 4)`` meet, ``(a, s)``: no axis parts them."""
    if len(boxes) > 1 and len(boxes) * len(segments) > _PIECE:
        half = max(1, _PIECE // max(1, len(segments)))
        return np.concatenate([box_meets_segment(boxes[i : i + half], segments) for i in range(0, len(boxes), half)])
    centre, half_size = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2, (boxes[:, None, 2:] - boxes[:, None, :2]) / 2
    start, end = segments[None, :, :2], segments[None, :, 2:]
    middle, reach = (start + end) / 2 - centre, np.abs(end - start) / 2
    beside = (np.abs(middle) <= half_size + reach).all(axis=-1)
    along = end - start
    across = np.abs(middle[..., 0] * along[..., 1] - middle[..., 1] * along[..., 0])
    width = half_size[..., 0] * np.abs(along[..., 1]) + half_size[..., 1] * np.abs(along[..., 0])
    return np.asarray(beside & (across <= width))


def _cross(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether straight lines ``(a, 4)`` and ``(b, 4)`` cross, ``(a, b)``."""

    def side(segments: np.ndarray, points: np.ndarray) -> np.ndarray:
        along, away = segments[:, None, 2:] - segments[:, None, :2], points[None] - segments[:, None, :2]
        return np.asarray(along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0])

    over = side(some, others[:, :2]) * side(some, others[:, 2:]) < 0
    under = side(others, some[:, :2]) * side(others, some[:, 2:]) < 0
    return np.asarray(over & under.T)
