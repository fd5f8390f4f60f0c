"""Running out of memory, told in the terms of the graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from factorgraph.backends import Backend
from factorgraph.graph import FactorGraph

_ARRAYS_OF_VARIABLES = 3  # prior, belief, and a new belief beside it


def memory_needed(graph: FactorGraph, backend: Backend, batch: int | None) -> int:
    """Bytes of messages, beliefs and indices; block factors' own arrays and tables come on top."""
    numbers = places = 0
    for block in graph.variable_blocks.values():
        numbers += _ARRAYS_OF_VARIABLES * block.size * math.prod(block.type.param_shape)
    for factors in graph.factor_blocks.values():
        if not factors.is_block:
            numbers += sum(port.size * math.prod(port.type.param_shape) for port in factors.ports)
            places += sum(port.size for port in factors.ports)
    return numbers * (batch or 1) * (8 if backend.dtype_name == "float64" else 4) + places * 24


@contextmanager
def naming_the_memory_needed(graph: FactorGraph, backend: Backend, batch: int | None) -> Iterator[None]:
    """Where the device's or the host's memory runs out, say what is needed and which settings lower it."""
    try:
        yield
    except MemoryError as error:
        remedies = ["dtype='float32'"] if backend.dtype_name == "float64" else []
        remedies += [f"a smaller batch than {batch}"] if batch is not None else []
        if any(block.is_block for block in graph.factor_blocks.values()):
            remedies += ["plates of fewer patterns (a network's batch_size)"]
        remedies += ["a smaller graph" if remedies else "dtype='float32' is set already; take a smaller graph"]
        raise MemoryError(
            f"out of memory on the {backend.name} backend: messages, beliefs and indices of this graph need about "
            f"{memory_needed(graph, backend, batch) / 2**20:,.0f} MiB; use {', '.join(remedies)} ({error})"
        ) from error
