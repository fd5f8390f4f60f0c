"""What notebooks show of graphs and of results."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from factorgraph.drawing.beliefs import Belief, believed, states_of
from factorgraph.drawing.colours import of_state
from factorgraph.drawing.scene import indexed, plates_of, scene_of
from factorgraph.drawing.svg import svg_of

if TYPE_CHECKING:
    from factorgraph.graph import FactorGraph

_MOST_NODES, _MOST_BLOCKS = 40, 12  # of a picture
_MOST_ROWS = 12  # of beliefs, and of sets of a batch
_MOST_EDGES = 200_000  # up to which the log-partition is worked out for being shown
_CELL = "text-align:left;padding:1px 12px 1px 0"


def graph_html(graph: FactorGraph, headline: str, rows: Sequence[Sequence[str]]) -> str:
    """
    A graph: its sizes, a picture where it is small or has few blocks, and a table of its blocks.

    Parameters
    ----------
    graph : FactorGraph
    headline : str
        Its sizes in words.
    rows : sequence of (name, type, size)
        Of each block.
    """
    picture = ""
    blocks = len(graph.variable_blocks) + len(graph.factor_blocks)
    if 0 < graph.num_variables + graph.num_factors <= _MOST_NODES:
        picture = svg_of(scene_of(graph, None, None))
    elif 0 < blocks <= _MOST_BLOCKS:
        picture = svg_of(plates_of(graph, None))
    return f"<div><b>{escape(headline)}</b></div>{picture}{_table(rows)}"


def result_html(result: Any, graph: FactorGraph) -> str:
    """
    A result: how the run ended, the log-partition, and the first beliefs.

    Parameters
    ----------
    result : Result, or one of the exact ones
    graph : FactorGraph
        That it is of.
    """
    title = f"<div><b>{escape(repr(result).strip('<>'))}</b></div>"
    if not isinstance(result.status, str):
        return title + _batch(result)
    if result.contradictions:
        names = ", ".join(name + (str(list(index)) if index else "") for name, index in result.contradictions[:5])
        return f"{title}<div>The evidence contradicts the model: no state is possible for {escape(names)}.</div>"
    log = _log_partition(result, graph)
    told = "" if log is None or "log-partition" in title else f"<div>log-partition {log:.6g}</div>"
    return f"{title}{told}{_beliefs(result, graph)}"


def _log_partition(result: Any, graph: FactorGraph) -> float | None:
    """None where it would take long, or where factors have no free energy."""
    if graph.num_edges > _MOST_EDGES:
        return None
    try:
        return float(result.log_partition)
    except NotImplementedError:
        return None


def _batch(result: Any) -> str:
    """Of each set how it ended."""
    rows = [
        (str(number), status, "contradiction" if found else "")
        for number, (status, found) in enumerate(zip(result.status, result.contradictions, strict=True))
    ]
    return _table(rows[:_MOST_ROWS], ("set", "status", "")) + _more(len(rows), "sets")


def _beliefs(result: Any, graph: FactorGraph) -> str:
    """A table of the first variables of each block."""
    blocks = [block for block in graph.variable_blocks.values() if block.type.can_be_random]
    each = max(2, _MOST_ROWS // max(1, len(blocks)))
    rows: list[str] = []
    for block in blocks:
        if len(rows) >= _MOST_ROWS:
            break
        shown = min(block.size, each, _MOST_ROWS - len(rows))
        variables = graph.variables(block.name).ravel()[:shown]
        states = states_of(block)
        for position, belief in enumerate(believed(variables, [states] * shown, result)):
            seen = block.observed is not None and bool(block.observed[position])
            name = escape(indexed(block.name, block.shape, position))
            rows.append(_row([name, _words(belief, states), "observed" if seen else ""]))
    total = sum(block.size for block in blocks)
    return f"<table>{''.join(rows)}</table>" + (_more(total, "variables", len(rows)) if rows else "")


def _words(belief: Belief, states: Sequence[str]) -> str:
    """Probabilities as coloured bars with their numbers; moments as they are."""
    if belief.bars is None or len(belief.bars) > 7:
        return escape(belief.text.replace("\n", ", "))
    parts = []
    for number, (name, chance) in enumerate(zip(states, belief.bars, strict=True)):
        width = 50 * float(np.nan_to_num(chance))
        look = f"display:inline-block;height:0.7em;width:{width:.0f}px;margin-right:{54 - width:.0f}px"
        bar = f"<span style='{look};background:{of_state(number, len(states))}'></span>"
        parts.append(f"<span style='white-space:nowrap'>{escape(name)} {bar}{chance:.3f}</span>")
    return "&emsp;".join(parts)


def _row(cells: Sequence[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag} style='{_CELL}'>{cell}</{tag}>" for cell in cells) + "</tr>"


def _table(rows: Sequence[Sequence[str]], heads: Sequence[str] = ()) -> str:
    head = _row(heads, "th") if heads else ""
    return f"<table>{head}{''.join(_row([escape(cell) for cell in row]) for row in rows)}</table>"


def _more(total: int, noun: str, shown: int = _MOST_ROWS) -> str:
    return f"<div>and {total - shown:,} more {noun}</div>" if total > shown else ""
