"""`BPClassifier`: deep binary networks with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from nets.datasets import stratified_rows
from nets.encoding import encode
from nets.estimator import BPEstimator
from nets.export import export
from nets.fitting import default_prior_strength
from nets.layers.base import whole_number
from nets.mapped import checked_rows
from nets.metrics import scores
from nets.settings import check_settings, evidence_of_batch, settings_of
from nets.targets import Classes, check_labels
from nets.training import MEMORY_LIMIT
from nets.uncertainty import entropies


class BPClassifier(ClassifierMixin, BPEstimator):  # type: ignore[misc]
    """
    A multi-layer perceptron of weights of one bit, or a few, and sign activations, trained by belief propagation.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default (101, 101)
        Units of dense hidden layers.
    layers : sequence of layers, optional
        Hidden layers of any kind in their place: `nets.Dense`, `nets.Convolution`, `nets.Pool`, numbers of units, or words as
        ``"32c5s2"``: see `nets.layers.parse_layer`. A layer's own settings go before the network's.
    input_shape : (channels, height, width), optional
        How features are an image, for convolutions. Default: one channel, a square.
    method : {"bpi", "bp", "amp", "mf"}, or a sequence of such, one for each layer, optional
        Approximation of the layers: see `nets.Perceptron`. Default "mf" for 10,000 rows of images or more, else "bpi".
    cavity : {"first-order", "exact"}, default "first-order"
        How bpi takes one input out of a sum; exact is slow.
    epochs : int, default 20
    batch_size : int, optional
        Rows of a mini-batch; 128, or 32 for convolutions and for fewer than 1,000 rows, or all. Of more than 512 each counts
        for less, in all as 512. Rows that do not fill a last batch wait.
    prior_strength : float or one for each layer, optional
        Power to which each batch's posterior is raised as the next one's prior: 1 keeps all evidence, less forgets, more
        polarises. Default 1, for the output layer 0.98, or as `nets.fitting.default_prior_strength` has it.
    damping : float or one for each layer, optional
        Share of the old weights kept at each update. Default 0.8, or 0.9 for batches of more than 256 rows.
    reinforcement : float, default 0; within a batch, for ``iterations`` above 1
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
    validation_fraction, n_epochs_no_change : float, default 0.1, and int, default 10
    backend : str, optional
        Backend of the engine; see `factorgraph.get_backend`.
    dtype : {"float32", "float64"}, default "float32"
    products : {"full", "tf32", "bfloat16"}, default "full"
        What matrix products of training round their inputs to; see `factorgraph.get_backend`.
    argmax : {"pairwise", "exact"}, default "pairwise"
        Probability of the label, for more than two classes: see `nets.Perceptron`.
    density : float in (0, 1] or (K, N) array of bool, or a list with one of these for each layer, default 1
        Share of the weights that there are, chosen at random, or which there are.
    weights : {"binary", "ternary", "real"} or sequence of numbers, optional
        What weights can be: -1 and 1, also 0, any number (with normal beliefs), or one of these numbers. Default "binary", but
        ``(-3, -2, -1, 1, 2, 3)`` where features are encoded each by itself (dense signs, and no "bp").
    activation : {"sign", "relu", "identity"} or sequence of these with one for each hidden layer, default "sign"
        Outputs of hidden units.
    biases : bool, optional
        Whether units have weights for constant inputs, as many as the square root of their inputs. Default: with features
        encoded each by itself, and with convolutions.
    activation_noise : float, optional
        Variance of a normal number added to each unit's sum, with weights marginalised: so a unit of few inputs is never quite
        certain. Default 0, but 0.1 where features are encoded each by itself (dense signs, and no "bp").
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
    communicator : {None, "mpi", "auto"}: ranks that train together, each on its share of every batch: see ``docs/machines.md``
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
        For each epoch: ``epoch``, ``train_error`` (percent, point-wise, on a tenth of the training rows, at least 512, each as
        often as it counts), ``seconds`` (of training alone), and with validation data ``test_error``, ``test_nll``, and these
        with ``_bayes``.
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

    classes_: np.ndarray

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (101, 101),
        *,
        layers: Sequence[Any] | None = None,
        input_shape: tuple[int, int, int] | None = None,
        method: str | Sequence[str] | None = None,
        cavity: str | Sequence[str] = "first-order",
        epochs: int = 20,
        batch_size: int | None = None,
        prior_strength: Any = None,
        damping: Any = None,
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
        weights: Any = None,
        activation: str | Sequence[str] = "sign",
        biases: bool | None = None,
        activation_noise: float | None = None,
        temperature: float | None = None,
        replicas: int | None = None,
        coupling: float = 1.0,
        class_weight: Any = None,
        memory_limit: int = MEMORY_LIMIT,
        communicator: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.layers = layers
        self.input_shape = input_shape
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
        self.activation_noise = activation_noise
        self.temperature = temperature
        self.replicas = replicas
        self.coupling = coupling
        self.class_weight = class_weight
        self.memory_limit = memory_limit
        self.communicator = communicator
        self.random_state = random_state
        self.verbose = verbose

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
        X : (n, features) array, or a sparse one or a `numpy.memmap`, whose rows are made dense, or read, a part at a time
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
        snapshot = self._to_resume(validation_data) if resume else None
        X, y = checked_rows(self, X, y, reset=not resume)
        check_labels(y)
        classes = np.unique(y)
        if resume and not np.array_equal(self.classes_, classes):
            raise ValueError(f"the run to resume is of classes {self.classes_.tolist()}, but y has {classes.tolist()}")
        self.classes_ = classes
        if len(classes) < 2:
            raise ValueError(f"BPClassifier needs samples of at least 2 classes; y has 1 class: {classes[0]!r}")
        counts = self._counts(y, sample_weight)
        numbers = np.searchsorted(self.classes_, y)
        validation = None if validation_data is None else self._check_labelled(*validation_data)
        rng = self._new_rng()
        if self.early_stopping and validation is None:
            kept, held = stratified_rows(y, self.validation_fraction, rng)
            validation = X[held], numbers[held]
            X, numbers, counts = X[kept], numbers[kept], None if counts is None else counts[kept]
        there = X if counts is None else X[counts > 0]
        if snapshot is None:
            self._start(there, rng)
        else:
            self._make_trainer(there.shape[0], rng)
        epochs = range(self.n_iter_, self.epochs)
        self._train(X, numbers, counts, epochs, self.averaging, validation, on_epoch, snapshot)
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
        X, y = checked_rows(self, X, y, reset=first)
        check_labels(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
            if len(self.classes_) < 2:
                raise ValueError("the first call of partial_fit needs `classes`, at least 2 of them")
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"classes {classes!r} are not those of the first call, {self.classes_!r}")
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y has labels that are not among the classes: {unknown[:5].tolist()}")
        counts = self._counts(y, sample_weight)
        self._begin_or_go_on(X if counts is None else X[counts > 0])
        self._train(X, np.searchsorted(self.classes_, y), counts, range(1))
        return self

    def _check_labelled(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        X, y = checked_rows(self, X, y)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"validation data have labels that the training data lack: {unknown[:5].tolist()}")
        return X, np.searchsorted(self.classes_, y)

    def _targets(self) -> Classes:
        return Classes(len(self.classes_))

    def _num_outputs(self) -> int:
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _choose_settings(self) -> dict[str, Any]:
        return settings_of(self, self._encoder, self._rows, len(self.classes_))

    def _default_prior_strength(self, epoch: int, epochs: int, batches: int) -> list[float]:
        evidence = evidence_of_batch(self, self._trainer.batch_size)
        return default_prior_strength(epoch, epochs, batches, len(self._architecture.weights), self.prediction, evidence)

    def target_arrays(self) -> dict[str, np.ndarray]:
        if self.classes_.dtype != object:
            return {"classes": self.classes_}
        if not all(isinstance(label, str) for label in self.classes_):
            raise TypeError("labels of type object cannot be saved without pickle, unless all are texts; use texts or numbers")
        return {"classes": self.classes_.astype(str), "classes_are_objects": np.asarray(True)}

    def take_target_arrays(self, arrays: dict[str, np.ndarray], outputs: int) -> None:
        classes = arrays["classes"]
        if "classes_are_objects" in arrays:
            classes = classes.astype(object)
        self.classes_ = classes
        if classes.ndim != 1 or len(np.unique(classes)) != len(classes) or len(classes) < 2:
            raise ValueError(f"its classes are an array of shape {classes.shape}, not two or more different labels")
        if outputs != self._num_outputs():
            raise ValueError(f"its last layer has {outputs} units, not those of {len(classes)} classes")

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
        X = checked_rows(self, X)
        return self._probabilities(X, self.prediction == "bayesian")

    def _probabilities(self, X: Any, bayesian: bool) -> np.ndarray:
        found = self._marginals(X, bayesian)
        return found / found.sum(axis=1, keepdims=True)

    def uncertainty(self, X: Any, draws: int = 32) -> dict[str, np.ndarray]:
        """
        Entropy of each row's label, with weights marginalised, and what it is made of.

        Given all its weights the network is certain (but for a small `activation_noise`), so all doubt is about weights. Hidden
        weights keep all evidence. The output's forget, and never settle: they hold what is random in the labels. So what is
        left where the hidden units are known is the aleatoric part, and the rest the epistemic one.

        Parameters
        ----------
        X : (n, features) array
        draws : int, default 32
            How often hidden units are drawn from their marginals, the same way at every call. Each costs about a pass through
            the last layer.

        Returns
        -------
        dict of (n,) arrays in nats: ``total``, the entropy of the Bayesian `predict_proba`; ``aleatoric`` and ``epistemic``,
        which add up to it. Without hidden layers all is aleatoric.
        """
        check_is_fitted(self, "weight_beliefs_")
        whole_number("draws", draws)
        X = checked_rows(self, X)
        total, given = entropies(self, encode(self._encoder, X, self.dtype), draws)
        aleatoric = np.minimum(given, total)
        return {"total": total, "aleatoric": aleatoric, "epistemic": total - aleatoric}

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
        X, numbers = self._check_labelled(X, y)
        found: dict[str, float] = {}
        for suffix, bayesian in (("", False), ("_bayes", True)):
            found |= {name + suffix: value for name, value in scores(self._probabilities(X, bayesian), numbers).items()}
        return found

    def export(self, path: str | Path) -> None:
        """
        Write the point-wise network for use elsewhere.

        Parameters
        ----------
        path : file that ends in ``.npz``, for bits, which the file ``nets/bits.py`` reads with NumPy alone; or in
            ``.onnx``, for ONNX (needs the package ``onnx``)

        Raises
        ------
        ValueError
            Weights are no whole numbers below 256, or hidden units are no signs; or the file ends in something else.

        Notes
        -----
        A hidden unit whose sum is exactly 0 is +1; here it is in doubt. No unit with an odd number of signs as inputs can be.
        """
        check_is_fitted(self, "weight_beliefs_")
        export(self, path)
