"""Data sets: the digits of scikit-learn, idx files such as MNIST's, a user's own arrays, and tables."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import sys
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factorgraph.files import DamagedFileError, read_npz

PARTS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
# Bytes of the unpacked files, and their md5: the packed ones differ from mirror to mirror.
BYTES = {"train_images": 47_040_016, "train_labels": 60_008, "test_images": 7_840_016, "test_labels": 10_008}
MD5 = {
    "mnist": {
        "train_images": "6bbc9ace898e44ae57da46a324031adb",
        "train_labels": "a25bea736e30d166cdddb491f175f624",
        "test_images": "2646ac647ad5339dbf082846283269ea",
        "test_labels": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train_images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train_labels": "9018921c3c673c538a1fc5bad174d6f9",
        "test_images": "8181f5470baa50b63fa0f6fddb340f0a",
        "test_labels": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
_TORCHVISION = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
MAX_BYTES = 1 << 31
NAMES = ("digits", *MD5)


class DatasetError(ValueError):
    """A data set cannot be found or read. The message names the file, the problem, and a remedy."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """
    A data set, split into training rows and test rows.

    Attributes
    ----------
    name : str
    X_train, X_test : (n, features) arrays
    y_train, y_test : (n,) arrays of labels
    features : list of str or None
        Names of the columns, if the data set is a table.
    """

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    features: list[str] | None = None


def hold_out(data: Dataset, rows: int) -> Dataset:
    """
    Hold out some training rows, and use them in place of the test rows. Settings are chosen on these, never on test rows.

    The same rows are held out at every call.
    """
    parts = split(data.X_train, data.y_train, rows, np.random.default_rng(0))
    return Dataset(f"{data.name}, held out", *parts, data.features)


def split(
    X: np.ndarray, y: np.ndarray, rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """
    Hold out this many random rows.

    Returns
    -------
    X and y of the rows that are kept, then X and y of the rows that are held out

    Raises
    ------
    ValueError
        No row would be held out, or no row would be left.
    """
    if not 0 < rows < len(X):
        raise ValueError(f"{rows} of {len(X)} training rows cannot be held out: hold out at least 1 row, and leave at least 1")
    order = rng.permutation(len(X))
    return X[order[rows:]], y[order[rows:]], X[order[:rows]], y[order[:rows]]


def stratified_rows(y: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """
    Hold out a fraction of the rows of each class.

    At least one row is held out in total, and never the only row of a class. A warning names classes of which no row is held
    out.

    Returns
    -------
    (n,) arrays of bool: rows that are kept, and rows that are held out

    Raises
    ------
    ValueError
        No class has two rows.
    """
    classes, counts = np.unique(y, return_counts=True)
    held = np.minimum(np.round(share * counts).astype(int), counts - 1)
    if not held.any():
        if counts.max() < 2:
            raise ValueError("no rows can be held out for early stopping: no class has two rows")
        held[np.argmax(counts)] = 1
    if (held == 0).any():
        unseen = classes[held == 0][:5].tolist()
        warnings.warn(
            f"classes {unseen} have too few rows to hold any out, so early stopping does not see these classes", stacklevel=3
        )
    chosen = [rng.permutation(np.flatnonzero(y == label))[:number] for label, number in zip(classes, held, strict=True)]
    out = np.zeros(len(y), dtype=np.bool_)
    out[np.concatenate(chosen)] = True
    return ~out, out


def load_dataset(name: str, folder: str | Path | None = None, target: str | None = None) -> Dataset:
    """
    Load a data set.

    Parameters
    ----------
    name : str
        One of the following:

        - ``"digits"``: 1797 hand-written digits of 8 x 8 pixels, which come with scikit-learn. A third is held out as test
          rows.
        - ``"mnist"`` or ``"fashion-mnist"``: read from idx or idx.gz files.
        - a path that ends in ``.npz``: a file with the arrays ``X_train``, ``y_train``, ``X_test``, ``y_test`` (or with a small
          x), or with ``X`` and ``y``, of which a third is held out.
        - a folder with the same arrays in files ``X_train.npy`` and so on. These are mapped into memory, not read.
        - a path that ends in ``.csv`` or ``.tsv``: a table with a header (needs pandas), of which a third is held out.
    folder : path, optional
        Folder of the idx files. Default: each folder in the environment variable ``NETS_DATA`` (a list of paths), the user's
        cache, and the system's share/datasets. In each of these, the folder itself, one with the data set's name, and
        torchvision's are searched.
    target : str, optional
        The column of a table that holds the labels.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        The name is unknown, files are not found (the message lists the places), or files are damaged.
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return hold_out_third(name, X, y)
    if name in MD5:
        return _load_idx_set(name, folder)
    if str(name).endswith(".npz") or Path(name).is_dir():
        return _load_arrays(Path(name))
    if Path(name).suffix in (".csv", ".tsv"):
        from nets.table_files import load_table

        return load_table(Path(name), target)
    raise DatasetError(
        f"unknown data set {name!r}; choose one of {NAMES}, a path that ends in .npz, .csv or .tsv, or a folder of .npy files"
    )


