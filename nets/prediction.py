"""Predictions with the most probable weights (point-wise), or with marginalised weights (Bayesian)."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

import factorgraph as fg
from nets.encoding import EncodedRows, Inputs, dense_parts
from nets.layers import Architecture, architecture_of
from nets.network import Network

_WIDE = 16384  # numbers of a row in one array, from which fewer rows are taken at a time


class Predictor:
    """
    The network's factor graph with unknown outputs, compiled for chunks of rows.

    The number of rows in a chunk is a power of two, and small if few rows are asked for; the last chunk is filled up.
    Predictions are in double precision. So the prediction of a row does not depend on the other rows, except for rounding.

    Threads may share one predictor: each call uses a compiled graph that no other call uses at the same time. Graphs are kept
    for later calls, with the weights that they have.

    Parameters
    ----------
    sizes : sequence of int, or Architecture
        As in `Network`.
    backend : str or None
        As in `factorgraph.Inference`.
    noise : as in `Network`. Point-wise networks have no noise, so that they are the networks that `export` writes.
    **settings : settings of `Network`: masks, and the kinds of weights and activations
    """

    def __init__(
        self,
        sizes: Sequence[int] | Architecture,
        backend: str | None,
        noise: float = 0.0,
        **settings: Any,
    ) -> None:
        self._device = fg.get_backend(backend, "float64")
        self._architecture, self._noise, self._settings = architecture_of(sizes), noise, settings
        # Rows of wide images are taken fewer at a time.
        share = max(1, self._architecture.widest // _WIDE)
        self._most = max(1, self._device.chunk >> (share - 1).bit_length())
        self._idle: dict[tuple[int, float], list[_Compiled]] = defaultdict(list)
        self._lock = threading.Lock()
        # A device is asked by one thread at a time.
        self._device_lock: Any = nullcontext() if self._device.serves_threads else threading.Lock()

    def rows(self, X: Inputs) -> fg.Observations | EncodedRows:
        """Inputs ``(n, N)`` on the device, for `marginals`. Those of a sparse table are copied there one part at a time."""
        if isinstance(X, EncodedRows):
            return X
        chunk = min(self._most, 1 << (len(X) - 1).bit_length())
        with self._device_lock, self._compiled(chunk, True) as compiled:
            return compiled.inference.observations(compiled.network.input, X)

    def marginals(self, beliefs: Sequence[Any], rows: fg.Observations | EncodedRows, bayesian: bool) -> np.ndarray:
        """
        Return the marginals of the outputs.

        Parameters
        ----------
        beliefs : mean parameters of the weights, ``(*param_shape, K, N)`` for each layer, on the host or the device
            For spins, these are their means. They must not be changed in place.
        rows : inputs, from `rows`
        bayesian : bool
            True: weights are random with these beliefs. False: each weight has its most probable value.

        Returns
        -------
        (n, K) array of the probability of each class, up to rounding. For a single output it is (n, 2), for -1 and +1. For real
        outputs it is (n, 2 K): means and then variances.
        """
        return self._read(beliefs, rows, bayesian, _Compiled.marginals).T

    def last_hidden(self, beliefs: Sequence[Any], rows: fg.Observations) -> tuple[fg.VariableType, np.ndarray]:
        """Type and mean parameters ``(*param_shape, N, n)`` of the last hidden units. Arguments are as in `marginals`."""
        with self._compiled(rows.patterns, True) as compiled:
            kind = compiled.network.activations[-1].type
        return kind, self._read(beliefs, rows, True, _Compiled.last_hidden)

    def _read(
        self, beliefs: Sequence[Any], rows: fg.Observations | EncodedRows, bayesian: bool, read: Callable[[_Compiled], Any]
    ) -> np.ndarray:
        """What ``read`` returns after each chunk of rows, joined on the host."""
        if isinstance(rows, EncodedRows):
            parts = (self.rows(part) for part in dense_parts(rows, len(rows)))
            return np.concatenate([self._read(beliefs, part, bayesian, read) for part in parts], axis=-1)
        chunk = rows.patterns
        with self._device_lock, self._compiled(chunk, bayesian) as compiled:
            compiled.take(beliefs, bayesian)
            chunks = []
            for start in range(0, len(rows), chunk):
                compiled.forward(rows[np.minimum(np.arange(start, start + chunk), len(rows) - 1)])
                chunks.append(read(compiled))
            return np.asarray(self._device.to_host(self._device.xp.concat(chunks, axis=-1)[..., : len(rows)]))

    @contextmanager
    def _compiled(self, chunk: int, bayesian: bool) -> Iterator[_Compiled]:
        """A compiled graph that nobody else uses meanwhile."""
        noise = self._noise if bayesian else 0.0
        with self._lock:
            idle = self._idle[chunk, noise]
            compiled = idle.pop() if idle else None
        compiled = compiled or _Compiled(Network(self._architecture, chunk, noise=noise, **self._settings), self._device)
        yield compiled
        with self._lock:  # what has failed is not used again
            idle.append(compiled)


class _Compiled:
    """A network for a number of rows, its inference, and the weights that it received last."""

    def __init__(self, network: Network, device: fg.Backend) -> None:
        self.network = network
        self.inference = fg.Inference(network.graph, network.prediction_schedule(), backend=device)
        self._beliefs: tuple[Sequence[Any], bool] | None = None

    def take(self, beliefs: Sequence[Any], bayesian: bool) -> None:
        """Give the weights these mean parameters, or observe their most probable values."""
        if self._beliefs is not None and self._beliefs[0] is beliefs and self._beliefs[1] == bayesian:
            return
        self._beliefs = None
        for weights, belief in zip(self.network.weights, beliefs, strict=True):
            self.inference.unobserve(weights)
            plate = self.inference.state.plate(weights)
            plate.resume(None, belief)
            if not bayesian:
                plate.observe_mode()
        self._beliefs = beliefs, bayesian

    def forward(self, rows: fg.Rows) -> None:
        """Give the inputs, and sweep once to the output."""
        self.inference.observe(self.network.input, rows)
        self.inference.step()

    def marginals(self) -> Any:
        """Probabilities of the output's states, ``(K, rows)`` on the device."""
        plate = self.inference.state.plate(self.network.output)
        found = self.network.output.type.marginals(plate.belief, self.inference.backend)
        return self.inference.backend.xp.reshape(found, (-1, self.network.batch_size))

    def last_hidden(self) -> Any:
        """Mean parameters of the last hidden units, on the device."""
        return self.inference.backend.xp.asarray(self.inference.state.plate(self.network.activations[-1]).means(), copy=True)
