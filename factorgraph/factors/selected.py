"""Some of the factors of a block, as a block of their own."""

from __future__ import annotations

import copy

import numpy as np

from factorgraph.factors.base import Factor
from factorgraph.factors.bound import BoundFactor
from factorgraph.factors.merged import merge_key


class SelectedFactor(BoundFactor):
    """
    Some of the factors of a block, bound; the factor itself is still made for all.

    Parameters
    ----------
    whole : all of them, bound
    index : (n,) numbers of those that are here

    Raises
    ------
    TypeError
        The factor reads more than its parameters, as far as one can know: it has messages and no `merge_key`.
    """

    def __init__(self, whole: BoundFactor, index: np.ndarray) -> None:
        if merge_key(whole) is None:
            raise TypeError(
                f"{type(whole.factor).__name__} needs a merge_key, so that some of its factors can run without the others"
            )
        vars(self).update(vars(whole))
        self.whole, self.index, self.count = whole, index, int(index.size)
        self.factor = copy.copy(whole.factor)
        vars(self.factor)["pointwise"] = False  # its own arrays have entries for all factors

    def rebound(self, factor: Factor) -> BoundFactor:
        return SelectedFactor(self.whole.rebound(factor), self.index)

    def own_parameters(self) -> dict[str, np.ndarray]:
        return {name: self._chosen(np.asarray(array)) for name, array in self.whole.own_parameters().items()}

    def table(self) -> np.ndarray:
        return self._chosen(self.whole.table())

    def _chosen(self, array: np.ndarray) -> np.ndarray:
        """Of an array with the factor axis last, of its length or 1, the chosen entries."""
        return array[..., self.index] if array.ndim and array.shape[-1] == self.whole.count > 1 else array
