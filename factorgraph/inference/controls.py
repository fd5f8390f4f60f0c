"""Controls that act on any graph: damping and reinforcement, for all variables or block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from factorgraph.blocks import Variables
from factorgraph.graph import FactorGraph


@dataclass(frozen=True)
class Damping:
    """
    How much of the old message is kept at an update.

    Parameters
    ----------
    strength : float in [0, 1)
        New = strength * old + (1 - strength) * update.
    parameters : {"natural", "mean"}
        Which parameters are averaged: natural ones, or mean ones (the magnetisation of a spin, the probabilities of a
        categorical variable). On the plates of block factors damping acts on the belief; in mean parameters on the
        means that block factors are handed.
    """

    strength: float
    parameters: str = "natural"

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength < 1.0:
            raise ValueError(f"damping must be at least 0 and below 1, not {self.strength!r}")
        if self.parameters not in ("natural", "mean"):
            raise ValueError(f"damping acts on 'natural' or 'mean' parameters, not {self.parameters!r}")


Strength: TypeAlias = "float | Damping"
PerBlock: TypeAlias = "Strength | Mapping[Any, Strength]"


def damping_of(damping: PerBlock, graph: FactorGraph) -> dict[str, Damping]:
    """Damping of each variable block, from one for all or a mapping from blocks or their names."""
    return {
        name: value if isinstance(value, Damping) else Damping(float(value))
        for name, value in _per_block(damping, graph, "damping").items()
    }


def reinforcement_of(reinforcement: float | Mapping[Any, float], graph: FactorGraph) -> dict[str, float]:
    """Reinforcement of each variable block, from one for all or a mapping from blocks or their names."""
    strengths = {name: float(value) for name, value in _per_block(reinforcement, graph, "reinforcement").items()}
    for name, value in strengths.items():
        if not value >= 0.0:
            raise ValueError(f"reinforcement of {name!r} must be at least 0, not {value!r}")
    return strengths


def _per_block(setting: Any, graph: FactorGraph, what: str) -> dict[str, Any]:
    if not isinstance(setting, Mapping):
        return {name: setting for name in graph.variable_blocks}
    named = {key.name if isinstance(key, Variables) else key: value for key, value in setting.items()}
    for name in named:
        if name not in graph.variable_blocks:
            raise ValueError(f"{what}: no variables {name!r}; there are {list(graph.variable_blocks)}")
    return {name: named.get(name, 0.0) for name in graph.variable_blocks}
