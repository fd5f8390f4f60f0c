"""Tables in text files with a header: columns of numbers, and one column of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.files import DamagedFileError, require_file
from nets.datasets import Dataset, DatasetError, hold_out_third

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def load_table(path: Path, target: str | None) -> Dataset:
    """
    Load a table as a data set. A third of its rows is held out as test rows.

    Parameters
    ----------
    path : file that ends in .csv or .tsv, with a header
    target : name of the column of labels

    Raises
    ------
    DatasetError
        There is no such file or column, a column does not hold numbers, or values are missing.
    """
    frame = _read(path)
    if target is None:
        raise DatasetError(f"{path}: which column holds the labels? Add --target COLUMN, with one of {list(frame.columns)}")
    if target not in frame.columns:
        raise DatasetError(f"{path}: there is no column {target!r}; the columns are {list(frame.columns)}")
    labels = frame[target]
    if labels.isna().any():
        raise DatasetError(
            f"{path}: {int(labels.isna().sum())} rows have no value for {target!r}; drop these rows or fill in the values"
        )
    y = labels.to_numpy()
    y = y if y.dtype.kind in "biuf" else np.asarray([str(label) for label in y])
    features = [str(name) for name in frame.columns if name != target]
    data = hold_out_third(path.stem, _numbers(frame, features, path), y)
    return Dataset(data.name, data.X_train, data.y_train, data.X_test, data.y_test, features)


def load_columns(path: Path, features: Sequence[str] | None) -> np.ndarray:
    """
    Load rows of a table to predict: the columns that a model was trained on, by name and in its order. Others are ignored.
    """
    frame = _read(path)
    if features is None:
        raise DatasetError(f"{path}: the model was not trained on named columns; give it the rows as a path.npz with X")
    missing = [name for name in features if name not in frame.columns]
    if missing:
        raise DatasetError(f"{path}: columns {missing} are missing; the model was trained on them")
    return _numbers(frame, features, path)


def named(X: np.ndarray, features: Sequence[str] | None) -> Any:
    """Rows with the names of their columns, if the columns have names."""
    return X if features is None else _pandas().DataFrame(X, columns=list(features))


def _read(path: Path) -> Any:
    pandas = _pandas()
    try:
        require_file(path)
        frame = pandas.read_csv(path, sep=SEPARATORS[path.suffix], skipinitialspace=True)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: the file is not text in UTF-8 ({error}); save it as UTF-8") from error
    except (DamagedFileError, OSError, ValueError, MemoryError) as error:  # pandas' own errors are ValueErrors
        raise DatasetError(f"{path}: the file is not a table with a header ({error})") from error
    frame.columns = [str(name) for name in frame.columns]
    if not len(frame):
        raise DatasetError(f"{path}: the table has a header, but no rows")
    return frame


def _numbers(frame: Any, features: Sequence[str], path: Path) -> np.ndarray:
    if not features:
        raise DatasetError(f"{path}: the table has no other column to learn from")
    texts = [name for name in features if frame[name].dtype.kind not in "biuf"]
    if texts:
        example = frame[texts[0]].dropna().astype(str).unique()[:3].tolist()
        raise DatasetError(
            f"{path}: columns {texts} are not numbers (in {texts[0]!r}: {example}). Leave them out, or make a column of 0 "
            "and 1 for each category, with pandas.get_dummies or scikit-learn's OneHotEncoder"
        )
    missing = {name: int(count) for name in features if (count := frame[name].isna().sum())}
    if missing:
        raise DatasetError(
            f"{path}: values are missing in {missing} (number of rows for each column). Fill them in, for example with "
            "scikit-learn's SimpleImputer, or drop these rows"
        )
    return np.ascontiguousarray(frame[list(features)].to_numpy(dtype=np.float64))


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise DatasetError("tables need pandas: pip install pandas") from error
    return pandas
