"""The state of a run: evidence, priors and potentials; messages, beliefs and block factors' memories."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.blocks import Factors, Variables
from factorgraph.factors import BlockFactor, Factor
from factorgraph.factors.merged import can_replace
from factorgraph.graph import FactorGraph
from factorgraph.inference.layout.layout import Layout
from factorgraph.inference.layout.views import View
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.potentials import Potentials
from factorgraph.inference.state.sharing import Sharing
from factorgraph.inference.state.state_file import Counts, fill, read_pools, write_pools


@dataclass(eq=False)
class State:
    """
    All that changes in a run: evidence, priors and potentials; messages, beliefs and block factors' memories.

    Belongs to the `Inference` that made it, or to one compiled alike. `copy` gives an independent one; `save` and
    `load` go through a file.

    Attributes
    ----------
    iteration : int
        Iterations done in this run.
    residuals : list of float
        The largest change of any message at each check.
    """

    layout: Layout
    pools: list[PoolState]
    potentials: dict[str, Potentials]
    block_factors: dict[str, BlockFactor]
    views: dict[str, list[View | None]]
    memories: dict[str, dict[str, Any]]
    backend: Backend
    batch: int | None = None
    iteration: int = 0
    residuals: list[float] = field(default_factory=list)
    residual_iterations: list[int] = field(default_factory=list)
    fused: dict[bool, Any] = field(default_factory=dict, init=False)  # see `fused`: a program bound to these arrays
    rooms: dict[str, Array] = field(default_factory=dict, init=False)  # arrays for what each exact run works out anew
    changes: int = field(default=0, init=False)  # made from outside, by the inference's methods
    sharing: Sharing | None = None  # what other ranks have too
    onlooker: Any = field(default=None, init=False)  # a weak reference to the result that still looks at these arrays
    is_recorded: bool = field(default=False, init=False)  # see `recording`: what runs now is part of a recording

    @classmethod
    def of(
        cls, graph: FactorGraph, layout: Layout, backend: Backend, batch: int | None, sharing: Sharing | None = None
    ) -> State:
        """The state of a graph before any message and any evidence."""
        blocks, batched = graph.factor_blocks.values(), batch is not None
        sets = (batch,) if batch is not None else ()
        return cls(
            layout,
            [(PlateState if pool.is_plate else PoolState)(backend, sets, pool) for pool in layout.pools],
            {
                group.name: Potentials([block.bound for block in group.blocks], backend, batched)
                for group in layout.groups.values()
                if not group.is_block
            },
            {block.name: block.factor for block in blocks if isinstance(block.factor, BlockFactor)},
            {block.name: [View.of(port, backend) for port in block.ports] for block in blocks if block.is_block},
            {block.name: {} for block in blocks if block.is_block},
            backend,
            batch,
            sharing=sharing,
        )

    def put_potentials(self, block: Factors, factor: Factor) -> None:
        """Replace a block's potentials: see `Inference.set_potentials`."""
        if block.is_block or type(factor) is not type(block.factor):
            raise TypeError(f"factors {block.name!r} need a new {type(block.factor).__name__}, not {factor!r}")
        try:
            bound = block.bound.rebound(factor)
            bound.parameters()  # refused now, if at all
            name, number, _ = self.layout.place_of[block.name]
            group = self.layout.groups[name]
            if len(group.blocks) > 1 and not can_replace(block.bound, bound):
                raise ValueError(
                    "run together with other blocks, and the new potentials are of another kind than the old ones: make a new "
                    "Inference of the graph with the new potentials"
                )
            self.potentials[name] = self.potentials[name].replaced(number, bound)
        except (ValueError, TypeError) as error:
            raise type(error)(f"factors {block.name!r}: {error}") from error

    def mark(self) -> tuple[int, ...]:
        """What changes when anything but a replay changes the state."""
        return id(self), self.changes, *(pool.version for pool in self.pools)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """For what runs as part of a recording."""
        self.is_recorded = True
        try:
            yield
        finally:
            self.is_recorded = False

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "fused": {}, "rooms": {}, "onlooker": None, "is_recorded": False}

    def leave_results_alone(self) -> None:
        """A result that still looks at these arrays gets a copy, before they change."""
        result = None if self.onlooker is None else self.onlooker()
        self.onlooker = None
        if result is not None:
            result.keep_own_state()

    def copy(self) -> State:
        """An independent copy."""
        return replace(
            self,
            pools=[pool.copy() for pool in self.pools],
            potentials=dict(self.potentials),
            memories=copy.deepcopy(self.memories),
            residuals=list(self.residuals),
            residual_iterations=list(self.residual_iterations),
        )

    def select(self, sets: np.ndarray) -> State:
        """The state of some sets of a batch, copied."""
        return replace(self, pools=[pool.select(sets) for pool in self.pools], batch=sets.size)

    def take_back(self, sets: np.ndarray, other: State) -> None:
        """Put the state of some sets of a batch in place, from what `select` gave."""
        for mine, theirs in zip(self.pools, other.pools, strict=True):
            mine.take_back(sets, theirs)

    def prepare(self) -> None:
        """Make beliefs and settings follow from all that was changed, before an iteration."""
        self.find_hard_pools()
        if any(pool.stale for pool in self.pools):
            self.forget_candidates()
        for pool in self.pools:
            kind = pool.pool.type
            if not kind.can_be_random and not pool.evidence.all_observed:
                raise ValueError(f"variables {pool.pool.blocks[0].name!r} are {kind!r} and must be observed before a run")
            if pool.stale and kind.can_be_random:
                pool.terms.forget_reinforcement()
                pool.refresh()

    def restart_count(self) -> None:
        """Begin a new run: forget the iterations and residuals of the one before."""
        self.iteration = 0
        self.residuals, self.residual_iterations = [], []

    def forget_candidates(self) -> None:
        """Something that messages follow from has changed: their next values are to be worked out anew."""
        for pool in self.pools:
            pool.candidates = None

    def find_hard_pools(self, certain: bool = False) -> None:
        """
        Note which pools get messages that may be infinite: only those count infinite terms apart.

        A pool stays so until its messages are forgotten. ``certain``: count with evidence to come.
        """
        if self.sharing is not None and self.sharing.exchanges:  # what is certain on one rank may be heard on another
            hard = any(potentials.hard for potentials in self.potentials.values())
            if certain := self.sharing.any(certain or hard or any(pool.has_certainty or pool.hard for pool in self.pools)):
                for boundary in self.sharing.boundaries:
                    self.pools[boundary.pool].harden()
        # Nothing but evidence makes messages infinite.
        seen_only = not (certain or any(potentials.hard for potentials in self.potentials.values())) and all(
            pool.terms.prior_is_finite and not pool.hard for pool in self.pools
        )
        certain = certain or any(pool.has_certainty for pool in self.pools)
        for name, potentials in self.potentials.items():
            if potentials.passes_certainty:
                for segment in self.layout.groups[name].segments:
                    self.pools[segment.pool].may_grow = True
            grows = certain and potentials.passes_certainty and not (seen_only and self._leaves_two_free(name))
            if potentials.hard or grows:
                for segment in self.layout.groups[name].segments:
                    self.pools[segment.pool].harden()
        for pool in self.pools:
            # Block factors send finite messages, so that a pool without edges has its own certainty alone.
            if not pool.pool.type.certainty_absorbs and ((certain and pool.pool.num_edges) or pool.has_certainty):
                pool.harden()

    def _leaves_two_free(self, name: str) -> bool:
        """Whether evidence leaves two variables of each of a group's factors free, and so makes no message certain."""
        group = self.layout.groups[name]
        if group.is_block or not group.bound.factor.certainty_needs_all():
            return False
        free: np.ndarray | int = 0
        for segment in group.segments:
            pool = self.pools[segment.pool]
            seen = pool.evidence.observed[pool.pool.edge_place[segment.edges(None)]]
            free = free + (~seen).reshape(segment.width, group.count, *pool.batch).sum(axis=0)
        return bool(np.min(free) >= 2)

    def pool(self, variables: Variables) -> PoolState:
        """The arrays that a block of variables lies in."""
        return self.pools[self.layout.pool_of[variables.name]]

    def plate(self, variables: Variables | int) -> PlateState:
        """The arrays of a block of variables, or of a pool by number, at which block factors have ports."""
        pool = self.pools[variables if isinstance(variables, int) else self.layout.pool_of[variables.name]]
        assert isinstance(pool, PlateState)
        return pool

    def belief(self, variables: Variables) -> np.ndarray:
        """Natural parameters of some variables' beliefs as they are now, as `Result.belief`: for callbacks."""
        pool = self.pool(variables)
        host = self.backend.to_host(pool.belief)[(slice(None),) * pool.pool.axis + (pool.pool.positions(variables),)]
        first = pool.pool.axis
        front = np.moveaxis(host, (-1, first), (0, 1)) if pool.batch else np.moveaxis(host, first, 0)
        lead = (*pool.batch, *variables.shape)
        return front.reshape((*lead, *pool.pool.type.param_shape))

    def adopt(self, variables: Variables, other: State) -> None:
        """
        Take over the prior and belief of a whole block from the state of another graph that has the same block.

        Messages are not taken over: the belief, but for what a centre of replicas said, stands until the next one arrives.

        Raises
        ------
        ValueError
            The other graph has no block of that name, type and shape, or it is not a plate of block factors.
        """
        name = variables.name
        if name not in other.layout.pool_of:
            raise ValueError(f"the other state has no variables {name!r}")
        mine, theirs = self.pool(variables), other.pools[other.layout.pool_of[name]]
        if mine.pool.type != theirs.pool.type or mine.pool.blocks[0].shape != theirs.pool.blocks[0].shape:
            raise ValueError(f"variables {name!r} differ in type or shape between the two states")
        if not (isinstance(mine, PlateState) and isinstance(theirs, PlateState)):
            raise ValueError(f"variables {name!r} are not a plate of block factors in both states")
        theirs.bring_up_to_date()
        mine.resume(theirs.own_belief, theirs.means())
        mine.terms.put(mine.backend.asarray(theirs.settle_prior()))
        mine.terms.prior_is_finite = theirs.terms.prior_is_finite

    def save(self, path: str | Path) -> None:
        """
        Write evidence, priors, messages and beliefs to one ``.npz`` file, whole or not at all.

        Potentials belong to the graph and are not written, nor are the memories of block factors.
        """
        write_pools(path, self.pools, self.layout, Counts(self.iteration, self.residuals, self.residual_iterations))

    def load(self, path: str | Path) -> None:
        """
        Take over what `save` wrote for the same graph and controls.

        Raises
        ------
        ValueError
            The file is damaged or of another graph; nothing is changed then.
        """
        counts, found = read_pools(path, self.pools, self.layout, self.memories)
        self.leave_results_alone()
        self.changes += 1
        for pool, read in zip(self.pools, found, strict=True):
            fill(pool, read)
        for memory in self.memories.values():
            memory.clear()
        self.find_hard_pools()
        self.iteration, self.residuals, self.residual_iterations = counts
