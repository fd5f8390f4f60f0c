"""The potentials of factors that run as one, and their parameters on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from factorgraph.backends import Array, Backend
from factorgraph.factors.kernel import FactorKernel, to_device
from factorgraph.factors.merged import MergedKernel


class Potentials:
    """
    The kernels of a group's blocks, and on the device the parameters of all; evaluated where they are first asked for.

    Attributes
    ----------
    kernels : of each block
    kernel : of all together
    """

    def __init__(self, kernels: Sequence[FactorKernel], backend: Backend, batched: bool) -> None:
        self.kernels = tuple(kernels)
        self.kernel = self.kernels[0] if len(self.kernels) == 1 else MergedKernel(self.kernels)
        self._backend, self._batched = backend, batched

    def replaced(self, number: int, kernel: FactorKernel) -> Potentials:
        """The same with another kernel in place of a block's."""
        kernels = (*self.kernels[:number], kernel, *self.kernels[number + 1 :])
        return Potentials(kernels, self._backend, self._batched)

    def of_block(self, number: int) -> Potentials:
        """Those of one block alone."""
        return self if len(self.kernels) == 1 else Potentials([self.kernels[number]], self._backend, self._batched)

    @cached_property
    def _evaluated(self) -> tuple[dict[str, Array], bool, bool]:
        host, kernel = self.kernel.parameters(), self.kernel
        arrays = {name: array[..., None] if self._batched else array for name, array in host.items()}
        return to_device(arrays, self._backend), kernel.can_be_hard(host), kernel.passes_certainty(host)

    @cached_property
    def table(self) -> Array:
        """Log-potentials of all joint states, on the device, ``(q_0, ..., q_k, F or 1)``."""
        return self._backend.asarray(self.kernel.table())

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
