"""The potentials of factors that run as one, and their parameters on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from factorgraph.backends import Array, Backend
from factorgraph.factors.bound import BoundFactor, to_device
from factorgraph.factors.merged import MergedFactor


class Potentials:
    """
    The bound factors of a group's blocks, and on the device the parameters of all; evaluated where they are first asked for.

    Attributes
    ----------
    members : of each block
    bound : of all together
    """

    def __init__(self, members: Sequence[BoundFactor], backend: Backend, batched: bool) -> None:
        self.members = tuple(members)
        self.bound = self.members[0] if len(self.members) == 1 else MergedFactor(self.members)
        self._backend, self._batched = backend, batched

    def replaced(self, number: int, bound: BoundFactor) -> Potentials:
        """The same with another bound factor in place of a block's."""
        members = (*self.members[:number], bound, *self.members[number + 1 :])
        return Potentials(members, self._backend, self._batched)

    def of_block(self, number: int) -> Potentials:
        """Those of one block alone."""
        return self if len(self.members) == 1 else Potentials([self.members[number]], self._backend, self._batched)

    @cached_property
    def _evaluated(self) -> tuple[dict[str, Array], bool, bool]:
        host, bound = self.bound.parameters(), self.bound
        arrays = {name: array[..., None] if self._batched else array for name, array in host.items()}
        return to_device(arrays, self._backend), bound.can_be_hard(host), bound.passes_certainty(host)

    @cached_property
    def table(self) -> Array:
        """Log-potentials of all joint states, on the device, ``(q_0, ..., q_k, F or 1)``."""
        return self._backend.asarray(self.bound.table())

    @property
    def parameters(self) -> dict[str, Array]:
        """Parameters of all factors, on the device."""
        return self._evaluated[0]

    @property
    def hard(self) -> bool:
        """Whether messages may be infinite."""
        return self._evaluated[1]

    @property
    def passes_certainty(self) -> bool:
        """Whether messages may be infinite where incoming ones are."""
        return self._evaluated[2]
