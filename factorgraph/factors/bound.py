"""The three forms of a factor type made one: a factor bound to the variable types of its ports."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, product

import numpy as np

from factorgraph.backends import HOST, Array, Backend
from factorgraph.factors.base import DeviceMessages, Factor, Parameters
from factorgraph.factors.table_source import table_source
from factorgraph.semiring import LARGEST, Semiring, find_too_large
from factorgraph.variables import Categorical, DiscreteType, Spin, VariableType

_MAX_TABLE_ENTRIES = 1 << 28  # 2 GiB in float64


class BoundFactor:
    """
    A factor type with the variable types of its ports: messages, log-partition and marginals, whatever its form.

    Parameters
    ----------
    factor : Factor
    types : the variable type at each port
    widths : number of variables at each port, 1 except at plural ports
    count : number of factors
    owners : port of the factor type that each port belongs to: a plural port may take variables of several blocks, each at a
        port of its own, one after another. Default: as many ports as the type has

    Attributes
    ----------
    plural : ports that have an axis of several variables

    Raises
    ------
    ValueError, TypeError
        The factor does not fit these variables, or its potentials are not usable.
    """

    def __init__(
        self,
        factor: Factor,
        types: Sequence[VariableType],
        widths: Sequence[int],
        count: int,
        owners: Sequence[int] | None = None,
    ) -> None:
        self.owners = tuple(range(len(types)) if owners is None else owners)
        # Ports of each port of the type.
        self._members = [[p for p, owner in enumerate(self.owners) if owner == one] for one in dict.fromkeys(self.owners)]
        if factor.arity is not None and factor.arity != len(self._members):
            raise ValueError(f"{type(factor).__name__} takes {factor.arity} ports, not {len(self._members)}")
        self.factor = copy.copy(factor)
        self.types = tuple(types)
        self.widths = tuple(widths)
        self.count = count
        self.plural = tuple(p for p, owner in enumerate(self.owners) if owner in factor.plural)
        self._own_types = [self.types[members[0]] for members in self._members]
        self._own_widths = [sum(self.widths[p] for p in members) for members in self._members]
        self.factor.bind(self._own_types, self._own_widths, count)
        self._tabulated = factor.gives("log_potential")
        self._device_messages: dict[str, tuple[str, ...]] = {}
        if not (self._tabulated or factor.gives("log_partition") or factor.gives("messages")):
            raise TypeError(f"{type(factor).__name__} must define log_potential, log_partition or messages")

    def rebound(self, factor: Factor) -> BoundFactor:
        """The same with another factor of the type."""
        return BoundFactor(factor, self.types, self.widths, self.count, self.owners)

    def parameters(self) -> dict[str, np.ndarray]:
        """The factor's own host arrays; with the table where the messages are taken from one."""
        arrays = self.own_parameters()
        if self._tabulated and not self.factor.gives("messages"):
            table = self.table()
            arrays["table"] = table
            scaled = table - table.max(axis=tuple(range(table.ndim - 1)))
            arrays["potentials"] = np.exp(scaled)
            possible = np.isfinite(scaled)
            if not possible.all():
                arrays["smallest"] = np.array([scaled[possible].min()])
        return {name: np.asarray(array) for name, array in arrays.items()}

    def own_parameters(self) -> dict[str, np.ndarray]:
        """The factor's own host arrays."""
        return dict(self.factor.parameters(self._own_types, self.count))

    @property
    def is_table(self) -> bool:
        """Whether all that is asked of the factor is worked out from its table."""
        return self._tabulated and not any(map(self.factor.gives, ("messages", "log_partition", "marginals")))

    def table_axes(self) -> int:
        """Number of axes of `table`, where the factor has one of variables with states; else 0."""
        states = all(isinstance(kind, DiscreteType) for kind in self.types)
        return sum(self.widths) if self._tabulated and states else 0

    def related(self) -> int:
        """Number of variables, where that is 1, or any two are in a relation; else 0."""
        number = sum(self.widths)
        return number if number == 1 or (number == len(self.types) and self.factor.gives("relation")) else 0

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a message may be infinite though the incoming ones are finite."""
        if "table" in parameters:
            return bool(np.isneginf(parameters["table"]).any())
        return self.factor.can_be_hard(parameters)

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a message may be infinite where incoming ones are."""
        return self.can_be_hard(parameters) or ("table" not in parameters and self.factor.passes_certainty(parameters))

    def table(self) -> np.ndarray:
        """
        The log-potentials of all joint states, ``(q_0, ..., q_k, F or 1)``, plural ports spread out.

        Raises
        ------
        ValueError
            Too large to enumerate, NaN, +inf, or -inf for every joint state of a factor.
        """
        types = self.spread_types()
        sizes = [len(t.states) for t in types]
        entries = math.prod([float(size) for size in sizes])
        if entries > _MAX_TABLE_ENTRIES:
            raise ValueError(f"its table would have {entries:.3g} entries for each factor, more than {_MAX_TABLE_ENTRIES}")
        grids = [t.states.reshape((1,) * i + (-1,) + (1,) * (len(types) - i)) for i, t in enumerate(types)]
        table = self._called_with(grids)
        if table.shape[:-1] != tuple(sizes):
            table = np.broadcast_to(table, np.broadcast_shapes(table.shape, (*sizes, 1)))
        if table.shape[:-1] != tuple(sizes) or table.shape[-1] not in (1, self.count):
            raise ValueError(f"its log-potentials have shape {table.shape}, not {(*sizes, self.count)} or {(*sizes, 1)}")
        check_log_potentials(table)
        return table

    def _called_with(self, grids: Sequence[np.ndarray]) -> np.ndarray:
        """The potentials of all joint states; what goes wrong inside is told with how the states come."""
        try:
            return np.asarray(self.factor.log_potential(*grids), dtype=np.float64)
        except (ValueError, TypeError) as error:
            shapes = ", ".join(str(grid.shape) for grid in grids[:3]) + (", ..." if len(grids) > 3 else "")
            raise type(error)(
                f"log_potential: {error}. It is called once for all joint states, with {len(grids)} arrays of states that "
                f"broadcast (shapes {shapes}), and returns an array: compute with NumPy, such as np.where(a == b, 0.0, -1.0) "
                "in place of an if, np.exp in place of math.exp and no float()"
            ) from error

    def enumerated(self) -> np.ndarray:
        """`table`, or the same from ``log_partition`` with all ports clamped: for checks and exact answers."""
        if self._tabulated:
            return self.table()
        if not self.factor.gives("log_partition"):
            raise TypeError(
                f"{type(self.factor).__name__} gives messages only: add log_potential, so that it can be enumerated"
            )
        semiring = Semiring(HOST, "sum")
        with np.errstate(all="ignore"):
            uniform = [np.zeros((*kind.param_shape, self.count)) for kind in self.types]
            return np.asarray(self.clamped_table(uniform, self.parameters(), semiring))

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        """Outgoing messages of the asked ports, each shaped as ``incoming`` of that port."""
        if self.factor.gives("messages"):
            asked = sorted({self.owners[port] for port in ports})
            found = self.factor.messages(self._joined_ports(incoming, semiring), parameters, asked, semiring)
            return self._parted(dict(zip(asked, found, strict=True)), ports, semiring)
        if self._tabulated:
            return self._table_messages(incoming, parameters, ports, semiring)
        return [self._clamped_message(incoming, parameters, port, semiring) for port in ports]

    def device_messages(self, mode: str) -> tuple[str, ...]:
        """The messages of all ports in C++: the bodies of `Factor.device_messages`, or those of the factor's table; or none."""
        if mode not in self._device_messages:
            found = self._find_device_messages(mode) or ()
            self._device_messages[mode] = (found,) if isinstance(found, str) else found
        return self._device_messages[mode]

    def _find_device_messages(self, mode: str) -> DeviceMessages:
        if self.factor.gives("messages"):
            return self.factor.device_messages(self._own_types, self._own_widths, mode)
        if not self._tabulated or not all(type(kind) in (Spin, Categorical) for kind in self.types):
            return None
        kinds = self.spread_types()
        return table_source([len(kind.states) for kind in kinds], [isinstance(kind, Spin) for kind in kinds], mode)

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Log of the local sum of each factor, ``(F,)``."""
        if self.factor.gives("log_partition"):
            return self.factor.log_partition(self._joined_ports(incoming, semiring), parameters, semiring)
        joint = self._joint(incoming, parameters, semiring)
        return semiring.sum(semiring.xp.reshape(joint, (-1, *joint.shape[len(self.spread_types()) :])), axis=0)

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Joint belief of each factor's variables, ``(q_0, ..., q_k, F)``; adds up to one over the states."""
        if self.factor.gives("marginals"):
            return self.factor.marginals(self._joined_ports(incoming, semiring), parameters, semiring)
        joint = self._joint(incoming, parameters, semiring)
        flat = semiring.xp.reshape(joint, (-1, *joint.shape[len(self.spread_types()) :]))
        return semiring.xp.exp(joint - semiring.backend.log_sum_exp(flat, axis=0))

    # Ports of several blocks, as one port of the type.

    def _joined_ports(self, incoming: Sequence[Array], semiring: Semiring) -> Sequence[Array]:
        """What comes in at each port of the type."""
        if len(self._members) == len(self.owners):
            return incoming
        axes = [len(kind.param_shape) for kind in self._own_types]
        return [
            incoming[members[0]] if len(members) == 1 else semiring.xp.concat([incoming[p] for p in members], axis=axis)
            for members, axis in zip(self._members, axes, strict=True)
        ]

    def _parted(self, found: Mapping[int, Array], ports: Sequence[int], semiring: Semiring) -> list[Array]:
        """What goes out at some ports, from what goes out at ports of the type."""
        if len(self._members) == len(self.owners):
            return [found[port] for port in ports]
        outgoing = []
        for port in ports:
            whole, members = found[self.owners[port]], self._members[self.owners[port]]
            start = sum(self.widths[p] for p in members if p < port)
            part = slice(start, start + self.widths[port])
            axis = len(self.types[port].param_shape)
            outgoing.append(whole if len(members) == 1 else semiring.backend.take(whole, part, axis))
        return outgoing

    # From a table.

    def _table_messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        backend, xp = semiring.backend, semiring.xp
        weights = self._spread_weights(incoming, semiring)
        starts = np.cumsum([0, *self.widths])
        asked = [axis for port in ports for axis in range(starts[port], starts[port + 1])]
        potentials = parameters.get("potentials"), parameters.get("smallest")
        found = iter(backend.table_marginals(parameters["table"], weights, asked, semiring.mode, *potentials))
        outgoing = []
        for port in ports:
            each = [self._discrete(port).from_log_weights(next(found), backend) for _ in range(self.widths[port])]
            plural = port in self.plural
            outgoing.append(xp.stack(each, axis=len(self.types[port].param_shape)) if plural else each[0])
        return outgoing

    def _spread_weights(self, incoming: Sequence[Array], semiring: Semiring) -> list[Array]:
        weights = []
        for port, params in enumerate(incoming):
            kind = self._discrete(port)
            if port in self.plural:
                axis = len(kind.param_shape)
                pieces = [semiring.backend.take(params, slice(i, i + 1), axis) for i in range(self.widths[port])]
                weights += [kind.log_weights(semiring.xp.squeeze(p, axis=axis), semiring.backend) for p in pieces]
            else:
                weights.append(kind.log_weights(params, semiring.backend))
        return weights

    # By clamping ports to states.

    def _clamped_message(self, incoming: Sequence[Array], parameters: Parameters, port: int, semiring: Semiring) -> Array:
        kind, xp = self._discrete(port), semiring.xp
        axis = len(kind.param_shape)
        each = []
        for slot in range(self.widths[port]):
            place = (slice(None),) * axis + (slot, ...) if port in self.plural else (...,)
            weights = []
            for state in kind.states:
                clamped = list(incoming)
                clamped[port] = self._clamp(incoming[port], place, kind, state, semiring)
                weights.append(self.factor.log_partition(self._joined_ports(clamped, semiring), parameters, semiring))
            each.append(kind.from_log_weights(xp.stack(weights), semiring.backend))
        return xp.stack(each, axis=axis) if port in self.plural else each[0]

    @staticmethod
    def _clamp(params: Array, place: tuple[object, ...], kind: DiscreteType, state: object, semiring: Semiring) -> Array:
        clamped = semiring.xp.asarray(params, copy=True)
        target = clamped[place]
        certain = semiring.backend.asarray(kind.observe(np.asarray([state])))
        clamped[place] = semiring.xp.broadcast_to(
            semiring.xp.reshape(certain, (*kind.param_shape, *(1,) * (target.ndim - len(kind.param_shape)))), target.shape
        )
        return clamped

    def _joint(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Unnormalised log of the joint belief, ``(q_0, ..., q_k, F)``."""
        types, xp = self.spread_types(), semiring.xp
        weights = self._spread_weights(incoming, semiring)
        if self._tabulated:
            table = parameters["table"] if "table" in parameters else semiring.backend.asarray(self.table())
            joint = xp.reshape(table, (*table.shape, *(1,) * (len(types) + weights[0].ndim - 1 - table.ndim)))
        elif self.factor.gives("log_partition"):
            joint = self.clamped_table(incoming, parameters, semiring)
        else:
            raise NotImplementedError(f"{type(self.factor).__name__} gives messages only: add log_potential or log_partition")
        for axis, weight in enumerate(weights):
            shape = (1,) * axis + (weight.shape[0],) + (1,) * (len(types) - axis - 1) + weight.shape[1:]
            joint = joint + xp.reshape(weight, shape)
        return joint

    def clamped_table(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Log-potentials of all joint states, from the log-partition with all ports clamped."""
        if self.plural:
            raise NotImplementedError(f"{type(self.factor).__name__} has plural ports: add log_potential for its marginals")
        kinds = [self._discrete(port) for port in range(len(self.types))]
        rows = [
            self.factor.log_partition(
                [
                    self._clamp(params, (...,), kind, state, semiring)
                    for params, kind, state in zip(incoming, kinds, states, strict=True)
                ],
                parameters,
                semiring,
            )
            for states in product(*(kind.states for kind in kinds))
        ]
        stacked = semiring.xp.stack(rows)
        return semiring.xp.reshape(stacked, (*(len(kind.states) for kind in kinds), *stacked.shape[1:]))

    def _discrete(self, port: int) -> DiscreteType:
        kind = self.types[port]
        if not isinstance(kind, DiscreteType):
            raise TypeError(f"{type(self.factor).__name__} enumerates states, but port {port} takes {kind!r}")
        return kind

    def spread_types(self) -> list[DiscreteType]:
        """The variable types of all axes of a table: a plural port counts once for each of its variables."""
        return [self._discrete(port) for port, width in enumerate(self.widths) for _ in range(width)]


def to_device(parameters: Mapping[str, np.ndarray], backend: Backend) -> dict[str, Array]:
    """Host parameters on the device: integers as indices, all others in the backend's floating-point type."""
    return {
        name: backend.index_array(array) if array.dtype.kind in "iu" else backend.asarray(array)
        for name, array in parameters.items()
    }


def check_log_potentials(table: np.ndarray) -> None:
    """Refuse log-potentials, the factor axis last, that are NaN, +inf, out of range or all -inf."""
    best = table.reshape(-1, table.shape[-1]).max(axis=0, initial=-np.inf)
    least = table.min(initial=0.0, where=table > -np.inf)
    if -LARGEST <= least and best.min() > -np.inf and best.max() <= LARGEST:  # false for NaN
        return
    if np.isnan(table).any():
        raise ValueError("its log-potentials contain NaN")
    if np.isposinf(table).any():
        raise ValueError("its log-potentials contain +inf")
    too_large = find_too_large(table)
    if too_large is not None:
        raise ValueError(f"its log-potentials: {too_large}")
    empty = np.isneginf(table).reshape(-1, table.shape[-1]).all(axis=0)
    if empty.any():
        raise ValueError(f"all log-potentials of factor {int(np.argmax(empty))} are -inf, so that no state is possible")


def check_spins(factor: Factor, types: Sequence[VariableType]) -> None:
    """Refuse ports that are not spins."""
    for port, kind in enumerate(types):
        if not isinstance(kind, Spin):
            raise TypeError(f"{type(factor).__name__} takes spins, but port {port} has {kind!r}")


def check_same_states(factor: Factor, types: Sequence[VariableType]) -> None:
    """Refuse ports of unlike types, for factors that compare their variables."""
    for left, right in pairwise(types):
        if left != right:
            raise TypeError(f"{type(factor).__name__} compares variables of one type, not {left!r} and {right!r}")
