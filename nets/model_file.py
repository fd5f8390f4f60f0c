"""Trained models as files: one ``.npz`` without pickle, written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.files import write_npz
from nets.encoding import Standardization, ThermometerCode

_FORMAT, _VERSION = "nets.BPClassifier", 3
_ENCODERS = {"Standardization": Standardization, "ThermometerCode": ThermometerCode}


def save_model(model: Any, path: str | Path) -> None:
    """
    Write a fitted `nets.BPClassifier`: settings, encoder, classes, history and the beliefs over all weights.

    And where there is one, the state of its run, to go on with: see `nets.fitting.Run.snapshot`.
    """
    if model.classes_.dtype == object:
        raise TypeError("classes of type object cannot be saved without pickle; use strings or numbers")
    params = model.get_params()
    if not isinstance(params["random_state"], (int, np.integer, type(None))):
        params["random_state"] = None  # a generator's state is no setting
    meta = {
        "format": _FORMAT,
        "version": _VERSION,
        "params": params,
        "encoder": type(model._encoder).__name__,
        "history": model.history_,
        "n_iter": model.n_iter_,
        "sizes": model._sizes,
        "rows": model._rows,
    }
    kept, meta["run"] = getattr(model, "_snapshot", ({}, None))
    arrays = {f"weights/{layer}": belief for layer, belief in enumerate(model.weight_beliefs_)}
    arrays |= {f"encoder/{name}": np.asarray(value) for name, value in vars(model._encoder).items()}
    arrays |= {f"mask/{layer}": mask for layer, mask in enumerate(model.masks_) if mask is not None}
    arrays |= {f"run/{name}": array for name, array in kept.items()}
    arrays["classes"] = model.classes_
    arrays["meta"] = np.frombuffer(json.dumps(meta, default=_plain).encode(), dtype=np.uint8)
    write_npz(path, arrays)


def load_model(model: Any, path: str | Path) -> None:
    """
    Fill a new `nets.BPClassifier` from a file of `save_model`.

    Raises
    ------
    ValueError
        The file is not a whole one of this kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            _check_members(file, path)
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        if meta["format"] != _FORMAT or meta["version"] != _VERSION:
            raise ValueError(f"it holds {meta['format']} version {meta['version']}")
        model.__init__(**meta["params"])
        layers = sum(name.startswith("weights/") for name in arrays)
        beliefs = [arrays[f"weights/{layer}"] for layer in range(layers)]
        settings = {name.split("/")[1]: array for name, array in arrays.items() if name.startswith("encoder/")}
        model._encoder = _ENCODERS[meta["encoder"]](**settings)
        model.classes_, model.weight_beliefs_ = arrays["classes"], beliefs
        model._sizes, model._rows = tuple(int(size) for size in meta["sizes"]), int(meta["rows"])
        model.masks_ = [arrays.get(f"mask/{layer}") for layer in range(layers)]
        model.history_, model.n_iter_ = meta["history"], meta["n_iter"]
        if meta.get("run") is not None:
            kept = {name.removeprefix("run/"): array for name, array in arrays.items() if name.startswith("run/")}
            model._snapshot = kept, meta["run"]
        model.n_features_in_ = model._encoder.features(model._sizes[0])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: not a model saved by BPClassifier ({error})") from error


def check_same_settings(saved: Any, asked: Any, path: str | Path) -> None:
    """
    Refuse to go on with a saved run under other settings than those asked for.

    Raises
    ------
    ValueError
        Names the settings that differ.
    """

    def settings(model: Any) -> dict[str, Any]:
        plain = json.loads(json.dumps(model.get_params(), default=_plain))  # tuples are lists in the file
        return {name: value for name, value in plain.items() if name != "verbose"}

    mine, theirs = settings(asked), settings(saved)
    differ = [f"{name} {theirs[name]!r}, not {mine[name]!r}" for name in mine if mine[name] != theirs[name]]
    if differ:
        raise ValueError(f"{path} holds a run with other settings: {'; '.join(differ)}. Give those, or another file")


def _plain(value: Any) -> Any:
    """Settings as JSON: NumPy scalars as numbers, arrays as lists."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"setting {value!r} of type {type(value).__name__} cannot be saved")


def _check_members(file: Any, path: str | Path) -> None:
    """Refuse a file whose arrays claim more bytes than it has."""
    size = Path(path).stat().st_size
    claimed = sum(entry.file_size for entry in file.zip.infolist())
    if claimed > size:
        raise ValueError(f"its arrays claim {claimed} bytes, the file has {size}")
