"""Trained models as files: one ``.npz`` without pickle, which is written completely or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.backends import HOST
from factorgraph.files import DamagedFileError, parse_json, read_npz, write_npz
from nets.encoding import CODES
from nets.layers import Architecture
from nets.layers.base import is_number
from nets.network import constants_of
from nets.settings import check_settings, hidden_layers, input_shape_of, params_of, plain, plain_settings, weight_type

_VERSION = 4


def save_model(model: Any, path: str | Path, state: bool = True) -> None:
    """
    Write a fitted estimator: settings, encoder, targets, history, and the beliefs over all weights.

    With ``state``, also write the state of its run (if there is one), so that training can continue: see
    `nets.fitting.Run.snapshot`.
    """
    params = params_of(model)
    if not isinstance(params["random_state"], (int, np.integer, type(None))):
        params["random_state"] = None  # a generator's state is no setting
    params["communicator"] = None  # any ranks may go on
    meta = {
        "format": f"nets.{type(model).__name__}",
        "version": _VERSION,
        "params": params,
        "history": model.history_,
        "n_iter": model.n_iter_,
        "sizes": [model._architecture.inputs, *model._architecture.hidden_units, model._architecture.outputs],
        "rows": model._rows,
        "settings": model.settings_,
    }
    if hasattr(model, "feature_names_in_"):
        meta["features"] = model.feature_names_in_.tolist()
    kept, meta["run"] = getattr(model, "_snapshot", ({}, None)) if state else ({}, None)
    arrays = {f"weights/{layer}": belief for layer, belief in enumerate(model.weight_beliefs_)}
    arrays |= {f"encoder/{name}": np.asarray(value) for name, value in vars(model._encoder).items()}
    arrays |= {f"mask/{layer}": mask for layer, mask in enumerate(model.masks_) if mask is not None}
    arrays |= {f"run/{name}": array for name, array in kept.items()}
    arrays |= model.target_arrays()
    arrays["meta"] = np.frombuffer(json.dumps(meta, default=_settings_alone).encode(), dtype=np.uint8)
    write_npz(path, arrays)


def kind_of(path: str | Path) -> str | None:
    """
    Name of the kind of model in a file, such as "nets.BPRegressor"; None if it cannot be found out.

    Raises
    ------
    FileNotFoundError
    """
    try:
        return str(parse_json(read_npz(path)["meta"].tobytes())["format"])
    except (ValueError, KeyError, TypeError):  # a DamagedFileError is a ValueError
        return None


def load_model(model: Any, path: str | Path) -> None:
    """
    Fill a new estimator from a file that `save_model` wrote.

    Raises
    ------
    FileNotFoundError
    ValueError
        The file is not a complete model of this kind.
    """
    try:
        arrays = read_npz(path)
    except DamagedFileError as error:
        raise ValueError(f"{path}: not a model saved by {type(model).__name__} ({error})") from error
    try:
        meta = parse_json(arrays["meta"].tobytes())
        if meta["format"] != f"nets.{type(model).__name__}" or meta["version"] != _VERSION:
            raise ValueError(f"it holds {meta['format']} version {meta['version']}")
        params = meta["params"]
        if isinstance(params.get("class_weight"), list):
            params["class_weight"] = {label: weight for label, weight in params["class_weight"]}
        model.__init__(**params)
        check_settings(model)
        sizes = [int(size) for size in meta["sizes"]]
        architecture = Architecture(input_shape_of(model, sizes[0]), hidden_layers(model), sizes[-1])
        if sizes[1:-1] != architecture.hidden_units:
            raise ValueError(f"its layer sizes {sizes} do not fit hidden layers of {architecture.hidden_units}")
        model.take_target_arrays(arrays, sizes[-1])
        model.settings_ = {name: meta["settings"][name] for name in ("encoding", "biases", "method", "replicas", "batch_size")}
        # Files of before have these among the estimator's own settings, and no noise.
        of_before = {name: getattr(model, name) for name in ("temperature", "init_scale", "weights")}
        model.settings_ |= {name: meta["settings"].get(name, value) for name, value in of_before.items()}
        noise = model.settings_["activation_noise"] = meta["settings"].get("activation_noise", 0.0)
        if not (is_number(noise) and noise >= 0):
            raise ValueError(f"the noise of its sums is {noise!r}")
        model._begun = plain_settings(model)
        beliefs = [arrays[f"weights/{layer}"] for layer in range(len(architecture.weights))]
        masks = [arrays.get(f"mask/{layer}") for layer in range(len(architecture.weights))]
        for (neurons, size, _), belief, mask in zip(architecture.weights, beliefs, masks, strict=True):
            _check_layer(model, size, neurons, belief, mask)
        settings = {name.split("/")[1]: array for name, array in arrays.items() if name.startswith("encoder/")}
        model._encoder = CODES[model.settings_["encoding"]](**settings)
        model.n_features_in_ = model._encoder.features(sizes[0])
        if "features" in meta:
            model.feature_names_in_ = np.array([str(name) for name in meta["features"]], dtype=object)
        if model._encoder(np.zeros((1, model.n_features_in_))).shape != (1, sizes[0]):
            raise ValueError("its encoder does not give as many inputs as the network takes")
        model.weight_beliefs_, model.masks_ = beliefs, masks
        model._architecture, model._rows = architecture, int(meta["rows"])
        model.history_, model.n_iter_ = _history(meta["history"]), int(meta["n_iter"])
        if meta.get("run") is not None:
            kept = {name.removeprefix("run/"): array for name, array in arrays.items() if name.startswith("run/")}
            _check_run(kept, meta["run"], beliefs)
            model._snapshot = kept, meta["run"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, ArithmeticError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: not a model saved by {type(model).__name__} ({what})") from error


def _check_layer(model: Any, inputs: int, neurons: int, belief: np.ndarray, mask: np.ndarray | None) -> None:
    kind = weight_type(model.settings_["weights"])
    shape = neurons, inputs + (constants_of(inputs) if model.settings_["biases"] else 0)
    lead = np.shape(kind.mean(np.ones((*kind.param_shape, 1)), HOST))[:-1]
    if belief.shape != (*lead, *shape) or belief.dtype.kind != "f":
        raise ValueError(f"the weights of a layer are {belief.dtype} of shape {belief.shape}, expected {(*lead, *shape)}")
    if mask is not None and (mask.shape != shape or mask.dtype != np.bool_):
        raise ValueError(f"the mask of a layer is {mask.dtype} of shape {mask.shape}, expected {shape}")


def _history(rows: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise ValueError("its history is not a list of epochs")
    return rows


def _check_run(kept: dict[str, np.ndarray], run: Any, beliefs: list[np.ndarray]) -> None:
    """Check the state of a run: its arrays, and a random state that the generator accepts."""
    np.random.default_rng().bit_generator.state = run["rng"]
    for name in ("best", "waited", "data"):
        if not isinstance(run[name], (int, float, type(None))):
            raise ValueError(f"{name} of its run is {run[name]!r}")
    if run["best"] is not None and not all(f"best/{layer}" in kept for layer in range(len(beliefs))):
        raise ValueError("the best weights of its run are missing")
    for layer, belief in enumerate(beliefs):
        means = [kept[f"mean/{layer}"], *(kept[n] for n in (f"average/{layer}", f"best/{layer}") if n in kept)]
        sizes = {array.size for array in (belief, *means)}
        if len(sizes) > 1 or not np.issubdtype(kept[f"belief/{layer}"].dtype, np.floating):
            raise ValueError(f"the arrays of its run for layer {layer + 1} do not have the sizes of the weights")


def check_same_settings(saved: Any, asked: Any, path: str | Path) -> None:
    """
    Refuse to continue a saved run with other settings than its own.

    Raises
    ------
    ValueError
        The message names the settings that differ.
    """

    apart = ("verbose", "communicator")
    mine, theirs = ({k: v for k, v in plain_settings(m).items() if k not in apart} for m in (asked, saved))
    differ = [f"{name} {theirs[name]!r}, not {mine[name]!r}" for name in mine if mine[name] != theirs[name]]
    if differ:
        raise ValueError(f"{path} holds a run with other settings: {'; '.join(differ)}. Use these settings, or another file")


def _settings_alone(value: Any) -> Any:
    """Convert settings for JSON; refuse other objects."""
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value)
    raise TypeError(f"setting {value!r} of type {type(value).__name__} cannot be saved")
