"""Mini-batch training: the posterior of one batch is the prior of the next (PasP)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import factorgraph as fg
from factorgraph.backends import HOST
from nets.encoding import EncodedRows, Inputs
from nets.layers import Architecture, architecture_of
from nets.network import Network, one_for_each

POLARISED = 0.9999  # mean squared magnetisation from which weights can no longer turn
EXPLODED = 1e6  # median field from which single precision loses what a batch says
MEMORY_LIMIT = 1 << 31
_TILE_BYTES = 1 << 26  # more does not make tiles faster


class CollapsedTrainingError(RuntimeError):
    """Training has collapsed: weights are polarised although the error is at chance, or fields explode or are not finite."""


class Trainer:
    """
    The training run of a network: one compiled `Inference` that receives batch after batch.

    For each batch, the belief over every weight is raised to the power ``prior_strength`` and becomes the weight's prior. Then
    the inputs and labels of the batch are observed, and the network's factor graph is swept ``iterations`` times (Lucibello et
    al. 2022, eq. 3).

    Parameters
    ----------
    sizes : sequence of int, or Architecture
        As in `Network`.
    batch_size : int
    method, cavity : as in `Network`
    prior_strength : sequence of float, one for each layer
        The paper's rho: 1 keeps all evidence, a smaller power forgets, and a larger one polarises.
    damping : sequence of float, one for each layer
        The paper's psi.
    reinforcement : float
        The paper's r, within a batch. It matters only with several iterations.
    iterations : int
        Sweeps for each batch.
    init_scale : float
        Standard deviation of the initial fields, which break the symmetry between hidden units.
    backend, dtype : as in `factorgraph.Inference`
    rng : numpy.random.Generator
    memory_limit : int
        Most bytes that the arrays of K N M numbers of ``bp`` and of exact cavities may take, over all layers.
    temperature : float
        Temperature of the labels. At 0, labels are certain. Above 0, a wrong label is ``exp(-1 / temperature)`` times as likely
        as the given one; for two classes, ``exp(-2 / temperature)`` times.
    replicas, coupling : int, float
        Hidden weights that have finitely many values are trained as one of so many replicas, which are coupled to a centre:
        `factorgraph.Inference.focus`, again at each batch.
    communicator : as in `factorgraph.get_communicator`
        Ranks that train together. Each learns from its part of the rows of every batch, and all end with the same beliefs.
    **settings : settings of `Network`: masks, argmax, and the kinds of weights and activations

    Raises
    ------
    ValueError
        A batch has fewer rows than there are ranks, or ``bp`` with several iterations would keep more than ``memory_limit``
        bytes.
    """

    def __init__(
        self,
        sizes: Sequence[int] | Architecture,
        batch_size: int,
        method: str | Sequence[str],
        cavity: str | Sequence[str],
        prior_strength: Sequence[float],
        damping: Sequence[float],
        reinforcement: float,
        iterations: int,
        init_scale: float,
        backend: str | fg.Backend | None,
        dtype: str,
        rng: np.random.Generator,
        memory_limit: int = MEMORY_LIMIT,
        temperature: float = 0.0,
        replicas: int = 1,
        coupling: float = 1.0,
        communicator: Any = None,
        **settings: Any,
    ) -> None:
        self.communicator = fg.get_communicator(communicator)
        architecture = architecture_of(sizes)
        layers = len(architecture.weights)
        methods, cavities = one_for_each(method, layers), one_for_each(cavity, layers)
        if iterations == 1:  # no message of a sweep before: bp is bpi with exact cavities, and need not be kept
            cavities = ["exact" if m == "bp" else c for m, c in zip(methods, cavities, strict=True)]
            methods = ["bpi" if m == "bp" else m for m in methods]
        self.masks = settings["masks"] = settings.get("masks") or [None] * layers
        self._temperature = temperature
        self.evidence = 1.0
        self._counted: tuple[np.ndarray | None, float, np.ndarray] | None = None
        self._focus = (replicas, coupling) if replicas > 1 and coupling > 0 else None
        self._settings = (architecture, methods, cavities, backend, dtype, memory_limit, settings)
        # Variance of each real output about the network's; may be set anew between epochs.
        self.noise = np.ones(architecture.outputs)
        self._damping = tuple(damping)
        self.prior_strength = tuple(prior_strength)  # may be set anew between epochs
        self._reinforcement = reinforcement
        self._iterations = iterations
        self.rng = rng
        self._compile(batch_size)
        for weights in self.network.weights:
            # Of real weights, a normal density of variance 1; of others, the same at their values.
            field = init_scale * rng.normal(size=weights.shape)
            params = weights.type.from_quadratic(field, np.ones_like(field), HOST)
            self.inference.set_prior(weights, weights.type.variables_first(params))

    def _compile(self, batch_size: int) -> None:
        self._data: dict[str, tuple[np.ndarray, fg.Observations]] = {}
        self._recorded: tuple[tuple[Any, ...], Callable[[Callable[[], Any]], Any]] | None = None
        architecture, methods, cavities, backend, dtype, memory_limit, settings = self._settings
        self.batch_size, self._own = batch_size, self.communicator.share(batch_size)
        if batch_size < self.communicator.size:
            raise ValueError(
                f"batches of {batch_size} rows are too small for {self.communicator.size} ranks: some ranks would have no rows"
            )
        rows = self._own.stop - self._own.start
        kept = memory_of_bp(architecture, rows, methods, dtype)
        if kept > memory_limit:
            fits = batch_size * memory_limit // kept
            raise ValueError(
                f"method 'bp' with several iterations keeps {kept / 2**20:,.0f} MiB of messages, more than memory_limit="
                f"{memory_limit / 2**20:,.0f} MiB. Use batch_size={fits} or less, iterations=1, or method='amp', "
                "which keeps none."
            )
        self.network = Network(architecture, rows, methods, cavities, min(_TILE_BYTES, memory_limit - kept), **settings)
        self.inference = fg.Inference(
            self.network.graph,
            self.network.training_schedule(),
            backend=backend,
            dtype=dtype,
            damping=self.network.damping(self._damping),
            reinforcement={weights.name: self._reinforcement for weights in self.network.weights},
            communicator=self.communicator,
            shared=self.network.weights,
        )
        self._rows = self.inference.backend.index_array(np.zeros(rows))

    def resize(self, batch_size: int, counted: bool = False, evidence: float = 1.0) -> None:
        """
        Continue with another batch size, with rows that are counted, or with only a fraction of each message to the weights.
        """
        self.evidence, counted = evidence, counted or evidence < 1.0
        if batch_size != self.batch_size or counted != (self.network.counts is not None):
            before = self.inference.state
            self._settings[-1]["counted"] = counted
            self._compile(batch_size)
            for weights in self.network.weights:
                self.inference.state.adopt(weights, before)

    def epoch(
        self, X: Inputs, y: np.ndarray, on_batch: Callable[[], object] | None = None, counts: np.ndarray | None = None
    ) -> None:
        """
        Go through the data once in random order. Rows that do not fill a last batch wait for another epoch.

        Parameters
        ----------
        X : (n, N) inputs, with n at least the batch size; of a sparse table or one in a file, one part at a time is made dense
        y : (n,) labels: -1 or +1 for a single output, else 0 to K - 1
        on_batch : called after each batch
        counts : (n,) how many times each row counts, for a network with counts
        """
        order, size = self.rng.permutation(len(X)), self.batch_size
        counts = self._counts(X, counts)
        # Of each whole batch this rank's share: it reads no other rows.
        whole = len(X) // size
        order = order[: whole * size].reshape(whole, size)[:, self._own].reshape(-1)
        if not isinstance(X, EncodedRows):
            self._epoch_of_part(X, y, on_batch, counts, order)
            return
        own = self.network.batch_size
        part = max(1, X.part // own) * own
        for start in range(0, len(order), part):
            rows = order[start : start + part]
            some = None if counts is None else counts[rows]
            self._epoch_of_part(X[rows].dense(), y[rows], on_batch, some, np.arange(len(rows)))

    def _counts(self, X: Inputs, counts: np.ndarray | None) -> np.ndarray | None:
        """How many times each row counts, which is less in large batches. The same rows give the same array."""
        if self.evidence == 1.0:
            return counts
        known = self._counted
        if known is None or known[0] is not counts or known[1] != self.evidence or len(known[2]) != len(X):
            found = np.full(len(X), self.evidence) if counts is None else self.evidence * counts
            self._counted = known = counts, self.evidence, found.astype(X.dtype)
        return known[2]

    def _epoch_of_part(
        self,
        X: np.ndarray,
        y: np.ndarray,
        on_batch: Callable[[], object] | None,
        counts: np.ndarray | None,
        order: np.ndarray,
    ) -> None:
        """Go through data that fit on the device, with the rows in this order."""
        network, size = self.network, self.network.batch_size
        backend = self.inference.backend
        inputs, labels = self._on_device(network.input, X), self._on_device(network.output, y)
        more = [] if network.counts is None or counts is None else [self._on_device(network.counts, counts)]
        numbers = backend.index_array(order)
        run = self._runner(inputs, labels, *more)
        for start in range(0, len(order), size):
            self._rows = backend.settle(self._rows, backend.take(numbers, slice(start, start + size), 0))
            run(lambda: self._batch(inputs[self._rows], labels[self._rows], *(values[self._rows] for values in more)))
            if on_batch is not None:
                on_batch()

    def _on_device(self, variables: fg.Variables, values: np.ndarray) -> fg.Observations:
        """The values of the training set for these variables, which are copied to the device once."""
        known, observations = self._data.get(variables.name, (None, None))
        if known is not values or observations is None:
            observations = self.inference.observations(variables, values.reshape(-1, *variables.shape[:-1]))
            self._data[variables.name] = values, observations
        return observations

    def _runner(self, *data: fg.Observations) -> Callable[[Callable[[], Any]], Any]:
        """The function that runs a batch. If the backend can record, it is a recording with the present data and settings."""
        settings = (*map(id, data), self.prior_strength, self.noise.tobytes())
        if self._recorded is None or self._recorded[0] != settings:
            self._recorded = settings, self.inference.recording()
        return self._recorded[1]

    def _batch(self, inputs: fg.Rows, labels: fg.Rows, counts: fg.Rows | None = None) -> None:
        network, inference = self.network, self.inference
        for weights, strength in zip(network.weights, self.prior_strength, strict=True):
            inference.posterior_as_prior(weights, strength)
            if self._focus and weights is not network.weights[-1] and isinstance(weights.type, fg.DiscreteType):
                inference.focus(weights, *self._focus)
        inference.reset(*network.activations, network.output)
        inference.observe(network.input, inputs)
        if network.counts is not None and counts is not None:
            inference.observe(network.counts, counts)
        if network.real_output or self._temperature:
            inference.set_prior(network.output, self._soft(labels.values))
        else:
            inference.observe(network.output, labels)
        for _ in range(self._iterations):
            inference.step()

    def snapshot(self) -> dict[str, np.ndarray]:
        """Beliefs and damped means of the weights of each layer. Training continues from them as if it had not stopped."""
        arrays: dict[str, np.ndarray] = {}
        for layer, weights in enumerate(self.network.weights):
            plate, to_host = self.inference.state.plate(weights), self.inference.backend.to_host
            plate.bring_up_to_date()
            arrays |= {f"belief/{layer}": to_host(plate.own_belief), f"mean/{layer}": to_host(plate.means())}
        return arrays

    def restore(self, arrays: dict[str, np.ndarray], rng_state: Any) -> None:
        """Restore what `snapshot` gave, and the state that the bit generator of ``rng`` had then."""
        self.rng.bit_generator.state = rng_state
        for layer, weights in enumerate(self.network.weights):
            self.inference.state.plate(weights).resume(arrays[f"belief/{layer}"], arrays[f"mean/{layer}"])

    def _soft(self, labels: np.ndarray) -> np.ndarray:
        """Natural parameters of soft labels, or of numbers with noise, in the output's shape."""
        classes = self.network.architecture.outputs
        if self.network.real_output:
            precision = np.broadcast_to(1.0 / self.noise[:, None], (classes, self.network.batch_size))
            return np.stack([labels.reshape(classes, -1) * precision, precision], axis=-1)
        if classes == 1:
            return labels.reshape(1, -1) / self._temperature
        return (labels[:, None] == np.arange(classes)) / self._temperature

    def means(self) -> list[Any]:
        """
        Damped mean parameters of the weights of each layer: new arrays ``(*param_shape, K, N)`` on the device.

        For spins, these are the means, which are 0 for weights that are masked out.
        """
        state, backend = self.inference.state, self.inference.backend
        found = [backend.xp.asarray(state.plate(weights).means(), copy=True) for weights in self.network.weights]
        masks = [
            None if mask is None or b.ndim > 2 else backend.asarray(mask) for b, mask in zip(found, self.masks, strict=True)
        ]
        return [b if mask is None else b * mask for b, mask in zip(found, masks, strict=True)]

    def beliefs(self) -> list[np.ndarray]:
        """`means` on the host."""
        return [self.inference.backend.to_host(mean) for mean in self.means()]

    def check_health(self, train_error: float, chance: float, reachable: float = 0.0) -> None:
        """
        Raise an error if training has collapsed.

        Parameters
        ----------
        train_error : error on the training set, in percent
        chance : error of always answering with the most frequent class, in percent
        reachable : smallest error that such a network can have, in percent

        Raises
        ------
        CollapsedTrainingError
        """
        beliefs = self.beliefs()
        if not all(np.isfinite(belief).all() for belief in beliefs):
            raise CollapsedTrainingError(
                "training has collapsed: a weight's field is not finite. Lower prior_strength towards 1, or raise damping."
            )
        if not isinstance(self.network.weights[0].type, fg.DiscreteType):
            return
        polarisation = self._polarisation(beliefs)
        if min(polarisation) > POLARISED and train_error > reachable + 0.8 * (chance - reachable):
            raise CollapsedTrainingError(
                f"training has collapsed: all weights are polarised (mean squared magnetisation {min(polarisation):.5f}), "
                f"but the training error is {train_error:.1f} %, near chance ({chance:.1f} %). Raise damping (0.8 trains "
                "well), lower prior_strength to 1 or below, or use larger batches."
            )
        fields = [float(np.median(np.abs(_sample(self.inference.state.belief(weights))))) for weights in self.network.weights]
        if max(fields) > EXPLODED and train_error > reachable + 0.1 * (chance - reachable):
            raise CollapsedTrainingError(
                f"training has collapsed: fields explode (median {max(fields):.1e}), so that no batch can change a weight any "
                "more. Raise damping (0.8 trains well), or lower prior_strength (above 1 it multiplies fields at every batch). "
                "If the network cannot satisfy all labels, use soft labels: temperature=0.5."
            )

    def _polarisation(self, beliefs: Sequence[np.ndarray]) -> list[float]:
        """
        How certain the weights of each layer are: 1 if all are certain. The output layer is left out, unless it is the only
        one.
        """
        found = []
        for belief, mask in zip(beliefs, self.masks, strict=True):
            square = np.square(belief) if belief.ndim == 2 else np.sum(np.square(belief), axis=0)
            found.append(float(np.mean(square) if mask is None else np.sum(square * mask) / np.sum(mask)))
        return found[: max(1, len(found) - 1)]


def _sample(values: np.ndarray, most: int = 10_000) -> np.ndarray:
    """Some of many numbers, at equal distances."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // most)]


def memory_of_bp(architecture: Architecture, batch_size: int, methods: Sequence[str], dtype: str) -> int:
    """Bytes of the messages that layers with true cavities keep from sweep to sweep: three arrays of (K, N, P M)."""
    entries = 0
    for layer, method in enumerate(methods):
        argmax = layer == len(methods) - 1 and architecture.outputs > 1
        if method == "bp" and not argmax:
            entries += math.prod(architecture.weights[layer])
    return 3 * entries * batch_size * (4 if dtype == "float32" else 8)
