"""Predictions: with the most probable weights (point-wise), or with the weights marginalised (Bayesian)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import factorgraph as fg
from nets.network import Network

_CHUNK = 512
_HOST = fg.get_backend("numpy", "float64")


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
        self._network = Network(sizes, _CHUNK, **settings)
        schedule = self._network.prediction_schedule()
        self._inference = fg.Inference(self._network.graph, schedule, backend=backend, dtype="float64")

    def probabilities(self, beliefs: Sequence[np.ndarray], X: np.ndarray, bayesian: bool) -> np.ndarray:
        """
        Class probabilities.

        Parameters
        ----------
        beliefs : mean parameters of the weights, ``(*param_shape, K, N)`` for each layer; of spins, their means
        X : (n, N) inputs
        bayesian : bool
            True: weights are random with these beliefs. False: each has its most probable value.

        Returns
        -------
        (n, K) array; for a single output (n, 2), of -1 and +1
        """
        network, inference = self._network, self._inference
        for weights, belief in zip(network.weights, beliefs, strict=True):
            kind = weights.type
            with np.errstate(divide="ignore"):
                params = kind.from_mean(belief.astype(np.float64), _HOST)
            if bayesian:
                inference.unobserve(weights)
                inference.set_prior(weights, kind.variables_first(params))
            else:
                inference.set_prior(weights, 0.0)
                inference.observe(weights, kind.mode(params, _HOST))
        inputs = inference.observations(network.input, X)
        chunks = []
        for start in range(0, len(X), _CHUNK):
            rows = np.minimum(np.arange(start, start + _CHUNK), len(X) - 1)
            inference.observe(network.input, inputs[rows])
            # The result is not kept: the state would be copied for it.
            found = inference.run(1, tolerance=0.0).marginals(network.output)
            chunks.append(found.reshape(_CHUNK, -1)[: len(X) - start])
        probabilities = np.concatenate(chunks)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))
