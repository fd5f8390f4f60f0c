"""Compile and run in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factorgraph.backends import Backend
from factorgraph.graph import FactorGraph
from factorgraph.inference.answers.result import Result
from factorgraph.inference.inference import Inference
from factorgraph.inference.layout.controls import PerBlock
from factorgraph.schedules import Schedule


def run(
    graph: FactorGraph,
    schedule: Schedule | None = None,
    *,
    max_iterations: int = 1000,
    tolerance: float | None = None,
    backend: str | Backend | None = None,
    dtype: str | None = None,
    mode: str = "sum",
    damping: PerBlock | str = 0.0,
    reinforcement: float | Mapping[Any, Any] = 0.0,
    **options: Any,
) -> Result:
    """
    Compile and run in one call: see `Inference` and `Inference.run` for the parameters.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> coin = graph.add_variables("coin", fg.Categorical(2))
    >>> graph.set_prior(coin, [0.0, 1.0])
    >>> fg.run(graph).marginals(coin).round(3).tolist()
    [0.269, 0.731]
    """
    inference = Inference(
        graph, schedule, backend=backend, dtype=dtype, mode=mode, damping=damping, reinforcement=reinforcement
    )
    return inference.run(max_iterations, tolerance, **options)
