"""Products of many spins: parity checks, and p-spin couplings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from factorgraph.backends import Array
from factorgraph.backends.kernels import unroll
from factorgraph.factors.base import DeviceMessages, Factor, Parameters
from factorgraph.factors.bound import check_spins
from factorgraph.factors.combining import Combination
from factorgraph.factors.ising import check_coupling
from factorgraph.factors.spin_products import DEVICE_SOURCE, spin_maxima, spin_products
from factorgraph.semiring import Semiring
from factorgraph.variables import Spin, VariableType

_MAX_DEVICE_WIDTH = 512  # spins, beyond which a check no longer fits what a thread may keep
_WEAK_FIELD = {"float32": 20.0, "float64": 170.0}  # largest |field| for which products of two odds do not overflow
_FAR_FROM_CERTAIN = {"float32": 12.0, "float64": 150.0}  # fields beside which the largest one is as good as an infinite one


class Parity(Factor):
    """
    The product of any number of spins, times a coupling: ``exp(J x_1 x_2 x_3)`` for three.

    With the default, an infinite coupling, it is a parity check: an even number of the spins is -1. If the bits 0 and 1 are
    written as the spins +1 and -1, the bits add up to 0 modulo 2. ``Parity(-np.inf)`` requires an odd number. ``Parity(-1)``
    does not: it is a soft coupling, with which odd numbers weigh only ``exp(2)`` times as much as even ones. A message costs
    O(1) per edge.

    Parameters
    ----------
    coupling : float or (F,) array, default inf
        J, in units of the temperature. Finite couplings are at most 1e6 in size.

    Examples
    --------
    >>> import numpy as np, factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> bits = graph.add_variables("bits", fg.Spin(), shape=(3,))
    >>> _ = graph.add_factors("check", fg.Parity(), bits[None])       # one factor of three spins
    >>> graph.observe(bits[:2], [1, -1])
    >>> fg.run(graph).mean(bits[2]).item()
    -1.0
    >>> graph = fg.FactorGraph()
    >>> bits = graph.add_variables("bits", fg.Spin(), shape=(3,))
    >>> _ = graph.add_factors("odd", fg.Parity(-np.inf), bits[None])
    >>> graph.observe(bits[:2], [1, 1])
    >>> fg.run(graph).mean(bits[2]).item()
    -1.0
    """

    plural: ClassVar[tuple[int, ...]] = (0,)
    device_source: ClassVar[str] = DEVICE_SOURCE
    pointwise: ClassVar[bool] = True
    arity: ClassVar[int | None] = 1

    def __init__(self, coupling: Any = np.inf) -> None:
        self.coupling = np.array(coupling, dtype=np.float64)

    def __repr__(self) -> str:
        return f"Parity({self.coupling if self.coupling.ndim == 0 else f'{self.coupling.shape[0]} couplings'})"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        check_spins(self, types)
        check_coupling(self.coupling, count)
        self._width = widths[0]

    def merge_key(self) -> Hashable:
        return ()

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        parameters = {"coupling": np.atleast_1d(self.coupling)}
        if self._has_odds:
            parameters["odds"] = np.exp(-2.0 * parameters["coupling"])
        return parameters

    @property
    def _has_odds(self) -> bool:
        """Whether odds of the couplings do not overflow."""
        return bool(((np.abs(self.coupling) <= _WEAK_FIELD["float32"]) | (self.coupling == np.inf)).all())

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return self._width == 1 and self.passes_certainty(parameters)  # else no stronger than the weakest incoming one

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return bool(np.isinf(parameters["coupling"]).any())

    def certainty_needs_all(self) -> bool:
        return True

    def log_potential(self, *spins: np.ndarray) -> np.ndarray:
        product: Any = 1
        for spin in spins:
            product = product * spin
        infinite = np.isinf(self.coupling)
        finite = np.where(infinite, 0.0, self.coupling) * product
        return np.where(infinite & (product * np.sign(self.coupling) < 0), -np.inf, finite)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        weak = self._weak_fields(incoming[0], semiring) if semiring.mode == "sum" and "odds" in parameters else None
        if weak is not None:
            return [self._weak_messages(weak, parameters, semiring) for _ in ports]
        product = _Product(semiring)
        outside = semiring.xp.broadcast_to(parameters["coupling"], incoming[0].shape[1:])
        return [product.down(product.up(incoming[0]), semiring.xp.expand_dims(outside, axis=0)) for _ in ports]

    @staticmethod
    def _weak_fields(fields: Array, semiring: Semiring) -> Array | None:
        """The fields, where their odds can be multiplied; None where some are too strong, or a message may be certain."""
        xp, backend = semiring.xp, semiring.backend
        limit, near = _WEAK_FIELD[backend.dtype_name], _FAR_FROM_CERTAIN[backend.dtype_name]
        if backend.all_within(fields, limit):
            return fields
        if not backend.all_within(fields[:0, ...], limit):  # this backend does not look
            return None
        free = xp.isfinite(fields)
        if xp.min(xp.sum(free, axis=0)) < 2 or not backend.all_within(xp.where(free, fields, 0.0), near):
            return None
        return xp.clip(fields, -limit, limit)

    @staticmethod
    def _weak_messages(fields: Array, parameters: Parameters, semiring: Semiring) -> Array:
        """
        Messages where no field is strong.

        With the odds A = exp(-2 h) of each spin, those of a product of two are ``(A + B) / (1 + A B)``: exact, and without a
        function to evaluate.
        """
        xp, odds = semiring.xp, _Odds(semiring)
        levels = odds.up(xp.exp(-2.0 * fields))
        heard = xp.log(odds.down(levels, xp.broadcast_to(parameters["odds"], levels[-1].shape)))
        heard *= -0.5
        return heard

    def device_messages(self, types: Sequence[VariableType], widths: Sequence[int], mode: str) -> DeviceMessages:
        if widths[0] > _MAX_DEVICE_WIDTH:
            return None
        fields = _device_products(
            widths[0],
            "in",
            "coupling[0]",
            "spin_maxima({0}, {1}, {2});" if mode == "max" else "spin_products({0}, {1}, (T)-1, {2});",
        )
        if mode == "max" or not self._has_odds:
            return fields
        # As `_weak_messages`: odds, where no field is strong.
        limit, near = ("(T)(IS_SINGLE ? {float32} : {float64})".format(**limits) for limits in (_WEAK_FIELD, _FAR_FROM_CERTAIN))
        width = widths[0]
        weak = f"""
        T strongest = 0, open = 0, given[{width}];
        {unroll(width)}
        for (int i = 0; i < {width}; ++i) {{
            const T size = fabs(in[i]);
            strongest = larger(strongest, select(size < INF, size, (T)0));
            open += select(size < INF, (T)1, (T)0);
            given[i] = quick_exp((T)-2 * larger(-{limit}, smaller({limit}, in[i])));
        }}
        const T most = select(open == (T){width}, {limit}, select(open > (T)1, {near}, (T)-1));
        holds = strongest <= most;
        {_device_products(width, "given", "odds[0]", "{2} = quick_ratio({0} + {1}, (T)1 + {0} * {1});")}
        {unroll(width)}
        for (int i = 0; i < {width}; ++i) out[i] = (T)-0.5 * quick_log(out[i]);
        """
        return weak, fields

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        # The product of the spins is itself a spin, whose field is that of all of them together.
        spin, backend = Spin(), semiring.backend
        product = _Product(semiring).up(incoming[0])[-1][0, ...]
        weights = spin.log_weights(product, backend) + spin.log_weights(parameters["coupling"], backend)
        alone = semiring.xp.sum(spin.log_partition(incoming[0], semiring), axis=0)
        return alone + semiring.sum(weights, axis=0) - spin.log_partition(product, semiring)


def _device_products(width: int, given: str, outside: str, product: str) -> str:
    """What each of some elements hears from all others and from outside: products from the left, kept, then from the right."""
    return f"""
    T left[{width}], right = {outside}, joined;
    left[0] = {given}[0];
    {unroll(width)}
    for (int i = 1; i < {width}; ++i) {{ {product.format("left[i - 1]", f"{given}[i]", "left[i]")} }}
    {unroll(width)}
    for (int i = {width} - 1; i > 0; --i) {{
        {product.format("left[i - 1]", "right", "out[i]")}
        {product.format("right", f"{given}[i]", "joined")}
        right = joined;
    }}
    out[0] = right;
    """


class _Product(Combination):
    """Fields of products of spins."""

    axis = 0

    def combine(self, left: Array, right: Array) -> Array:
        backend = self.semiring.backend
        if self.semiring.mode == "max":
            return backend.elementwise(spin_maxima, left, right)[0]
        return backend.elementwise(spin_products, left, right, None)[0]

    def outside(self, parent: Array, sibling: Array, like: Array) -> Array:
        return self.combine(parent, sibling)


class _Odds(Combination):
    """Odds of products of spins."""

    axis = 0

    def combine(self, left: Array, right: Array) -> Array:
        below = left * right
        below += 1.0
        above = left + right
        above /= below
        return above

    def outside(self, parent: Array, sibling: Array, like: Array) -> Array:
        return self.combine(parent, sibling)
