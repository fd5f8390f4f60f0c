"""Predictions: with the most probable weights (point-wise), or with the weights marginalised (Bayesian)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import factorgraph as fg
from nets.network import Network

_CHUNK = 512


class Predictor:
    """
    The network's factor graph with unknown outputs, compiled for chunks of rows.

    Chunks are of one size, the last one filled up, so that a row's prediction does not depend on what it is predicted with.

    Parameters
    ----------
    sizes : sequence of int
        As in `Network`.
    backend, dtype : as in `factorgraph.Inference`
    masks : as in `Network`
    """

    def __init__(
        self,
        sizes: Sequence[int],
        backend: str | fg.Backend | None,
        dtype: str,
        masks: Sequence[np.ndarray | None] | None = None,
    ) -> None:
        self._network = Network(sizes, _CHUNK, masks=masks)
        self._inference = fg.Inference(self._network.graph, self._network.prediction_schedule(), backend=backend, dtype=dtype)

    def probabilities(self, means: Sequence[np.ndarray], X: np.ndarray, bayesian: bool) -> np.ndarray:
        """
        Class probabilities.

        Parameters
        ----------
        means : one (K, N) array of weight means for each layer
        X : (n, N) inputs
        bayesian : bool
            True: weights are random with these means. False: each weight is the sign of its mean.

        Returns
        -------
        (n, K) array; for a single output (n, 2), of -1 and +1
        """
        network, inference = self._network, self._inference
        for weights, mean in zip(network.weights, means, strict=True):
            if bayesian:
                inference.unobserve(weights)
                with np.errstate(divide="ignore"):
                    inference.set_prior(weights, np.arctanh(mean, dtype=np.float64))
            else:
                inference.set_prior(weights, 0.0)
                inference.observe(weights, np.where(mean < 0, -1, 1))
        inputs = inference.observations(network.input, X)
        chunks = []
        for start in range(0, len(X), _CHUNK):
            rows = np.minimum(np.arange(start, start + _CHUNK), len(X) - 1)
            inference.observe(network.input, inputs[rows])
            # The result is not kept: the state would be copied for it.
            found = inference.run(1, tolerance=0.0).marginals(network.output)
            chunks.append(found.reshape(_CHUNK, -1)[: len(X) - start])
        return np.concatenate(chunks)
