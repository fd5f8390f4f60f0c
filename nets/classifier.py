"""`BPClassifier`: deep binary networks with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from nets.datasets import stratified_rows
from nets.encoding import Code, encode
from nets.estimator import BPEstimator
from nets.fitting import Run, check_same_run, default_prior_strength
from nets.metrics import scores
from nets.settings import check_settings, one_for_each_layer


class BPClassifier(ClassifierMixin, BPEstimator):  # type: ignore[misc]
    """
    A multi-layer perceptron, by default of weights +-1 and sign activations, trained by belief propagation.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default (101, 101)
    method : {"bpi", "bp", "amp", "mf"}, or a sequence of such, one for each layer, optional
        Approximation of the layers: see `nets.Perceptron`. Default "mf" for 10,000 rows or more, else "bpi".
    cavity : {"first-order", "exact"}, default "first-order"
        How bpi takes one input out of a sum; exact is slow.
    epochs : int, default 20
    batch_size : int, optional
        Rows of a mini-batch; 128, or 32 for fewer than 1,000 rows, or all. Rows that do not fill a last batch wait.
    prior_strength : float or one for each layer, optional
        Power to which each batch's posterior is raised as the next one's prior: 1 keeps all evidence, less forgets, more
        polarises. Default 1 for hidden layers, 0.98 for the output layer. With ``prediction="point"`` 0.9
        for the output layer, and for hidden ones up to 1.001 in the second half of the epochs of `fit`, e^2 in all.
    damping : float or one for each layer, default 0.8
        Share of the old weights kept at each update. Without it training collapses.
    reinforcement : float, default 0
        Reinforcement within a batch, for ``iterations`` above 1.
    iterations : int, default 1
        Forward and backward sweeps for each batch.
    init_scale : float, optional
        Standard deviation of the initial fields on the weights. Default 1, or 3 for four or more hidden layers of signs:
        through those, weaker weights hand nothing on.
    encoding : {"auto", "standardize", "each-feature", "thermometer"}, default "auto"
        How features become inputs: less the mean, by the standard deviation, of all features together, or of each by itself; or
        each as 9 signs that tell which of its deciles it is above. ``"auto"``: together where all share one scale, as
        pixels do, else each by itself. `partial_fit` goes on learning each feature's scale.
    prediction : {"bayesian", "point"}, default "bayesian"
        `predict` and `predict_proba` with the weights marginalised, or with each weight at its most probable value.
    averaging : bool, default True
        Predict with the beliefs of all epochs of `fit` averaged, late ones weighing more, in place of the last epoch's.
        Training does not see the average. `partial_fit` has none.
    early_stopping : bool, default False
        Stop when the validation error (of ``prediction``) has not improved for ``n_epochs_no_change`` epochs, and go
        back to the best. Uses ``validation_data`` of `fit`, or holds a share out.
    validation_fraction : float, default 0.1
    n_epochs_no_change : int, default 10
    backend : str, optional
        Backend of the engine; see `factorgraph.get_backend`.
    dtype : {"float32", "float64"}, default "float32"
    products : {"full", "tf32", "bfloat16"}, default "full"
        What matrix products of training round their inputs to; see `factorgraph.get_backend`.
    argmax : {"pairwise", "exact"}, default "pairwise"
        Probability of the label, for more than two classes: see `nets.Perceptron`.
    density : float in (0, 1] or (K, N) array of bool, or a list with one of these for each layer, default 1
        Share of the weights that there are, chosen at random, or which there are.
    weights : {"binary", "ternary", "real"} or sequence of numbers, default "binary"
        What weights can be: -1 and 1, also 0, any number (with normal beliefs), or one of these numbers.
    activation : {"sign", "relu", "identity"} or sequence of these with one for each hidden layer, default "sign"
        Outputs of hidden units.
    biases : bool, optional
        Whether units have weights for constant inputs, as many as the square root of their inputs. Default: with features
        encoded each by itself.
    temperature : float, optional
        How far labels are in doubt: a wrong one is as likely as ``exp(-1 / temperature)`` to 1; 1 keeps tasks in turn best.
        Default 0 for signs and weights of few values, but 0.5 for others, and where there is no hidden layer or one of fewer
        than 10 units, which cannot satisfy all labels.
    replicas, coupling : int, optional, and float, default 1
        Focusing: hidden weights learn as those of one of so many replicas, coupled to a common centre; 1 for none. Default 7
        for 10,000 rows or more, else 1; for real weights (which can have no more) and other activations 1, and ``"bpi"``.
    class_weight : dict of labels and numbers, or "balanced", optional
        How many times each row of a class counts, times its ``sample_weight``. ``"balanced"``: classes count the same, and rows
        once on average.
    memory_limit : int, default 2 GiB
        Bytes that the messages of ``bp`` (with several iterations) and of exact cavities may take.
    random_state : int, RandomState or None
    verbose : bool, default False
        Show a progress bar.

    Attributes
    ----------
    classes_ : (n_classes,) array
    n_features_in_ : int
    n_iter_ : int
        Epochs done.
    history_ : list of dict
        For each epoch: ``epoch``, ``train_error`` (percent, point-wise, on at most 10,000 training rows), ``seconds``
        (of training alone), and with validation data ``test_error``, ``test_nll``, and these with ``_bayes``.
    settings_ : dict, what was chosen for ``encoding``, ``biases`` and all settings whose default is None
    weight_beliefs_ : list of arrays
        Of each layer the beliefs over its weights: for binary ones their means (K, N), for real ones means and variances
        (2, K, N), else probabilities of their q values (q, K, N). Biases are the last columns.
    weight_means_ : list of (K, N) arrays
        Mean of each weight. The sign of a binary one's is the weight.
    masks_ : list of (K, N) arrays of bool or None
        Which weights there are; None where all are.

    Examples
    --------
    >>> from nets import BPClassifier, load_dataset
    >>> data = load_dataset("digits")
    >>> model = BPClassifier(hidden_layer_sizes=(101,), epochs=5, random_state=0)
    >>> model.fit(data.X_train, data.y_train).score(data.X_test, data.y_test) > 0.9
    True
    """

    def fit(
        self,
        X: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: Callable[[BPClassifier], Any] | None = None,
        resume: bool = False,
        sample_weight: Any = None,
    ) -> BPClassifier:
        """
        Train from scratch, or to the end of a run that was left.

        Parameters
        ----------
        X : (n, features) array
        y : (n,) labels of at least two classes
        validation_data : (X, y), optional
            Evaluated after each epoch, for `history_` and early stopping; never trained on.
        on_epoch : callable, optional
            Called with the estimator after each epoch; a true value stops training.
        resume : bool, default False
            Go on with a model that `load` read, on the same data, to ``epochs`` epochs in all, bit for bit as if it had never
            stopped.
        sample_weight : (n,) array, optional
            How many times each row counts, 0 or any positive number: the factors of a row of weight 2 send weights what those
            of two such rows in the same batch would. Not for ``cavity="exact"`` and ``method="bp"``.

        Raises
        ------
        CollapsedTrainingError
            All weights are polarised though the error is at chance.
        """
        check_settings(self)
        if resume and not hasattr(self, "_snapshot"):
            raise NotFittedError("nothing to resume: load a model that was saved while it was trained")
        if resume and self.early_stopping and validation_data is None and self.random_state is None:
            raise ValueError("resume with early_stopping needs the random_state that chose the rows held out")
        snapshot = getattr(self, "_snapshot", None) if resume else None
        X, y = validate_data(self, X, y, dtype=np.float64, reset=not resume)
        check_classification_targets(y)
        if resume:
            check_same_run(self, y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"BPClassifier needs samples of at least 2 classes; y has 1 class: {self.classes_[0]!r}")
        X, y, counts = self._counted(X, y, sample_weight)
        validation = None if validation_data is None else self._check_labelled(*validation_data)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        if self.early_stopping and validation is None:
            kept, held = stratified_rows(y, self.validation_fraction, rng)
            validation = X[held], y[held]
            X, y, counts = X[kept], y[kept], None if counts is None else counts[kept]
        if snapshot is None:
            self._start(X, rng)
        else:
            self._make_trainer(len(X), rng)
        self._train(X, y, counts, range(self.n_iter_, self.epochs), validation, on_epoch, snapshot, self.averaging)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> BPClassifier:
        """
        Train for one epoch on these rows, going on from the weights as they are; bit for bit where `load` read them.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        classes : array of all classes, needed at the first call unless ``y`` has them all
        """
        first = not hasattr(self, "weight_beliefs_")
        check_settings(self, by_parts=True)
        if not first and not hasattr(self, "_snapshot"):
            raise ValueError("nothing to go on with: the model was saved with state=False")
        X, y = validate_data(self, X, y, dtype=np.float64, reset=first)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
            if len(self.classes_) < 2:
                raise ValueError("the first call of partial_fit needs `classes`, at least 2 of them")
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"classes {classes!r} are not those of the first call, {self.classes_!r}")
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y has labels that are not among the classes: {unknown[:5].tolist()}")
        X, y, counts = self._counted(X, y, sample_weight)
        if first:
            self._start(X, np.random.default_rng(check_random_state(self.random_state).randint(2**31)))
        elif not hasattr(self, "_trainer"):
            self._make_trainer(len(X), np.random.default_rng())
            self._trainer.restore(self._snapshot[0], self._snapshot[1]["rng"])
        self._encoder: Code = self._encoder if first else self._encoder.with_rows(X)
        self._train(X, y, counts, range(1), None, None, None, False)
        return self

    def _counted(self, X: np.ndarray, y: np.ndarray, weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Rows that count, and how many times each; None: once."""
        if weight is None and self.class_weight is None:
            return X, y, None
        if "exact" in np.ravel(self.cavity) or "bp" in np.ravel(self.method or "mf"):
            raise ValueError("sample_weight and class_weight need cavity='first-order', and method 'mf', 'bpi' or 'amp'")
        counts = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        if counts.shape != (len(y),) or not (np.isfinite(counts) & (counts >= 0)).all():
            raise ValueError(f"sample_weight must be {len(y)} numbers of at least 0, one for each row")
        if self.class_weight is not None:
            counts = counts * compute_sample_weight(self.class_weight, y)
        counts_at_all = counts > 0
        if not counts_at_all.any():
            raise ValueError("sample_weight and class_weight leave no row: all are zero")
        if (counts == 1).all():
            return X, y, None
        return X[counts_at_all], y[counts_at_all], counts[counts_at_all]

    def _check_labelled(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=np.float64, reset=False)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"validation data have labels that the training data lack: {unknown[:5].tolist()}")
        return X, y

    def _train(
        self,
        X: np.ndarray,
        y: np.ndarray,
        counts: np.ndarray | None,
        epochs: range,
        validation: tuple[np.ndarray, np.ndarray] | None,
        on_epoch: Callable[[BPClassifier], Any] | None,
        snapshot: tuple[dict[str, np.ndarray], dict[str, Any]] | None,
        averaging: bool,
    ) -> None:
        self._trainer.resize(min(self.settings_["batch_size"], len(X)), counts is not None)
        if validation is not None:
            validation = encode(self._encoder, validation[0], self.dtype), np.searchsorted(self.classes_, validation[1])
        inputs, labels = encode(self._encoder, X, self.dtype), np.searchsorted(self.classes_, y)
        run = Run(self._trainer, self._make_predictor(), inputs, labels, len(self.classes_), validation, averaging, counts)
        run.begin(snapshot)
        layers, total = len(self._sizes) - 1, self.n_iter_ + len(epochs)
        for epoch in epochs:
            default = default_prior_strength(epoch, epochs.stop, run.batches, layers, self.prediction)
            self._trainer.prior_strength = tuple(one_for_each_layer(self.prior_strength, default, layers, "prior_strength"))
            row, beliefs = run.epoch(self.n_iter_ + 1, f"epoch {self.n_iter_ + 1}/{total}" if self.verbose else None)
            self.n_iter_, self.weight_beliefs_ = self.n_iter_ + 1, beliefs
            self.history_.append({"epoch": self.n_iter_, **row})
            watched = self.early_stopping and validation is not None
            if watched:
                run.watch(self.prediction == "bayesian", beliefs)
            self._snapshot: Any = run.snapshot()
            if (on_epoch is not None and on_epoch(self)) or (watched and run.waited >= self.n_epochs_no_change):
                break
        if run.best is not None:
            self.weight_beliefs_ = run.best[1]

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class of each row, ``(n,)``."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> np.ndarray:
        """
        Probability of each class, ``(n, n_classes)``, in the order of ``classes_``.

        The network's own: the probability that a class's output wins when activations (and, for Bayesian prediction,
        weights) are random.
        """
        check_is_fitted(self, "weight_beliefs_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        inputs = encode(self._encoder, X, self.dtype)
        return self._probabilities(self.weight_beliefs_, inputs, self.prediction == "bayesian")

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """
        How good both kinds of prediction are.

        Returns
        -------
        dict of ``test_error`` (percent), ``nll`` (negative log-likelihood in nats) and ``ece`` (expected calibration error in
        percent) point-wise, and of the same with ``_bayes`` appended. Point-wise predictions leave nothing open: their
        likelihood shows what errors cost who is certain.
        """
        check_is_fitted(self, "weight_beliefs_")
        X, y = self._check_labelled(X, y)
        inputs, labels = encode(self._encoder, X, self.dtype), np.searchsorted(self.classes_, y)
        found: dict[str, float] = {}
        for suffix, bayesian in (("", False), ("_bayes", True)):
            probabilities = self._probabilities(self.weight_beliefs_, inputs, bayesian)
            found |= {name + suffix: value for name, value in scores(probabilities, labels).items()}
        return found
