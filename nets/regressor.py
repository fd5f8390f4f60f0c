"""`BPRegressor`: networks trained by belief propagation that predict numbers, with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from factorgraph import DiscreteType
from nets.datasets import split
from nets.estimator import BPEstimator
from nets.mapped import checked_rows
from nets.settings import FEW_ROWS, check_settings, encoding_of, init_scale_of, weight_type
from nets.targets import Numbers, judge_numbers
from nets.training import MEMORY_LIMIT

_MEMORY = 10.0  # epochs of rows that real weights remember: fewer forget, more trust what they have seen many times


class BPRegressor(RegressorMixin, BPEstimator):  # type: ignore[misc]
    """
    A multi-layer perceptron with real outputs, and by default with real weights and ReLU, trained by belief propagation.

    An output is the weighted sum of the last hidden units plus normal noise. The variance of the noise is learnt after each
    epoch.

    Parameters
    ----------
    weights : {"real", "binary", "ternary"} or sequence of numbers, default "real"
        Values of a weight: see `nets.BPClassifier`.
    activation : {"relu", "sign", "identity"} or sequence of these with one for each hidden layer, default "relu"
        Activation of the hidden units.
    epochs : int, default 40
    prior_strength : float or one for each layer, optional
        See `nets.BPClassifier`. Default 1. For real weights the default is smaller, so that they remember the rows of ten
        epochs.
    hidden_layer_sizes, layers, input_shape, method, batch_size, damping, init_scale, encoding, prediction, averaging, \
    early_stopping, validation_fraction, n_epochs_no_change, backend, dtype, products, density, biases, memory_limit, \
    communicator, random_state, verbose :
        As in `nets.BPClassifier`; ``method`` is "bpi" by default.

    Attributes
    ----------
    noise_ : (n_outputs,) array
        Variance of the targets around the network's outputs.
    history_ : list of dict
        One for each epoch: ``epoch``, ``train_rmse``, ``seconds``; and with validation data ``test_rmse``, ``test_nll``, and
        both with ``_bayes`` appended.
    n_features_in_, n_iter_, settings_, weight_beliefs_, weight_means_, masks_ : as in `nets.BPClassifier`

    Examples
    --------
    >>> import numpy as np
    >>> from nets import BPRegressor
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> model = BPRegressor(hidden_layer_sizes=(51,), random_state=0).fit(X, np.sin(2 * X[:, 0]))
    >>> mean, deviation = model.predict(X, return_std=True)
    >>> model.score(X, np.sin(2 * X[:, 0])) > 0.9
    True
    """

    real_output = True
    _numbers: Numbers
    # What classes alone need.
    cavity, argmax, class_weight, temperature, replicas = "first-order", "pairwise", None, 0.0, 1
    coupling, reinforcement, iterations, activation_noise = 0.0, 0.0, 1, 0.0

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (101, 101),
        *,
        layers: Sequence[Any] | None = None,
        input_shape: tuple[int, int, int] | None = None,
        weights: Any = "real",
        activation: str | Sequence[str] = "relu",
        epochs: int = 40,
        prior_strength: Any = None,
        method: str | Sequence[str] = "bpi",
        batch_size: int | None = None,
        damping: Any = 0.8,
        init_scale: float | None = None,
        encoding: str = "auto",
        prediction: str = "bayesian",
        averaging: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_epochs_no_change: int = 10,
        backend: str | None = None,
        dtype: str = "float32",
        products: str = "full",
        density: Any = 1.0,
        biases: bool | None = None,
        memory_limit: int = MEMORY_LIMIT,
        communicator: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.layers = layers
        self.input_shape = input_shape
        self.weights = weights
        self.activation = activation
        self.epochs = epochs
        self.prior_strength = prior_strength
        self.method = method
        self.batch_size = batch_size
        self.damping = damping
        self.init_scale = init_scale
        self.encoding = encoding
        self.prediction = prediction
        self.averaging = averaging
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_epochs_no_change = n_epochs_no_change
        self.backend = backend
        self.dtype = dtype
        self.products = products
        self.density = density
        self.biases = biases
        self.memory_limit = memory_limit
        self.communicator = communicator
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: Callable[[BPRegressor], Any] | None = None,
        resume: bool = False,
    ) -> BPRegressor:
        """
        Train a new network, or finish a run that was interrupted.

        Parameters
        ----------
        X : (n, features) array, or a sparse one or a `numpy.memmap`, of which one part at a time is made dense, or read
        y : (n,) or (n, n_outputs) array of numbers
        sample_weight, validation_data, on_epoch, resume : as in `nets.BPClassifier.fit`

        Raises
        ------
        CollapsedTrainingError
            Predictions grow without bounds.
        """
        check_settings(self)
        snapshot = self._to_resume(validation_data) if resume else None
        X, y = self._check_rows(X, y, reset=not resume)
        counts = self._counts(y, sample_weight)
        there = slice(None) if counts is None else counts > 0
        numbers = self._numbers if resume else Numbers.of(y[there])
        self._numbers = numbers
        validation = None
        if validation_data is not None:
            held_X, held_y = self._check_rows(*validation_data, reset=False)
            validation = held_X, numbers.standardised(held_y)
        rng = self._new_rng()
        if self.early_stopping and validation is None:
            rows = max(1, round(self.validation_fraction * X.shape[0]))
            kept, _, held, _ = split(np.arange(X.shape[0]), np.arange(X.shape[0]), rows, rng)
            validation = X[held], numbers.standardised(y[held])
            X, y, counts = X[kept], y[kept], None if counts is None else counts[kept]
        there = slice(None) if counts is None else counts > 0
        if snapshot is None:
            self._start(X[there], rng)
        else:
            self._make_trainer(X[there].shape[0], rng)
        epochs = range(self.n_iter_, self.epochs)
        self._train(X, numbers.standardised(y), counts, epochs, self.averaging, validation, on_epoch, snapshot)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> BPRegressor:
        """
        Train for one epoch on these rows, starting from the present weights. The rows of the first call set the scale of the
        targets.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        """
        first = not hasattr(self, "weight_beliefs_")
        check_settings(self, by_parts=True)
        X, y = self._check_rows(X, y, reset=first)
        counts = self._counts(y, sample_weight)
        there = slice(None) if counts is None else counts > 0
        if first:
            self._numbers = Numbers.of(y[there])
        self._begin_or_go_on(X[there])
        self._trainer.noise = self._numbers.noise
        self._train(X, self._numbers.standardised(y), counts, range(1))
        return self

    def _check_rows(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``(n, features)`` and their numbers ``(n, n_outputs)``."""
        if np.asarray(y).dtype.kind in "US":
            example = np.unique(y)[:3].tolist()
            raise ValueError(f"BPRegressor needs numbers as targets, not texts such as {example}; for labels, use BPClassifier")
        X, y = checked_rows(self, X, y, reset=reset, multi_output=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        flat, y = y.ndim == 1, y.reshape(len(y), -1)
        if reset:
            self._flat = flat
        elif y.shape[1] != len(self._numbers.mean):
            raise ValueError(f"y has {y.shape[1]} outputs, but the model has {len(self._numbers.mean)}")
        return X, y

    def predict(self, X: Any, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """
        Predict the mean of each number, ``(n,)`` or ``(n, n_outputs)``, as ``y`` was.

        Parameters
        ----------
        X : (n, features) array
        return_std : bool, default False
            Whether to return the standard deviations too. They contain the noise and the uncertainty of the weights.
        """
        check_is_fitted(self, "weight_beliefs_")
        X = checked_rows(self, X)
        mean, deviation = self._numbers.predicted(self._marginals(X, self.prediction == "bayesian"))
        if self._flat:
            mean, deviation = mean[:, 0], deviation[:, 0]
        return (mean, deviation) if return_std else mean

    def uncertainty(self, X: Any) -> dict[str, np.ndarray]:
        """
        Return the variance of each row's prediction with weights marginalised, and the two parts that it consists of.

        Returns
        -------
        dict of ``total``, ``aleatoric`` (`noise_`, the same for all rows) and ``epistemic`` (from the uncertainty of the
        weights); the two parts add up to the total. The arrays have the shape of `predict`'s, in its units squared.
        """
        check_is_fitted(self, "weight_beliefs_")
        X = checked_rows(self, X)
        _, deviation = self._numbers.predicted(self._marginals(X, bayesian=True))
        total = deviation[:, 0] ** 2 if self._flat else deviation**2
        noise = np.minimum(total, self.noise_[0] if self._flat else self.noise_)
        return {"total": total, "aleatoric": noise, "epistemic": total - noise}

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """
        Measure how good both kinds of prediction are.

        Returns
        -------
        dict of ``rmse`` (root of the mean square error), ``nll`` (negative log-likelihood in nats) and ``coverage`` (percent of
        the numbers that are within the central 90 per cent of their predictions) of point-wise predictions, and the same with
        ``_bayes`` appended of Bayesian ones
        """
        check_is_fitted(self, "weight_beliefs_")
        X, y = self._check_rows(X, y, reset=False)
        found: dict[str, float] = {}
        for suffix, bayesian in (("", False), ("_bayes", True)):
            mean, deviation = self._numbers.predicted(self._marginals(X, bayesian))
            found |= {name + suffix: value for name, value in judge_numbers(mean, deviation, y).items()}
        return found

    @property
    def noise_(self) -> np.ndarray:
        """Variance of the targets around the network's outputs, ``(n_outputs,)``."""
        return self._numbers.noise * self._numbers.deviation**2

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _targets(self) -> Numbers:
        return self._numbers

    def _num_outputs(self) -> int:
        return len(self._numbers.mean)

    def _choose_settings(self) -> dict[str, Any]:
        return {
            **encoding_of(self, self._encoder),
            "weights": self.weights,
            "activation_noise": self.activation_noise,
            "method": self.method,
            "replicas": 1,
            "batch_size": (32 if self._rows < FEW_ROWS else 128) if self.batch_size is None else int(self.batch_size),
            "temperature": 0.0,
            "init_scale": init_scale_of(self),
        }

    def _default_prior_strength(self, epoch: int, epochs: int, batches: int) -> list[float]:
        forgets = not isinstance(weight_type(self.weights), DiscreteType)
        return [1.0 - 1.0 / (_MEMORY * max(1, batches)) if forgets else 1.0] * len(self._architecture.weights)

    def target_arrays(self) -> dict[str, np.ndarray]:
        kept = {f"target/{name}": array for name, array in vars(self._numbers).items()}
        return {**kept, "target/flat": np.asarray(self._flat)}

    def take_target_arrays(self, arrays: dict[str, np.ndarray], outputs: int) -> None:
        mean, deviation, noise = (arrays[f"target/{name}"] for name in ("mean", "deviation", "noise"))
        shapes = {array.shape for array in (mean, deviation, noise)}
        if shapes != {(outputs,)} or not (np.isfinite(mean).all() and (deviation > 0).all() and (noise > 0).all()):
            raise ValueError(f"its targets have the shapes {shapes}, which do not fit {outputs} outputs")
        self._numbers, self._flat = Numbers(mean, deviation, noise), bool(arrays["target/flat"])
