"""Pair couplings of spins."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters
from factorgraph.factors.spin_products import DEVICE_SOURCE, WEAK_COUPLING, spin_maxima, spin_products
from factorgraph.semiring import Semiring, find_too_large
from factorgraph.variables import Spin, VariableType


class Ising(Factor):
    """
    Pairs of spins with the potential ``exp(J x y)``.

    Parameters
    ----------
    coupling : float or (F,) array
        J, in units of the temperature. A positive coupling favours equal spins, and an infinite one forces them to be equal.
        Finite couplings are at most 1e6 in size.
    """

    arity: ClassVar[int | None] = 2
    device_source: ClassVar[str] = DEVICE_SOURCE

    def __init__(self, coupling: Any) -> None:
        self.coupling = np.array(coupling, dtype=np.float64)
        self._weak = bool(np.abs(self.coupling).max(initial=0.0) <= WEAK_COUPLING)

    def __repr__(self) -> str:
        return f"Ising({self.coupling if self.coupling.ndim == 0 else f'{self.coupling.shape[0]} couplings'})"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        for port, kind in enumerate(types):
            if not isinstance(kind, Spin):
                raise TypeError(f"Ising couples spins, but port {port} has {kind!r}")
        check_coupling(self.coupling, count)

    def merge_key(self) -> Hashable:
        return ()

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        parameters = {"coupling": np.atleast_1d(self.coupling)}
        if self._weak:
            parameters["odds"] = np.exp(-2.0 * parameters["coupling"])
        return parameters

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return bool(np.isinf(parameters["coupling"]).any())

    def log_potential(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:  # type: ignore[override]
        aligned = x * y
        infinite = np.isinf(self.coupling)
        finite = np.where(infinite, 0.0, self.coupling) * aligned
        return np.where(infinite & (aligned * np.sign(self.coupling) < 0), -np.inf, finite)

    def gradient(self, marginals: np.ndarray) -> np.ndarray:
        aligned = marginals[:, 0, 0] + marginals[:, 1, 1] - marginals[:, 0, 1] - marginals[:, 1, 0]
        return np.asarray(aligned.sum()) if self.coupling.ndim == 0 else aligned

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        backend, coupling = semiring.backend, parameters["coupling"]
        if semiring.mode == "max":
            return [backend.elementwise(spin_maxima, incoming[1 - port], coupling)[0] for port in ports]
        odds = parameters.get("odds")
        return [backend.elementwise(spin_products, incoming[1 - port], coupling, odds)[0] for port in ports]

    def device_messages(self, types: Sequence[VariableType], widths: Sequence[int], mode: str) -> str:
        if mode == "max":
            return "spin_maxima(in[1], coupling[0], out[0]);\nspin_maxima(in[0], coupling[0], out[1]);"
        if self._weak:
            return "out[0] = weak_product(in[1], odds[0]);\nout[1] = weak_product(in[0], odds[0]);"
        return "spin_products(in[1], coupling[0], (T)-1, out[0]);\nspin_products(in[0], coupling[0], (T)-1, out[1]);"


def check_coupling(coupling: np.ndarray, count: int) -> None:
    """Refuse couplings of a wrong shape, NaN or out of range."""
    if coupling.shape not in ((), (count,)):
        raise ValueError(f"coupling has shape {coupling.shape}; expected a number or ({count},), one for each factor")
    if np.isnan(coupling).any():
        raise ValueError(f"coupling of factor {int(np.argmax(np.isnan(np.atleast_1d(coupling))))} is NaN")
    too_large = find_too_large(np.atleast_1d(coupling))
    if too_large is not None:
        raise ValueError(f"coupling: {too_large}")
