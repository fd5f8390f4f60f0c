"""Controls that act on any graph: damping and reinforcement, for all variables, block by block or variable by variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from factorgraph.blocks import Variables
from factorgraph.graph import FactorGraph
from factorgraph.semiring import MODES

PerVariable: TypeAlias = "float | np.ndarray"


@dataclass(frozen=True, eq=False)
class Damping:
    """
    How much of the old message is kept at an update.

    Parameters
    ----------
    strength : float in [0, 1), or array of such, one for each variable
        New = strength * old + (1 - strength) * update.
    parameters : {"natural", "mean"}
        Which parameters are averaged: natural ones, or mean ones (the magnetisation of a spin, the probabilities of a
        categorical variable). On the plates of block factors damping acts on the belief; in mean parameters on the
        means that block factors are handed.
    """

    strength: PerVariable
    parameters: str = "natural"

    def __post_init__(self) -> None:
        strength = np.asarray(self.strength, dtype=np.float64)
        wrong = ~((strength >= 0.0) & (strength < 1.0))
        if wrong.any():
            raise ValueError(f"damping must be at least 0 and below 1, not {float(strength[wrong][0])!r}")
        if self.parameters not in ("natural", "mean"):
            raise ValueError(f"damping acts on 'natural' or 'mean' parameters, not {self.parameters!r}")


Strength: TypeAlias = "PerVariable | Damping"
PerBlock: TypeAlias = "Strength | Mapping[Any, Strength]"


def damping_of(damping: PerBlock | str, graph: FactorGraph) -> dict[str, Damping]:
    """Damping of each variable block: a number for all of it, or an array with one for each of its variables."""
    if isinstance(damping, str):
        if damping != "auto":
            raise ValueError(f"damping must be a number, a Damping, a mapping or 'auto', not {damping!r}")
        damping = 0.0
    found = {}
    for name, parts in _parts(damping, graph, "damping").items():
        kinds = {value.parameters for _, value in parts if isinstance(value, Damping)} or {"natural"}
        if len(kinds) > 1:
            raise ValueError(f"damping: variables {name!r} cannot be damped in natural and in mean parameters at once")
        numbers = [(which, value.strength if isinstance(value, Damping) else value) for which, value in parts]
        found[name] = Damping(_joined(numbers, graph, name, "damping"), kinds.pop())
    return found


def reinforcement_of(reinforcement: PerBlock, graph: FactorGraph) -> dict[str, PerVariable]:
    """Reinforcement of each variable block, as `damping_of`."""
    found = {
        name: _joined(parts, graph, name, "reinforcement")
        for name, parts in _parts(reinforcement, graph, "reinforcement").items()
    }
    for name, value in found.items():
        wrong = ~(np.asarray(value) >= 0.0)
        if wrong.any():
            raise ValueError(f"reinforcement of {name!r} must be at least 0, not {float(np.asarray(value)[wrong][0])!r}")
    return found


def _parts(setting: PerBlock, graph: FactorGraph, what: str) -> dict[str, list[tuple[np.ndarray | None, Any]]]:
    """For each block the settings of its parts, in order: which variables (None: all), and the value."""
    if not isinstance(setting, Mapping):
        return {name: [(None, setting)] for name in graph.variable_blocks}
    found: dict[str, list[tuple[np.ndarray | None, Any]]] = {name: [] for name in graph.variable_blocks}
    for key, value in setting.items():
        name = key.name if isinstance(key, Variables) else key
        if name not in found:
            raise ValueError(f"{what}: no variables {name!r}; there are {list(graph.variable_blocks)}")
        whole = not isinstance(key, Variables) or key.is_whole
        found[name].append((None if whole else key.index, value))
    return found


def _joined(parts: list[tuple[np.ndarray | None, Any]], graph: FactorGraph, name: str, what: str) -> PerVariable:
    if len(parts) == 1 and parts[0][0] is None and np.ndim(parts[0][1]) == 0:
        return float(parts[0][1])
    if not parts:
        return 0.0
    block = graph.variable_blocks[name]
    values = np.zeros(block.size)
    for which, value in parts:
        index = block.whole if which is None else which
        try:
            values[index.reshape(-1)] = np.broadcast_to(np.asarray(value, dtype=np.float64), index.shape).reshape(-1)
        except ValueError:
            raise ValueError(f"{what} of {name!r} has shape {np.shape(value)}; expected {index.shape}") from None
    return values


def check_mode_and_batch(graph: FactorGraph, mode: str, batch: int | None) -> None:
    """Refuse a mode or a batch that there is not, or that a block of the graph cannot take."""
    if batch is not None and (not isinstance(batch, (int, np.integer)) or batch < 1):
        raise ValueError(f"batch must be a whole number of at least 1, not {batch!r}")
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, not {mode!r}")
    for block in graph.factor_blocks.values():
        if mode == "max" and block.is_block:
            raise ValueError(f"mode 'max': factors {block.name!r} are a block factor, which has a sum form only")
        if batch is not None and block.is_block:
            raise ValueError(f"batch: factors {block.name!r} are a block factor, which takes one set at a time")
