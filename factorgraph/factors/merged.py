"""Bound factors of several blocks made one, so that small blocks run in one call."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from factorgraph.factors.bound import BoundFactor


class MergedFactor(BoundFactor):
    """
    The factors of several blocks whose `merge_key` is the same, one block after another.

    Parameters
    ----------
    members : bound factors of the blocks, two at least
    """

    def __init__(self, members: Sequence[BoundFactor]) -> None:
        # Parameters that some blocks do without, all do without: called is a factor that does.
        first = min(members, key=lambda member: len(member.own_parameters()))
        vars(self).update({name: value for name, value in vars(first).items() if name != "members"})
        self.members = tuple(members)
        self.count = sum(member.count for member in members)

    def own_parameters(self) -> dict[str, np.ndarray]:
        each = [member.own_parameters() for member in self.members]
        shared = [name for name in each[0] if all(name in arrays for arrays in each)]
        return {name: self._joined([arrays[name] for arrays in each]) for name in shared}

    def table(self) -> np.ndarray:
        return self._joined([member.table() for member in self.members])

    def _joined(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Arrays with the factor axis last, of its length or 1; shared by all where all share the same."""
        first = arrays[0]
        if all(array.shape[-1] == 1 for array in arrays) and all(np.array_equal(array, first, True) for array in arrays[1:]):
            return first
        counts = [member.count for member in self.members]
        spread = [np.broadcast_to(a, (*a.shape[:-1], n)) for a, n in zip(arrays, counts, strict=True)]
        return np.concatenate(spread, axis=-1)


def merge_key(bound: BoundFactor) -> Hashable | None:
    """What bound factors that run as one have in common; None for one that runs alone."""
    factor = bound.factor
    given = () if bound.is_table else factor.merge_key() if _speaks_for_its_messages(type(factor)) else None
    if given is None:
        return None
    arrays = tuple((name, array.shape[:-1], array.dtype.kind) for name, array in sorted(bound.own_parameters().items()))
    return type(factor), given, bound.types, bound.widths, bound.owners, arrays


def can_replace(old: BoundFactor, new: BoundFactor) -> bool:
    """Whether a bound factor may take the place of another among merged ones: it may lack parameters, or have more."""
    mine, theirs = merge_key(old), merge_key(new)
    if not (isinstance(mine, tuple) and isinstance(theirs, tuple)) or mine[:-1] != theirs[:-1]:
        return False
    shapes = [{name: rest for name, *rest in key[-1]} for key in (mine, theirs)]
    common = shapes[0].keys() & shapes[1].keys()
    return common in (shapes[0].keys(), shapes[1].keys()) and all(shapes[0][name] == shapes[1][name] for name in common)


_FORMS = ("messages", "log_partition", "marginals", "device_messages", "centred_log_partition")


def _speaks_for_its_messages(kind: type) -> bool:
    """Whether no class below the one that gives the key changes what is done with the parameters."""
    for one in kind.__mro__:
        if "merge_key" in vars(one):
            return True
        if any(form in vars(one) for form in _FORMS):
            return False
    return False
