"""Marginals with names, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph.blocks import Variables


def marginal_table(variables: Variables, marginals: np.ndarray) -> Any:
    """
    The marginals of variables, a row for each and a column for each state: see `Result.table`.

    Raises
    ------
    ValueError
        The marginals are of several sets of evidence.
    """
    columns = variables.type.marginal_names()
    if marginals.size != variables.size * len(columns):
        raise ValueError("a table shows one set of evidence: use marginals for a batch")
    places = [np.unravel_index(int(place), variables.block.shape) for place in variables.index.reshape(-1)]
    rows = [variables.name + (f"[{', '.join(str(int(i)) for i in place)}]" if place else "") for place in places]
    return named_table(rows, columns, marginals.reshape(len(rows), len(columns)))


def named_table(rows: Sequence[str], columns: Sequence[Any], numbers: np.ndarray) -> Any:
    """A pandas DataFrame where pandas is installed, else text in columns."""
    try:
        import pandas
    except ImportError:
        cells = [["", *map(str, columns)]]
        cells += [[row, *(f"{number:.4f}" for number in line)] for row, line in zip(rows, numbers, strict=True)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns) + 1)]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
            for line in cells
        )
    return pandas.DataFrame(numbers, index=list(rows), columns=list(columns))
