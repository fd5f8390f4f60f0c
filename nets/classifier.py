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
    A multi-layer perceptron with sign activations and weights of one bit or a few values, trained by belief propagation.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default (101, 101)
        Number of units of each dense hidden layer.
    layers : sequence of layers, optional
        Hidden layers of any kind, instead of ``hidden_layer_sizes``: `nets.Dense`, `nets.Convolution`, `nets.Pool`, numbers of
        units, or words such as ``"32c5s2"`` (see `nets.layers.parse_layer`). A layer's own settings override the network's.
    input_shape : (channels, height, width), optional
        Shape of the image that the features form, for convolutions. Default: a square with one channel.
    method : {"bpi", "bp", "amp", "mf"}, or a sequence with one of these for each layer, optional
        Approximation of the messages: see `nets.Perceptron`. Default "mf" for 10,000 rows of images or more, else "bpi".
    cavity : {"first-order", "exact"}, default "first-order"
        How "bpi" takes one input out of a sum. "exact" is slow.
    epochs : int, default 20
    batch_size : int, optional
        Rows of a mini-batch. Default 128, or 32 for convolutions and for fewer than 1,000 rows, or all rows. A batch of more
        than 512 rows counts as 512. Rows that do not fill a last batch wait for another epoch.
    prior_strength : float or one for each layer, optional
        Power to which a batch's posterior is raised to become the next prior: 1 keeps all evidence, less forgets, and more
        polarises. Default 1, and 0.98 for the output layer, with the exceptions in `nets.fitting.default_prior_strength`.
    damping : float or one for each layer, optional
        Fraction of the old weights that is kept at each update. Default 0.8, or 0.9 for batches of more than 256 rows.
    reinforcement : float, default 0 (within a batch, and only with ``iterations`` above 1)
    iterations : int, default 1
        Forward and backward sweeps for each batch.
    init_scale : float, optional
        Standard deviation of the first fields of the weights. Default 1, or 3 for four or more hidden layers of signs: signals
        would fade there with weaker weights.
    encoding : {"auto", "standardize", "each-feature", "thermometer"}, default "auto"
        How features become inputs. "standardize" subtracts the mean and divides by the standard deviation of all features
        together, and "each-feature" does so for each feature. "thermometer" makes 9 signs of a feature: whether it is above
        each of its deciles. "auto" is "standardize" if all features share one scale, as pixels do, else "each-feature".
        `partial_fit` continues to learn each feature's scale.
    prediction : {"bayesian", "point"}, default "bayesian"
        Whether `predict` and `predict_proba` marginalise the weights, or use the most probable value of each weight.
    averaging : bool, default True
        Predict with the average of the beliefs of all epochs of `fit`, in which late epochs weigh more, instead of the beliefs
        of the last epoch. Training does not use the average. `partial_fit` makes none.
    early_stopping : bool, default False
        Stop when the likelihood of the validation labels (by ``prediction``) has not improved for ``n_epochs_no_change``
        epochs, and return to the best epoch. Uses ``validation_data`` of `fit`, or else a held-out fraction of the rows.
    validation_fraction, n_epochs_no_change : float, default 0.1, and int, default 10
    backend : str, optional
        Array library of the engine: see `factorgraph.get_backend`.
    dtype : {"float32", "float64"}, default "float32"
    products : {"full", "tf32", "bfloat16"}, default "full"
        Format to which training rounds the inputs of matrix products: see `factorgraph.get_backend`.
    argmax : {"pairwise", "exact"}, default "pairwise"
        How the probability of a label among more than two classes is found: see `nets.Perceptron`.
    density : float in (0, 1] or (K, N) array of bool, or a list with one of these for each layer, default 1
        Fraction of the weights to keep, chosen at random, or a mask of those kept.
    weights : {"binary", "ternary", "real"} or sequence of numbers, optional
        Values of a weight: -1 and 1; these and 0; any number (with normal beliefs); or the numbers given. Default "binary", or
        ``(-3, -2, -1, 1, 2, 3)`` if each feature is encoded by itself (with dense layers of signs, and without "bp").
    activation : {"sign", "relu", "identity"} or sequence of these with one for each hidden layer, default "sign"
        Activation of the hidden units.
    biases : bool, optional
        Whether each unit has weights for constant inputs, as many as the square root of the number of its inputs. By default it
        has, if each feature is encoded by itself, and with convolutions.
    activation_noise : float, optional
        Variance of a normal number added to each unit's sum while weights are marginalised, so that no unit of few inputs is
        certain. Default 0, or 0.1 if each feature is encoded by itself (with dense layers of signs, and without "bp").
    temperature : float, optional
        Above 0, labels are soft: a wrong label is ``exp(-1 / temperature)`` times as likely as the given one. Use 1 to learn
        tasks one after another. Default 0 for signs and weights of few values; 0.5 for other networks, and for those that
        cannot satisfy all labels: with no hidden layer, or with one of fewer than 10 units.
    replicas, coupling : int, optional, and float, default 1
        Focusing: hidden weights learn as one of so many replicas, coupled to a common centre; 1 means none. Default 7 for
        10,000 rows or more, else 1; and 1, with method "bpi", for real weights (which allow no more) and for other activations.
    class_weight : dict of labels and numbers, or "balanced", optional
        How many times each row of a class counts, multiplied by its ``sample_weight``. With "balanced", all classes count the
        same, and rows count once on average.
    memory_limit : int, default 2 GiB
        Most bytes that the messages of "bp" (with several iterations) and of exact cavities may take.
    communicator : {None, "mpi", "auto"}, for ranks that train together: see ``docs/how_to/machines.md``
    random_state : int, RandomState or None
    verbose : bool, default False (True shows a progress bar)

    Attributes
    ----------
    classes_ : (n_classes,) array
    n_features_in_ : int
    n_iter_ : int, the number of epochs done
    history_ : list of dict
        One for each epoch: ``epoch``; ``train_error`` (percent, point-wise, on a tenth of the training rows, but at least 512,
        weighted); ``seconds`` (training); with validation data ``test_error``, ``test_nll``, and both with ``_bayes`` appended.
    settings_ : dict of the values chosen for ``encoding``, ``biases`` and all settings whose default is None
    weight_beliefs_ : list of arrays
        Beliefs over the weights of each layer, with biases in the last columns: (K, N) means of binary weights, (2, K, N) means
        and variances of real weights, or (q, K, N) probabilities of the q values of other weights.
    weight_means_ : list of (K, N) arrays
        Mean of each weight. For a binary weight, its sign is the most probable value.
    masks_ : list of (K, N) arrays of bool or None
        Mask of the weights that are kept; None if all are.

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
        Train a new network, or finish a run that was interrupted.

        Parameters
        ----------
        X : (n, features) array, or a sparse one or a `numpy.memmap`, of which one part at a time is made dense, or read
        y : (n,) labels of at least two classes
        validation_data : (X, y), optional
            Rows to evaluate after each epoch, for `history_` and early stopping. They are never used for training.
        on_epoch : callable, optional
            Called with the estimator after each epoch. If it returns a true value, training stops.
        resume : bool, default False
            Continue a model that `load` read, on the same data, up to ``epochs`` epochs in total. The result is bit for bit
            that of a run without a stop.
        sample_weight : (n,) array, optional
            How many times each row counts: 0 or any positive number. A row of weight 2 sends the weights what two such rows in
            the same batch would send. Not for ``cavity="exact"`` and ``method="bp"``.

        Raises
        ------
        CollapsedTrainingError
            All weights are polarised, but the error is still at chance.
        """
        check_settings(self)
        snapshot = self._to_resume(validation_data) if resume else None
        X, y = checked_rows(self, X, y, reset=not resume)
        check_labels(y)
        classes = np.unique(y)
        if resume and not np.array_equal(self.classes_, classes):
            raise ValueError(f"the run to resume has classes {self.classes_.tolist()}, but y has {classes.tolist()}")
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
        Train for one epoch on these rows, starting from the present weights; a model that `load` read continues bit for bit.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        classes : array of all classes; the first call needs it, unless ``y`` contains all of them
        """
        first = not hasattr(self, "weight_beliefs_")
        check_settings(self, by_parts=True)
        X, y = checked_rows(self, X, y, reset=first)
        check_labels(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
            if len(self.classes_) < 2:
                raise ValueError("the first call of partial_fit needs `classes` with at least 2 of them")
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
            raise TypeError("labels of type object cannot be saved, unless all are strings; use strings or numbers")
        return {"classes": self.classes_.astype(str), "classes_are_objects": np.asarray(True)}

    def take_target_arrays(self, arrays: dict[str, np.ndarray], outputs: int) -> None:
        classes = arrays["classes"]
        if "classes_are_objects" in arrays:
            classes = classes.astype(object)
        self.classes_ = classes
        if classes.ndim != 1 or len(np.unique(classes)) != len(classes) or len(classes) < 2:
            raise ValueError(f"its classes are an array of shape {classes.shape}, not two or more different labels")
        if outputs != self._num_outputs():
            raise ValueError(f"its last layer has {outputs} units, which do not fit {len(classes)} classes")

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class of each row, ``(n,)``."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> np.ndarray:
        """
        Return the probability of each class, ``(n, n_classes)``, in the order of ``classes_``.

        This is the network's own probability that the output of a class wins, when activations are random (and, for Bayesian
        prediction, weights too).
        """
        check_is_fitted(self, "weight_beliefs_")
        X = checked_rows(self, X)
        return self._probabilities(X, self.prediction == "bayesian")

    def _probabilities(self, X: Any, bayesian: bool) -> np.ndarray:
        found = self._marginals(X, bayesian)
        return found / found.sum(axis=1, keepdims=True)

    def uncertainty(self, X: Any, draws: int = 32) -> dict[str, np.ndarray]:
        """
        Return the entropy of each row's label with weights marginalised, and the two parts that it consists of.

        A network whose weights are all known is certain (except for a small `activation_noise`), so all doubt is about weights.
        Hidden weights keep all evidence. The output's weights forget and never settle, so that they represent randomness in the
        labels. Hence the entropy that remains when hidden units are known is the aleatoric part, and the rest is the epistemic
        part.

        Parameters
        ----------
        X : (n, features) array
        draws : int, default 32
            How often hidden units are drawn from their marginals; each call draws the same. A draw costs about as much as a
            pass through the last layer.

        Returns
        -------
        dict of (n,) arrays in nats: ``total``, the entropy of the Bayesian `predict_proba`; ``aleatoric`` and ``epistemic``,
        which add up to the total. Without hidden layers, all of it is aleatoric.
        """
        check_is_fitted(self, "weight_beliefs_")
        whole_number("draws", draws)
        X = checked_rows(self, X)
        total, given = entropies(self, encode(self._encoder, X, self.dtype), draws)
        aleatoric = np.minimum(given, total)
        return {"total": total, "aleatoric": aleatoric, "epistemic": total - aleatoric}

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """
        Measure how good both kinds of prediction are.

        Returns
        -------
        dict of ``test_error`` (percent), ``nll`` (negative log-likelihood in nats) and ``ece`` (expected calibration error in
        percent) of point-wise predictions, and the same with ``_bayes`` appended of Bayesian ones. Point-wise predictions are
        certain, so that each error costs much likelihood.
        """
        check_is_fitted(self, "weight_beliefs_")
        X, numbers = self._check_labelled(X, y)
        found: dict[str, float] = {}
        for suffix, bayesian in (("", False), ("_bayes", True)):
            found |= {name + suffix: value for name, value in scores(self._probabilities(X, bayesian), numbers).items()}
        return found

    def export(self, path: str | Path) -> None:
        """
        Write the point-wise network to a file, for use without `nets`.

        Parameters
        ----------
        path : str or Path
            A name that ends in ``.npz``, for bits, which the file ``nets/bits.py`` reads with only NumPy; or in ``.onnx``, for
            ONNX (needs the package ``onnx``).

        Raises
        ------
        ValueError
            Weights are not whole numbers below 256, hidden units are not signs, or the name ends in something else.

        Notes
        -----
        A hidden unit whose sum is 0 is +1 there, but undecided here. No sum of an odd number of binary weights and signs is 0.
        """
        check_is_fitted(self, "weight_beliefs_")
        export(self, path)
