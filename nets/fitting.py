"""The training run of an estimator, epoch by epoch: evaluation, early stopping, and continuing an interrupted run."""

from __future__ import annotations

import time
import warnings
import zlib
from typing import Any

import numpy as np

import factorgraph as fg
from nets.encoding import EncodedRows, Inputs, checksum
from nets.prediction import Predictor
from nets.settings import DEEP, LEARNT_WITH, plain_settings
from nets.targets import Classes, Numbers, Targets
from nets.training import EXPLODED, CollapsedTrainingError, Trainer

MOST_EVALUATED, FEWEST_EVALUATED = 10_000, 512  # rows of the training set, for its error
PATIENCE = 5  # epochs at chance before it is told


class Run:
    """
    All that a run knows in addition to the trainer: its data, the rows that are evaluated, and the best epoch so far.

    Parameters
    ----------
    trainer : Trainer
    predictor : Predictor
    inputs, labels : encoded training rows, and class numbers or standardised numbers
    targets : kind of the labels
    validation : the same for other rows, or None
    averaging : whether beliefs are averaged over epochs
    counts : how many times each training row counts, or None for once
    """

    def __init__(
        self,
        trainer: Trainer,
        predictor: Predictor,
        inputs: Inputs,
        labels: np.ndarray,
        targets: Targets,
        validation: tuple[Inputs, np.ndarray] | None,
        averaging: bool,
        counts: np.ndarray | None = None,
    ) -> None:
        self.trainer, self._predictor, self._averaging = trainer, predictor, averaging
        self._average: list[Any] = []  # on the device
        self._loss: dict[tuple[str, bool], float] = {}  # of the last evaluation
        self._evaluated: dict[
            str, tuple[fg.Observations | EncodedRows, np.ndarray]
        ] = {}  # rows on the device, and their labels
        self._inputs, self._labels, self._validation = inputs, labels, validation
        self._counts = None if counts is None else counts.astype(inputs.dtype)
        self.targets, self._outputs = targets, targets.outputs(labels)
        if isinstance(targets, Classes):
            rows = np.bincount(labels, weights=np.ones(len(labels)) if counts is None else counts)
            shares = rows / rows.sum()
            self._chance = 100.0 * (1.0 - shares.max())
            # So few hidden units tell at most so many classes apart.
            told = 2 ** min(30, min(trainer.network.architecture.hidden_units, default=30))
            self._reachable = 100.0 * (1.0 - np.sort(shares)[::-1][:told].sum())
        self._sample: np.ndarray | None = None
        self.best: tuple[float, list[np.ndarray]] | None = None
        self._best_noise: np.ndarray | None = None
        self.waited = 0
        self._at_chance: int | None = 0  # epochs after each other
        # A number that tells other training data apart.
        self._fingerprint = zlib.crc32(labels.tobytes(), checksum(inputs, 0))
        if counts is not None:
            self._fingerprint = zlib.crc32(counts.tobytes(), self._fingerprint)
        trainer.communicator.check_alike({"the training data (their checksum)": self._fingerprint})
        self.batches = len(inputs) // trainer.batch_size

    def begin(self, snapshot: tuple[dict[str, np.ndarray], dict[str, Any]] | None) -> None:
        """
        Restore what `snapshot` gave. Or else, if there are many training rows, draw those on which the training error is
        measured.
        """
        if snapshot is not None:
            self._restore(*snapshot)
        else:
            # A row costs as much to evaluate as to learn; a tenth in whole chunks is enough, but for the noise of numbers.
            rows, most = len(self._inputs), MOST_EVALUATED
            if isinstance(self.targets, Classes):
                most = min(most, max(1, rows // 10 // FEWEST_EVALUATED) * FEWEST_EVALUATED)
            if rows > most:
                rng = self.trainer.rng if rows > MOST_EVALUATED else np.random.default_rng(0)
                self._sample = rng.permutation(rows)[:most]

    def epoch(self, number: int, title: str | None) -> tuple[dict[str, Any], list[np.ndarray]]:
        """
        Train for one epoch (numbers start from 1), and evaluate. Return a row of the history, and the beliefs over the weights.

        If there is a title, a progress bar is shown.
        """
        start = time.perf_counter()
        if title is None:
            self.trainer.epoch(self._inputs, self._outputs, counts=self._counts)
        else:
            from tqdm.auto import tqdm

            with tqdm(total=self.batches, desc=title, leave=False, disable=None) as bar:
                self.trainer.epoch(self._inputs, self._outputs, bar.update, self._counts)
        means = self.trainer.means()
        seconds = time.perf_counter() - start
        if self._averaging:
            means = self._average = self._averaged(means, number)
        name = self.targets.error
        if isinstance(self.targets, Numbers):
            marginals, numbers = self._marginals(means, "train", bayesian=True)
            self._check_finite(marginals)
            self.targets.learn_noise(marginals, numbers)
            self.trainer.noise = self.targets.noise
            row = {f"train_{name}": self.targets.judge(marginals, numbers)[0]}
        else:
            row = {f"train_{name}": self._error(means, "train", bayesian=False)}
            self.trainer.check_health(row[f"train_{name}"], self._chance, self._reachable)
            self._tell_if_nothing_is_learnt(row[f"train_{name}"], number)
        if self._validation is not None:
            row[f"test_{name}"] = self._error(means, "validation", bayesian=False)
            row[f"test_{name}_bayes"] = self._error(means, "validation", bayesian=True)
            row |= {"test_nll": self._loss["validation", False], "test_nll_bayes": self._loss["validation", True]}
        row["seconds"] = seconds
        return row, [self.trainer.inference.backend.to_host(mean) for mean in means]

    def _error(self, means: list[Any], which: str, bayesian: bool) -> float:
        """Error on rows of the training set, or on the validation rows."""
        counts = None
        if which == "train" and self._counts is not None:
            counts = self._counts if self._sample is None else self._counts[self._sample]
        error, self._loss[which, bayesian] = self.targets.judge(*self._marginals(means, which, bayesian), counts)
        return error

    def _marginals(self, means: list[Any], which: str, bayesian: bool) -> tuple[np.ndarray, np.ndarray]:
        """Marginals of the outputs of rows of the training set, or of the validation rows, brought to the device once."""
        communicator = self.trainer.communicator
        if which not in self._evaluated:
            inputs, labels = self._validation or (self._inputs, self._labels)
            if which == "train":
                rows = slice(None) if self._sample is None else self._sample
                inputs, labels = self._inputs[rows], self._labels[rows]
            # Each rank looks at its share of the rows, where these are enough.
            own = slice(None) if len(labels) < communicator.size else communicator.share(len(labels))
            self._evaluated[which] = self._predictor.rows(inputs[own]), labels
        observations, labels = self._evaluated[which]
        found = self._predictor.marginals(means, observations, bayesian)
        if communicator.size > 1 and len(labels) >= communicator.size:
            found = np.concatenate(communicator.gather(found))
        return found, labels

    def _check_finite(self, marginals: np.ndarray) -> None:
        if not np.isfinite(marginals).all() or marginals.max() > EXPLODED:
            raise CollapsedTrainingError(
                "training has collapsed: predictions have no bounds. Raise prior_strength towards 1, raise damping, or use "
                "smaller batches."
            )

    def _averaged(self, beliefs: list[Any], number: int) -> list[Any]:
        """
        Weighted mean of the beliefs of all epochs so far.

        Late epochs weigh more: epoch t has the weight ``t (t + 1) (t + 2)`` (Shamir and Zhang 2013).
        """
        if not self._average:
            return beliefs
        share = 4.0 / (number + 3.0)
        kind = self.trainer.network.weights[0].type
        return [kind.mix_means(old, new, share) for old, new in zip(self._average, beliefs, strict=True)]

    def _tell_if_nothing_is_learnt(self, train_error: float, number: int) -> None:
        if self._at_chance is None:  # told already
            return
        self._at_chance = self._at_chance + 1 if train_error > 0.9 * self._chance else 0
        if self._at_chance < PATIENCE:
            return
        self._at_chance = None
        network = self.trainer.network
        real = not isinstance(network.weights[0].type, fg.DiscreteType)
        if real or any(not isinstance(block.type, fg.DiscreteType) for block in network.activations):
            advice = (
                "temperature=0.5, which is the default, or weights='binary' with activation='sign', so that units do not die"
            )
        elif network.num_layers > DEEP:
            advice = f"init_scale=3, which is the default from {DEEP} hidden layers on, or fewer of them"
        else:
            advice = "more hidden units, more epochs, or smaller batches"
        warnings.warn(
            f"after {number} epochs the training error ({train_error:.1f} %) is still about as large as that of always "
            f"answering with the most frequent class ({self._chance:.1f} %). If the labels can be learnt at all, try {advice}.",
            stacklevel=2,
        )

    def watch(self, bayesian: bool, beliefs: list[np.ndarray]) -> None:
        """
        Keep the weights of the best epoch, and count the epochs since then.

        The best epoch is the one in which held-out labels are most likely. The likelihood shows that rare classes are learnt,
        even if only few errors change.
        """
        loss = self._loss["validation", bayesian]
        self.waited += 1
        if self.best is None or loss < self.best[0]:
            self.best, self.waited = (loss, beliefs), 0
            self._best_noise = self.targets.noise if isinstance(self.targets, Numbers) else None

    def go_back_to_best(self) -> list[np.ndarray]:
        """Weights of the best epoch. The targets also take back the noise of that epoch."""
        assert self.best is not None
        if isinstance(self.targets, Numbers) and self._best_noise is not None:
            self.targets.noise = self._best_noise
        return self.best[1]

    def snapshot(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Everything that is needed to continue bit for bit: arrays, and settings that JSON can hold."""
        arrays = self.trainer.snapshot()
        if isinstance(self.targets, Numbers):
            arrays["noise"] = self.targets.noise
        if self._sample is not None:
            arrays["sample"] = self._sample
        to_host = self.trainer.inference.backend.to_host
        arrays |= {f"average/{layer}": to_host(mean) for layer, mean in enumerate(self._average)}
        if self.best is not None:
            arrays |= {f"best/{layer}": belief for layer, belief in enumerate(self.best[1])}
            arrays |= {} if self._best_noise is None else {"best/noise": self._best_noise}
        meta = {
            "rng": self.trainer.rng.bit_generator.state,
            "best": None if self.best is None else self.best[0],
            "waited": self.waited,
            "data": self._fingerprint,
        }
        return arrays, meta

    def _restore(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """
        Go on from a snapshot.

        Raises
        ------
        ValueError
            It was taken on other training data.
        """
        if meta["data"] != self._fingerprint:
            raise ValueError("the saved run was trained on other data; resume it on the same rows in the same order")
        self.trainer.restore(arrays, meta["rng"])
        self._sample = arrays.get("sample")
        if isinstance(self.targets, Numbers):
            self.targets.noise = self.trainer.noise = arrays["noise"]
        layers = self.trainer.network.num_layers
        names = [name for name in (f"average/{layer}" for layer in range(layers)) if name in arrays]
        self._average = [self.trainer.inference.backend.asarray(arrays[name]) for name in names]
        if meta["best"] is not None:
            self.best = meta["best"], [arrays[f"best/{layer}"] for layer in range(layers)]
            self._best_noise = arrays.get("best/noise")
        self.waited = meta["waited"]


_MAY_CHANGE = (
    "communicator",
    "epochs",
    "verbose",
    "early_stopping",
    "validation_fraction",
    "n_epochs_no_change",
    "backend",
    "random_state",
)


def check_same_run(model: Any) -> None:
    """
    Refuse settings that differ from those of the run to resume.

    Raises
    ------
    ValueError
        The message names the settings that differ.
    """
    begun, now = model._begun, plain_settings(model)
    differ = [
        f"{name} {begun[name]!r}, not {now[name]!r}" for name in now if name not in _MAY_CHANGE and begun[name] != now[name]
    ]
    if differ:
        raise ValueError(f"the run to resume has {'; '.join(differ)}: set that, or fit anew")


def default_prior_strength(
    epoch: int, epochs: int, batches: int, layers: int, prediction: str, evidence: float = LEARNT_WITH
) -> list[float]:
    """
    Default power of the posterior as the next prior, for each layer, in one epoch of a run. Epochs are counted from 0.

    Hidden layers keep all evidence. For point-wise predictions, they polarise in the second half of the run, by a factor of at
    most e^2 in total and 1.001 for each batch, and the output layer, whose weights never settle, forgets faster. The values
    were chosen with batches of 128, on a validation part of the training sets of MNIST and Fashion-MNIST. If the ``evidence``
    of a batch is that of another number of rows, the output still remembers as many rows.
    """
    late = prediction == "point" and 2 * epoch >= epochs > 1
    hidden = 1.0 + min(1e-3, 2.0 / (batches * (epochs - epochs // 2))) if late else 1.0
    output = (0.9 if prediction == "point" else 0.98) ** (evidence / LEARNT_WITH)
    return [hidden] * (layers - 1) + [output]
