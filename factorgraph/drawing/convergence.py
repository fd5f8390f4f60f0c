"""How a run of belief propagation went: the residuals, and which variables are still moving."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from factorgraph.drawing.colours import BLUE, LINE, ORANGE
from factorgraph.drawing.texts import literal

_MOST_VARIABLES, _MOST_MESSAGES = 12, 200


def plot_result(result: Any, axes: Any = None) -> Any:
    """
    The largest change of a message at each check, and the variables whose messages changed most at the last one.

    See `Result.plot`.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    if np.size(axes) != 2:
        raise ValueError(f"axes must be two matplotlib Axes, not {axes!r}; without them, a new figure is made")
    left, right = np.ravel(axes)
    left.set_title("\n".join(textwrap.wrap(repr(result).strip("<>"), 44)), fontsize="medium", loc="left")
    if not result.residuals:
        for panel in (left, right):
            panel.set_axis_off()
        left.text(0.5, 0.5, "Messages went there and back once:\nthere is nothing to iterate.", ha="center", va="center")
        return np.array([left, right])
    _residuals(left, result)
    _movers(right, result)
    return np.array([left, right])


def _residuals(axes: Any, result: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    values, iterations = np.array(result.residuals), np.array(result.residual_iterations)
    finite = np.isfinite(values) & (values > 0)  # the logarithm of others is none
    axes.plot(iterations[finite], values[finite], ".-" if finite.sum() < 60 else "-", color=BLUE)
    axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel("largest change of a message")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=LINE, alpha=0.3)


def _movers(axes: Any, result: Any) -> None:
    found: dict[str, float] = {}
    for _, _, block, index, change in result.largest_changes(_MOST_MESSAGES):
        name = block + (f"[{','.join(map(str, index))}]" if index else "")
        found.setdefault(name, change)  # the largest comes first
    names = [name for name, change in found.items() if change > 0][:_MOST_VARIABLES]
    axes.set_title("where messages changed most at the last check", fontsize="medium", loc="left")
    if not names:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No message changed.", ha="center", va="center")
        return
    changes = [found[name] for name in names]
    axes.hlines(range(len(names)), min(changes) / 2, changes, color=LINE)
    axes.plot(changes, range(len(names)), "o", color=ORANGE)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), list(map(literal, names)))
    axes.invert_yaxis()
    axes.set_xlabel("change of a message to the variable")