def hold_out_third(name: str, X: np.ndarray, y: np.ndarray) -> Dataset:
    """Use two thirds of the rows for training, always the same ones."""
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[: 2 * len(X) // 3], order[2 * len(X) // 3 :]
    return Dataset(name, X[train], y[train], X[test], y[test])


def load_rows(name: str | Path, folder: str | Path | None = None, features: Sequence[str] | None = None) -> np.ndarray:
    """
    Load rows to predict, ``(n, features)``.

    These are the array X of a ``.npz`` file that has nothing else, all rows of a table, or the test rows of a data set.
    Parameters and errors are those of `load_dataset`; ``features`` are the columns of a table to read.
    """
    if Path(name).suffix in (".csv", ".tsv"):
        from nets.table_files import load_columns

        return load_columns(Path(name), features)
    if str(name).endswith(".npz"):
        arrays = _read_arrays(Path(name))
        if set(arrays) == {"X"}:
            return arrays["X"]
    return load_dataset(str(name), folder).X_test


def _load_arrays(path: Path) -> Dataset:
    arrays = _read_arrays(path)
    for X, y in (("X_train", "y_train"), ("X_test", "y_test"), ("X", "y")):
        if X in arrays and (y not in arrays or len(arrays[X]) != len(arrays[y])):
            raise DatasetError(f"{path}: {X} needs a {y} of the same length")
    if "X_train" in arrays and "X_test" in arrays:
        return Dataset(path.stem, arrays["X_train"], arrays["y_train"], arrays["X_test"], arrays["y_test"])
    if "X" in arrays:
        return hold_out_third(path.stem, arrays["X"], arrays["y"])
    raise DatasetError(f"{path}: the file has arrays {sorted(arrays)}; expected X_train, y_train, X_test, y_test, or X and y")


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a user's own file or folder, with each row flattened."""
    arrays = _mapped_arrays(path) if path.is_dir() else _arrays_of_file(path)
    arrays = {key.replace("x", "X") if key.startswith("x") else key: array for key, array in arrays.items()}
    for name in ("X", "X_train", "X_test"):
        if name in arrays and (arrays[name].ndim < 1 or arrays[name].dtype.kind not in "biuf"):
            raise DatasetError(
                f"{path}: {name} should be rows of numbers, not {arrays[name].dtype} of shape {arrays[name].shape}"
            )
    for name in ("y", "y_train", "y_test"):
        if name in arrays and arrays[name].ndim != 1:
            raise DatasetError(f"{path}: {name} should have one label for each row, not the shape {arrays[name].shape}")
    flat = {key: array.reshape(len(array), math.prod(array.shape[1:])) for key, array in arrays.items() if key.startswith("X")}
    return arrays | flat


def _arrays_of_file(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (DamagedFileError, OSError) as error:
        raise DatasetError(str(error)) from error


def _mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays that stay in their files."""
    try:
        return {file.stem: np.load(file, mmap_mode="r") for file in sorted(path.glob("*.npy"))}
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: {error}") from error


# idx files.


def _load_idx_set(name: str, folder: str | Path | None) -> Dataset:
    arrays = {}
    for part in PARTS:
        path = _find(name, part, folder)
        arrays[part] = _read_idx(path, name, part)
    for kind in ("train", "test"):
        images, labels = arrays[f"{kind}_images"], arrays[f"{kind}_labels"]
        if len(images) != len(labels):
            raise DatasetError(f"{name}: {len(images)} {kind} images, but {len(labels)} labels")
    flat = {part: a.reshape(len(a), -1) for part, a in arrays.items() if part.endswith("images")}
    return Dataset(name, flat["train_images"], arrays["train_labels"], flat["test_images"], arrays["test_labels"])


def _folders(name: str, folder: str | Path | None) -> list[Path]:
    if folder is not None:
        roots = [Path(folder)]
    else:
        roots = [Path(entry) for entry in os.environ.get("NETS_DATA", "").split(os.pathsep) if entry]
        roots += [cache_folder(), Path(sys.prefix) / "share" / "datasets"]
        roots += [Path("/usr/local/share/datasets"), Path("/usr/share/datasets")]
    return [place for root in roots for place in (root / name, root / _TORCHVISION[name], root)]


def cache_folder() -> Path:
    """Folder for downloads: ``nets`` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nets"


def _find(name: str, part: str, folder: str | Path | None) -> Path:
    places = _folders(name, folder)
    for place in places:
        for suffix in ("", ".gz"):
            path = place / (PARTS[part] + suffix)
            if path.is_file():
                return path
    searched = "\n  ".join(str(place) for place in dict.fromkeys(places))
    raise DatasetError(
        f"{name}: no file {PARTS[part]} or {PARTS[part]}.gz in\n  {searched}\n"
        f"Give its folder (--data FOLDER, or the environment variable NETS_DATA), or download it: nets download {name}"
    )


def _read_idx(path: Path, name: str, part: str) -> np.ndarray:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            content = _read_content(file, path, 3 if part.endswith("images") else 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: the gzip file is damaged ({error}); download it again: nets download {name}") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if len(content) == BYTES[part] and hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[name][part]:
        raise DatasetError(
            f"{path}: its checksum is not that of {name}; it is damaged, or it belongs to another data set. "
            f"Download it again: nets download {name}"
        )
    dimensions = content[3]
    shape = tuple(int(n) for n in np.frombuffer(content, dtype=">u4", count=dimensions, offset=4))
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _read_content(file: io.BufferedIOBase, path: Path, dimensions: int) -> bytes:
    """Read the whole file, after its header has said how long it is. Never read more than that."""
    header = file.read(4 + 4 * dimensions)
    magic = bytes([0, 0, 8, dimensions])
    if len(header) >= 4 and header[:4] != magic:
        raise DatasetError(
            f"{path}: the file starts with {header[:4].hex()}, not with the magic number {magic.hex()} of this kind of idx file"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DatasetError(f"{path}: the file is truncated: it has {len(header)} bytes, fewer than an idx header")
    size = math.prod(int(n) for n in np.frombuffer(header, dtype=">u4", offset=4))
    if size > MAX_BYTES:
        raise DatasetError(f"{path}: its header claims {size:.3g} bytes of data; the file is damaged")
    body = file.read(size + 1)
    if len(body) != size:
        problem = "truncated" if len(body) < size else "too long"
        raise DatasetError(
            f"{path}: {problem}: its header says {size} bytes of data, but it has {'more' if len(body) > size else len(body)}"
        )
    return header + body
