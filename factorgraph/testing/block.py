"""Checks of block factors against equivalent factors of another form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from factorgraph.backends import HOST, Backend
from factorgraph.blocks import Variables
from factorgraph.factors import BlockFactor
from factorgraph.graph import FactorGraph
from factorgraph.inference import Inference
from factorgraph.schedules import Flooding, Sweep
from factorgraph.testing.discrete import available_backends
from factorgraph.variables import VariableType


def check_block_factor(
    make: Callable[[], BlockFactor],
    twin: Callable[..., None],
    *plates: tuple[VariableType, tuple[int, ...]],
    steps: int = 2,
    atol: float = 1e-6,
    random_state: int = 0,
) -> None:
    """
    Compare a block factor with ordinary factors that express the same.

    Beliefs are compared after each step that updates all messages at once, on each backend. The block is connected to whole
    blocks of variables, and to views of larger ones (with rows in another order, and some left out). Messages to one port alone
    are also compared with messages to all ports.

    Parameters
    ----------
    make : function without arguments that returns a new block factor
    twin : function that adds the equivalent factors
        It receives a graph, and for each port its variables, or the values of data.
    *plates : (variable type, shape) of each port
    steps : int, default 2
        Use 1 for blocks that do not remove their own messages from what they read, such as mean-field ones: their later steps
        differ.
    atol : float, default 1e-6
        How much natural parameters of beliefs may differ. Single precision is not checked.
    random_state : int

    Raises
    ------
    AssertionError
        The message says which port's belief differs, after which step, on which backend, and by how much.

    Examples
    --------
    >>> import factorgraph as fg
    >>> from factorgraph.testing import check_block_factor
    >>> class Likeness(fg.BlockFactor):
    ...     \"\"\"An Ising factor between each spin of one plate and the same of another.\"\"\"
    ...
    ...     ports = ("left", "right")
    ...
    ...     def bind(self, types, shapes):
    ...         if shapes[0] != shapes[1]:
    ...             raise ValueError(f"left and right must have one shape, not {shapes}")
    ...
    ...     def update(self, ports, memory, asked, backend):
    ...         xp, share = backend.xp, 0.7615941559557649  # tanh(1)
    ...         return [xp.atanh(share * xp.tanh(ports[1 - port].incoming)) for port in asked]
    >>> spins = (fg.Spin(), (2, 3))
    >>> check_block_factor(Likeness, lambda graph, x, y: graph.add_factors("twin", fg.Ising(1.0), x, y), spins, spins)
    """
    rng = np.random.default_rng(random_state)
    for seen_through_views in (False, True):
        shapes = [(shape[0] + 2, *shape[1:]) if seen_through_views and shape else shape for _, shape in plates]
        rows = [rng.permutation(shape[0] + 2)[: shape[0]] if shape else None for _, shape in plates]
        values = [0.7 * rng.normal(size=(*shape, *kind.param_shape)) for (kind, _), shape in zip(plates, shapes, strict=True)]
        seen = rows if seen_through_views else [None] * len(plates)
        reference = _Run(None, twin, plates, shapes, seen, values, HOST)
        where = "views" if seen_through_views else "whole plates"
        for backend in available_backends():
            run = _Run(make(), twin, plates, shapes, seen, values, backend)
            for step, (ours, theirs) in enumerate(zip(run.steps(steps), reference.steps(steps), strict=True), start=1):
                for port, name in enumerate(run.names):
                    _compare(ours[port], theirs[port], atol, f"port {name!r} on {where}, {backend.name}, step {step}")
            whole = run.first_step(None)
            for port, name in enumerate(run.names):
                if plates[port][0].can_be_random:
                    alone = run.first_step(port)
                    _compare(alone[port], whole[port], 1e-9, f"port {name!r} asked alone on {where}, {backend.name}")


class _Run:
    """A graph with the block, or with its twin, on plates with random priors."""

    def __init__(
        self,
        block: BlockFactor | None,
        twin: Callable[..., None],
        plates: Sequence[tuple[VariableType, tuple[int, ...]]],
        shapes: Sequence[tuple[int, ...]],
        rows: Sequence[np.ndarray | None],
        values: Sequence[np.ndarray],
        backend: Backend,
    ) -> None:
        self._graph, self._backend, self._values = FactorGraph(), backend, values
        self._plates: list[Variables | None] = []
        ports: list[Any] = []
        for number, ((kind, _), shape) in enumerate(zip(plates, shapes, strict=True)):
            chosen: Any = rows[number]
            if block is None and not kind.can_be_random:
                self._plates.append(None)
                ports.append(values[number] if chosen is None else values[number][chosen])
                continue
            plate = self._graph.add_variables(f"plate{number}", kind, shape)
            self._plates.append(plate)
            ports.append(plate if chosen is None else plate.gather(chosen))
        if block is None:
            twin(self._graph, *ports)
        else:
            self._graph.add_factors("block", block, *ports)
        self.names = block.ports if block is not None else ()

    def _inference(self, schedule: Any) -> Inference:
        inference = Inference(self._graph, schedule, backend=self._backend)
        for plate, values in zip(self._plates, self._values, strict=True):
            if plate is None:
                continue
            if plate.type.can_be_random:
                inference.set_prior(plate, _proper(plate.type, values))
            else:
                inference.observe(plate, values)
        return inference

    def _beliefs(self, inference: Inference) -> list[np.ndarray | None]:
        return [
            None if plate is None or not plate.type.can_be_random else inference.state.belief(plate) for plate in self._plates
        ]

    def steps(self, number: int) -> list[list[np.ndarray | None]]:
        """Beliefs after each step of all messages at once."""
        inference, found = self._inference(Flooding()), []
        for _ in range(number):
            inference.step()
            found.append(self._beliefs(inference))
        return found

    def first_step(self, port: int | None) -> list[np.ndarray | None]:
        """Beliefs after messages to one port, or to all."""
        inference = self._inference(Flooding() if port is None else Sweep([("block", port)], partial=True))
        inference.step()
        return self._beliefs(inference)


def _proper(kind: VariableType, values: np.ndarray) -> np.ndarray:
    """Random numbers as a prior that the type takes: of normal variables the precision is positive."""
    if kind.check_prior(np.moveaxis(values.reshape(-1, *kind.param_shape), 0, -1)) is None:
        return values
    return np.abs(values) + 0.5


def _compare(ours: np.ndarray | None, theirs: np.ndarray | None, atol: float, where: str) -> None:
    if ours is None or theirs is None:
        return
    gap = float(np.max(np.abs(ours - theirs)))
    if not gap <= atol:
        place = np.unravel_index(int(np.argmax(np.abs(ours - theirs))), ours.shape)
        raise AssertionError(
            f"{where}: beliefs differ by up to {gap:.3g}, at {tuple(int(i) for i in place)}: the block gives "
            f"{ours[place]:.6g}, its twin {theirs[place]:.6g}"
        )
