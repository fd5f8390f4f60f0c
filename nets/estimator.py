"""What all networks trained by belief propagation share: settings, the training run, and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from factorgraph import VariableType, __version__, get_backend, get_communicator
from nets.encoding import Code, choose_code, encode
from nets.fitting import Run, check_same_run
from nets.layers import Architecture
from nets.layers.base import own_settings
from nets.model_file import load_model, save_model
from nets.notebook import fitted_html
from nets.plots import plot_model
from nets.prediction import Predictor
from nets.settings import (
    choose_masks,
    evidence_of,
    hidden_layers,
    input_shape_of,
    one_for_each_layer,
    plain_settings,
    weight_type,
)
from nets.targets import Targets
from nets.training import Trainer
from nets.uncertainty import draw

_OF_TRAINER = "reinforcement iterations dtype memory_limit coupling argmax communicator".split()
_UNPICKLED = ("_predictor", "_trainer")  # compiled anew where needed


class BPEstimator(BaseEstimator):  # type: ignore[misc]
    """
    State of a network that is trained by belief propagation. Its settings are those of `nets.BPClassifier`.

    A subclass decides what the targets are: it defines ``fit``, ``predict`` and the methods that have no body here.
    """

    real_output = False
    _encoder: Code

    def _targets(self) -> Targets:
        """The kind of targets that the network is trained to predict."""
        raise NotImplementedError

    def _num_outputs(self) -> int:
        """Units of the last layer."""
        raise NotImplementedError

    def _choose_settings(self) -> dict[str, Any]:
        """The values that were chosen for settings that were left open."""
        raise NotImplementedError

    def _default_prior_strength(self, epoch: int, epochs: int, batches: int) -> list[float]:
        """Power of the posterior as the next prior for each layer, if it was left open."""
        raise NotImplementedError

    def target_arrays(self) -> dict[str, np.ndarray]:
        """What a saved model contains about its targets."""
        raise NotImplementedError

    def take_target_arrays(self, arrays: dict[str, np.ndarray], outputs: int) -> None:
        """Restore what `target_arrays` gave, if it fits this number of outputs."""
        raise NotImplementedError

    def _to_resume(self, validation_data: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The saved state of the run to resume."""
        if not hasattr(self, "_snapshot"):
            raise NotFittedError("there is nothing to resume: load a model that was saved during training")
        if self.early_stopping and validation_data is None and self.random_state is None:
            raise ValueError("resume with early_stopping needs the random_state that chose the held-out rows")
        check_same_run(self)
        return self._snapshot

    def _counts(self, y: np.ndarray, weight: Any) -> np.ndarray | None:
        """How many times each row counts; None if each counts once."""
        if weight is None and self.class_weight is None:
            return None
        if "exact" in np.ravel(self.cavity) or "bp" in np.ravel(self.method or "mf"):
            raise ValueError("sample_weight and class_weight need cavity='first-order', and method 'mf', 'bpi' or 'amp'")
        counts = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        if counts.shape != (len(y),) or not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError(f"sample_weight must be {len(y)} numbers of at least 0, one for each row")
        if self.class_weight is not None:
            counts = counts * compute_sample_weight(self.class_weight, y)
        if not (counts > 0).any():
            raise ValueError("sample_weight and class_weight leave no row: all weights are zero")
        return None if (counts == 1).all() else counts

    def _new_rng(self) -> np.random.Generator:
        """The run's random generator, which is the same on all ranks. Settings must be the same too, which is checked."""
        communicator = get_communicator(self.communicator)
        if communicator.size > 1:
            settings = plain_settings(self)
            if not isinstance(self.random_state, (int, np.integer)):
                settings["random_state"] = None  # the first rank's is taken
            apart = ("communicator", "verbose", "backend", "memory_limit")
            alike = {name: value for name, value in settings.items() if name not in apart}
            communicator.check_alike({"the version": __version__, **alike})
        return np.random.default_rng(communicator.broadcast(check_random_state(self.random_state).randint(2**31)))

    def _begin_or_go_on(self, X: Any) -> None:
        """Prepare to learn a part: start a new run, or continue where the model was loaded."""
        if not hasattr(self, "weight_beliefs_"):
            self._start(X, self._new_rng())
            return
        if not hasattr(self, "_trainer"):
            if not hasattr(self, "_snapshot"):
                raise ValueError("there is nothing to continue from: the model was saved with state=False")
            self._make_trainer(X.shape[0], np.random.default_rng())
            self._trainer.restore(self._snapshot[0], self._snapshot[1]["rng"])
        self._encoder = self._encoder.with_rows(X)

    def _start(self, X: Any, rng: np.random.Generator) -> None:
        self._encoder = choose_code(self.encoding, X)
        self._rows = X.shape[0]
        inputs = self._encoder.size(X.shape[1])
        self._architecture = Architecture(input_shape_of(self, inputs), hidden_layers(self), self._num_outputs())
        self.settings_ = self._choose_settings()
        self._begun = plain_settings(self)
        self.masks_ = choose_masks(self.density, self._architecture, rng, self.settings_["biases"])
        self._make_trainer(X.shape[0], rng)
        self.history_: list[dict[str, Any]] = []
        self.n_iter_: int = 0
        for name in ("weight_beliefs_", "_predictor", "_snapshot"):  # of a fit before
            self.__dict__.pop(name, None)

    def _make_trainer(self, rows: int, rng: np.random.Generator) -> None:
        layers = len(self._architecture.weights)
        self._trainer: Trainer = Trainer(
            self._architecture,
            min(self.settings_["batch_size"], rows),
            self.settings_["method"],
            self.cavity,
            self._of_layers("prior_strength", [1.0] * layers),
            self._of_layers("damping", [0.8] * layers, self.settings_.get("damping")),
            backend=get_backend(self.backend, self.dtype, self.products),
            rng=rng,
            **{name: self.settings_[name] for name in ("replicas", "temperature", "init_scale")},
            **{name: getattr(self, name) for name in _OF_TRAINER},
            **self._network_settings(),
        )

    def _of_layers(self, name: str, default: list[float], chosen: Any = None) -> list[float]:
        """A number for each layer with weights: the layer's own, the estimator's, the chosen one, or the default."""
        layers, given = self._architecture.weighted, getattr(self, name)
        given = chosen if given is None else given
        return own_settings(layers, name, one_for_each_layer(given, default, len(layers), name))

    def _network_settings(self) -> dict[str, Any]:
        shared = {"masks": self.masks_, "weight_type": self._weight_type, "activation": self.activation}
        shared |= {"biases": self.settings_["biases"], "noise": self.settings_["activation_noise"]}
        return {**shared, "real_output": True} if self.real_output else shared

    @property
    def _weight_type(self) -> VariableType:
        return weight_type(self.settings_["weights"])

    def _train(
        self,
        X: Any,
        numbers: np.ndarray,
        counts: np.ndarray | None,
        epochs: range,
        averaging: bool = False,
        validation: tuple[Any, np.ndarray] | None = None,
        on_epoch: Callable[[Self], Any] | None = None,
        snapshot: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        """Train on rows and their class numbers or standardised numbers. ``validation`` has both of other rows."""
        if counts is not None:
            X, numbers, counts = X[counts > 0], numbers[counts > 0], counts[counts > 0]
        rows = min(self.settings_["batch_size"], X.shape[0])
        self._trainer.resize(rows, counts is not None, evidence_of(self, rows))
        if validation is not None:
            validation = encode(self._encoder, validation[0], self.dtype), validation[1]
        inputs = encode(self._encoder, X, self.dtype)
        run = Run(self._trainer, self._make_predictor(), inputs, numbers, self._targets(), validation, averaging, counts)
        run.begin(snapshot)
        total = self.n_iter_ + len(epochs)
        for epoch in epochs:
            default = self._default_prior_strength(epoch, epochs.stop, run.batches)
            self._trainer.prior_strength = tuple(self._of_layers("prior_strength", default))
            shown = self.verbose and self._trainer.communicator.rank == 0
            row, beliefs = run.epoch(self.n_iter_ + 1, f"epoch {self.n_iter_ + 1}/{total}" if shown else None)
            self.n_iter_, self.weight_beliefs_ = self.n_iter_ + 1, beliefs
            self.history_.append({"epoch": self.n_iter_, **row})
            watched = self.early_stopping and validation is not None
            if watched:
                run.watch(self.prediction == "bayesian", beliefs)
            self._snapshot: Any = run.snapshot()
            if (on_epoch is not None and on_epoch(self)) or (watched and run.waited >= self.n_epochs_no_change):
                break
        if run.best is not None:
            self.weight_beliefs_ = run.go_back_to_best()

    @property
    def weight_means_(self) -> list[np.ndarray]:
        """Mean of each weight, ``(K, N)`` for each layer; 0 where there is none."""
        kind = self._weight_type
        means = [kind.expectation(belief, get_backend("numpy", self.dtype)) for belief in self.weight_beliefs_]
        return [mean if mask is None else mean * mask for mean, mask in zip(means, self.masks_, strict=True)]

    def _marginals(self, X: Any, bayesian: bool) -> np.ndarray:
        """Marginals of the outputs for rows: see `nets.prediction.Predictor.marginals`."""
        predictor = self._make_predictor()
        return predictor.marginals(self.weight_beliefs_, predictor.rows(encode(self._encoder, X, self.dtype)), bayesian)

    def _make_predictor(self) -> Predictor:
        if not hasattr(self, "_predictor"):
            self._predictor = Predictor(self._architecture, self.backend, **self._network_settings())
        return self._predictor

    def sample(self, n: int = 1, random_state: Any = None) -> list[np.ndarray]:
        """
        Draw networks from the beliefs.

        Parameters
        ----------
        n : int, default 1
            Number of networks.
        random_state : int, RandomState or None

        Returns
        -------
        list of ``(n, K, N)`` arrays, the weights of each layer. Each weight is drawn independently, and weights that are masked
        out are 0.
        """
        check_is_fitted(self, "weight_beliefs_")
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        kind = self._weight_type
        drawn = [draw(kind, np.asarray(belief, dtype=np.float64), n, rng) for belief in self.weight_beliefs_]
        return [values if mask is None else values * mask for values, mask in zip(drawn, self.masks_, strict=True)]

    def save(self, path: str | Path, state: bool = True) -> None:
        """
        Write the trained model to one ``.npz`` file, which `load` reads without pickle. The file is written completely or not
        at all.

        If several ranks trained together, they all have the same model, and the first one writes it.

        Parameters
        ----------
        path : file
        state : bool, default True
            Whether to write the state of the training run as well, which only further training needs. It takes three times as
            much space as the rest.
        """
        check_is_fitted(self, "weight_beliefs_")
        if get_communicator(self.communicator).rank == 0:
            save_model(self, path, state)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """
        Read a model that `save` wrote. It predicts as the saved model did.

        Raises
        ------
        ValueError
            The file is not a complete model of this class.
        """
        model = cls.__new__(cls)
        load_model(model, path)
        return model

    def plot(self, X: Any = None, y: Any = None) -> np.ndarray:
        """
        Draw how training went and how certain the weights are. With rows whose targets are known, also draw how good
        predictions are.

        For classes, these are a reliability diagram and a confusion matrix. For numbers, these are predictions with their
        standard deviations, and the coverage of intervals of every size. Needs matplotlib: ``pip install
        "factorgraph-nets[plot]"``.

        Parameters
        ----------
        X : (n, features) array, optional
        y : (n,) or (n, n_outputs) array, optional
            Labels or numbers of the same rows.

        Returns
        -------
        (2,) array of matplotlib Axes, or (4,) with rows

        Raises
        ------
        ValueError
            Only one of X and y is given, or y has labels that were not in the training data.
        ImportError
            matplotlib is not installed.
        """
        check_is_fitted(self, "weight_beliefs_")
        return plot_model(self, X, y)

    def _repr_html_inner(self) -> str:
        """scikit-learn's table of settings, and below it what the fit found."""
        return str(super()._repr_html_inner()) + fitted_html(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)
        return {kind: text + fitted_html(self) if kind == "text/html" else text for kind, text in bundle.items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in _UNPICKLED}
