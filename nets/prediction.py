"""Predictions: with the most probable weights (point-wise), or with the weights marginalised (Bayesian)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import factorgraph as fg
from nets.network import Network


class Predictor:
    """
    The network's factor graph with unknown outputs, compiled for chunks of rows.

    Chunks are of one size, the last one filled up, and in double precision, so that a row's prediction does not depend, but for
    rounding, on what it is predicted with.

    Parameters
    ----------
    sizes : sequence of int
        As in `Network`.
    backend : str or None
        As in `factorgraph.Inference`.
    **settings : of `Network`: masks, and what weights and activations are
    """

    def __init__(
        self,
        sizes: Sequence[int],
        backend: str | None,
        **settings: Any,
    ) -> None:
        device = fg.get_backend(backend, "float64")
        self._chunk = device.chunk
        self._network = Network(sizes, self._chunk, **settings)
        self._inference = fg.Inference(self._network.graph, self._network.prediction_schedule(), backend=device)

    def rows(self, X: np.ndarray) -> fg.Observations:
        """Inputs ``(n, N)`` on the device, for `probabilities`."""
        return self._inference.observations(self._network.input, X)

    def probabilities(self, beliefs: Sequence[Any], rows: fg.Observations, bayesian: bool) -> np.ndarray:
        """
        Class probabilities.

        Parameters
        ----------
        beliefs : mean parameters of the weights, ``(*param_shape, K, N)`` for each layer, on the host or the device; of spins,
            their means
        rows : inputs, from `rows`
        bayesian : bool
            True: weights are random with these beliefs. False: each has its most probable value.

        Returns
        -------
        (n, K) array; for a single output (n, 2), of -1 and +1
        """
        network, inference = self._network, self._inference
        for weights, belief in zip(network.weights, beliefs, strict=True):
            inference.unobserve(weights)
            plate = inference.state.plate(weights)
            plate.resume(None, belief)
            if not bayesian:
                plate.observe_mode()
        chunks, plate, kind = [], inference.state.plate(network.output), network.output.type
        for start in range(0, len(rows), self._chunk):
            numbers = np.minimum(np.arange(start, start + self._chunk), len(rows) - 1)
            inference.observe(network.input, rows[numbers])
            inference.step()
            chunks.append(kind.marginals(plate.belief, inference.backend))
        found = inference.backend.to_host(inference.backend.xp.concat(chunks, axis=1))[:, : len(rows)].T
        return np.asarray(found / found.sum(axis=1, keepdims=True))
