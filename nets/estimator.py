"""What networks trained by belief propagation share, whatever they predict: settings, the run of training, and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from factorgraph import get_backend
from nets.encoding import choose_code
from nets.export import draw, export
from nets.model_file import load_model, save_model
from nets.prediction import Predictor
from nets.settings import choose_masks, one_for_each_layer, plain_settings, settings_of, weight_type
from nets.training import MEMORY_LIMIT, Trainer

_OF_TRAINER = "reinforcement iterations dtype memory_limit coupling argmax".split()
_UNPICKLED = ("_predictor", "_trainer")  # compiled anew where needed


class BPEstimator(BaseEstimator):  # type: ignore[misc]
    """
    Settings and state of a network that is trained by belief propagation: see `nets.BPClassifier` for what they mean.

    A kind of estimator says what its targets are: ``fit``, ``predict``, and the output's units.
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (101, 101),
        *,
        method: str | Sequence[str] | None = None,
        cavity: str | Sequence[str] = "first-order",
        epochs: int = 20,
        batch_size: int | None = None,
        prior_strength: Any = None,
        damping: Any = 0.8,
        reinforcement: float = 0.0,
        iterations: int = 1,
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
        argmax: str = "pairwise",
        density: Any = 1.0,
        weights: Any = "binary",
        activation: str | Sequence[str] = "sign",
        biases: bool | None = None,
        temperature: float | None = None,
        replicas: int | None = None,
        coupling: float = 1.0,
        class_weight: Any = None,
        memory_limit: int = MEMORY_LIMIT,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.method = method
        self.cavity = cavity
        self.epochs = epochs
        self.batch_size = batch_size
        self.prior_strength = prior_strength
        self.damping = damping
        self.reinforcement = reinforcement
        self.iterations = iterations
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
        self.argmax = argmax
        self.density = density
        self.weights = weights
        self.activation = activation
        self.biases = biases
        self.temperature = temperature
        self.replicas = replicas
        self.coupling = coupling
        self.class_weight = class_weight
        self.memory_limit = memory_limit
        self.random_state = random_state
        self.verbose = verbose

    def _start(self, X: np.ndarray, rng: np.random.Generator) -> None:
        self._encoder = choose_code(self.encoding, X)
        self._rows, outputs = len(X), 1 if len(self.classes_) == 2 else len(self.classes_)
        self._sizes = (self._encoder.size(X.shape[1]), *(int(n) for n in self.hidden_layer_sizes), outputs)
        self.settings_ = settings_of(self, self._encoder, self._rows, len(self.classes_))
        self._begun = plain_settings(self)
        self.masks_ = choose_masks(self.density, self._sizes, rng, self.settings_["biases"])
        self._make_trainer(len(X), rng)
        self.history_: list[dict[str, Any]] = []
        self.n_iter_: int = 0
        for name in ("weight_beliefs_", "_predictor", "_snapshot"):  # of a fit before
            self.__dict__.pop(name, None)

    def _make_trainer(self, rows: int, rng: np.random.Generator) -> None:
        layers = len(self._sizes) - 1
        self._trainer: Trainer = Trainer(
            self._sizes,
            min(self.settings_["batch_size"], rows),
            self.settings_["method"],
            self.cavity,
            one_for_each_layer(self.prior_strength, [1.0] * layers, layers, "prior_strength"),
            one_for_each_layer(self.damping, [0.8] * layers, layers, "damping"),
            backend=get_backend(self.backend, self.dtype, self.products),
            rng=rng,
            **{name: self.settings_[name] for name in ("replicas", "temperature", "init_scale")},
            **{name: getattr(self, name) for name in _OF_TRAINER},
            **self._network_settings(),
        )

    def _network_settings(self) -> dict[str, Any]:
        shared = {"masks": self.masks_, "weight_type": weight_type(self.weights)}
        return {**shared, "activation": self.activation, "biases": self.settings_["biases"]}

    @property
    def weight_means_(self) -> list[np.ndarray]:
        """Mean of each weight, ``(K, N)`` for each layer; 0 where there is none."""
        kind = weight_type(self.weights)
        means = [kind.expectation(belief, get_backend("numpy", self.dtype)) for belief in self.weight_beliefs_]
        return [mean if mask is None else mean * mask for mean, mask in zip(means, self.masks_, strict=True)]

    def _probabilities(self, beliefs: Sequence[np.ndarray], inputs: np.ndarray, bayesian: bool) -> np.ndarray:
        predictor = self._make_predictor()
        return predictor.probabilities(beliefs, predictor.rows(inputs), bayesian)

    def _make_predictor(self) -> Predictor:
        if not hasattr(self, "_predictor"):
            self._predictor = Predictor(self._sizes, self.backend, **self._network_settings())
        return self._predictor

    def sample(self, n: int = 1, random_state: Any = None) -> list[np.ndarray]:
        """
        Draw networks from the beliefs: weights of each layer, ``(n, K, N)``, each weight for itself; 0 where there is none.

        Parameters
        ----------
        n : int, default 1
        random_state : int, RandomState or None
        """
        check_is_fitted(self, "weight_beliefs_")
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        kind = weight_type(self.weights)
        drawn = [draw(kind, np.asarray(belief, dtype=np.float64), n, rng) for belief in self.weight_beliefs_]
        return [values if mask is None else values * mask for values, mask in zip(drawn, self.masks_, strict=True)]

    def export(self, path: str | Path) -> None:
        """
        Write the point-wise network for use elsewhere.

        Parameters
        ----------
        path : file that ends in ``.npz``, for a bit a weight, which the file ``nets/bits.py`` reads with NumPy alone; or in
            ``.onnx``, for ONNX (needs the package ``onnx``)

        Raises
        ------
        ValueError
            Weights are not binary, or hidden units are no signs; or the file ends in something else.

        Notes
        -----
        A hidden unit whose sum is exactly 0 is +1; here it is in doubt. No unit with an odd number of signs as inputs can be.
        """
        check_is_fitted(self, "weight_beliefs_")
        export(self, path)

    def save(self, path: str | Path, state: bool = True) -> None:
        """
        Write the trained model to one ``.npz`` file, whole or not at all; `load` reads it, without pickle.

        Parameters
        ----------
        path : file
        state : bool, default True
            Whether what only going on with training needs is written too, which takes three times the rest.
        """
        check_is_fitted(self, "weight_beliefs_")
        save_model(self, path, state)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """
        Read a model that `save` wrote. It predicts as the saved one did.

        Raises
        ------
        ValueError
            The file is not a whole one of this kind.
        """
        model = cls.__new__(cls)
        load_model(model, path)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in _UNPICKLED}
