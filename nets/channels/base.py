"""What a channel is: an activation between a neuron's pre-activation and its output.

The pre-activation of a neuron is Gaussian by the central limit theorem, with mean omega and variance V. A channel gives the
message up to the output, and the derivatives of the neuron's log-partition phi by omega:

    g = d phi / d omega,    Gamma = - d^2 phi / d omega^2

(Lucibello, Pittorino, Perugini, Zecchina 2022, appendix A). All forms are finite in float32 and float64 for any omega, V and
incoming field, infinite fields (labels) included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from factorgraph import Backend, Port, VariableType
from factorgraph.backends import Array

Above = tuple[Array, ...]
"""What is said of the outputs from above, as a channel takes it."""


class Channel(ABC):
    """
    An activation. A new one is one file with such a class, entered in `nets.channels.CHANNELS`.

    Attributes
    ----------
    takes_cavities : whether methods may take inputs out of the sums: the outputs are one for each neuron
    """

    takes_cavities = True

    @abstractmethod
    def check(self, output: VariableType, neurons: int) -> None:
        """Refuse outputs of a type that the channel does not have, with a TypeError or ValueError that says why."""

    @abstractmethod
    def output_shape(self, neurons: int, patterns: Any) -> tuple[Any, ...]:
        """Shape of the outputs of so many neurons."""

    @abstractmethod
    def above(self, output: Port, backend: Backend) -> Above:
        """What is said of the outputs without this layer's own message."""

    @abstractmethod
    def message(self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], backend: Backend) -> Array:
        """
        Message up to the outputs, natural parameters in their shape.

        ``kept`` is forgotten when omega or V change: for what `derivatives` needs too.
        """

    @abstractmethod
    def derivatives(
        self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], second: bool, backend: Backend
    ) -> tuple[Array, Array | None]:
        """``g`` and Gamma, ``(K, M)``; Gamma may be None where ``second`` does not ask for it."""

    def gradient(self, backend: Backend) -> Callable[..., Array]:
        """``g`` as a function of omega, V and what `above` gives, of any shape; for channels that take cavities."""
        raise NotImplementedError

    def log_partition(self, omega: Array, variance: Array, output: Port, backend: Backend) -> Array:
        """Sum of log Z over neurons and patterns, less what Bethe's free energy counts with the outputs; optional."""
        raise NotImplementedError

    def can_be_recorded(self, observed: bool, second: bool) -> bool:
        """Whether derivatives read nothing back to the host."""
        return True
