"""libDAI's factor graph files (.fg)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from factorgraph.io.model import Model
from factorgraph.io.text import Tokens, is_absurd, joint_states, read_text, shown_count


def read_libdai(path: str | Path, encoding: str = "utf-8") -> Model:
    """
    Read a libDAI model. It has sparse tables, in which the states of the first variable change fastest.

    The labels of the variables become their names, in increasing order.

    Parameters
    ----------
    path : str or Path
        The file. If its name ends in .gz, it is unpacked.
    encoding : str, default "utf-8"
        Encoding of the file.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated. The message names the line.
    """
    tokens = Tokens(path, read_text(path, encoding), comment="#")
    count = tokens.integer("the number of factors")
    tokens.expect(count, "a factor")
    raw = list(_factors(tokens, count))
    tokens.end()
    sizes: dict[int, int] = {}
    for shape, _ in raw:
        sizes.update(shape)
    if not sizes:
        raise tokens.error("the model has no variables")
    ordered = sorted(sizes)
    number = {label: v for v, label in enumerate(ordered)}
    factors = [([number[label] for label in shape], table) for shape, table in raw]
    return Model.of_tables([sizes[label] for label in ordered], factors, [str(label) for label in ordered])


def _factors(tokens: Tokens, count: int) -> Iterator[tuple[dict[int, int], np.ndarray]]:
    """Each factor's variables with their numbers of states, and its table, flat with the last variable's fastest."""
    known: dict[int, int] = {}
    total, words = 0, tokens.left
    for factor in range(count):
        width = tokens.integer(f"the number of variables of factor {factor}")
        labels = tokens.integers(width, f"a variable of factor {factor}").tolist()
        if len(set(labels)) < width:
            raise tokens.error(f"factor {factor} has a variable twice")
        sizes = tokens.integers(width, f"a number of states of factor {factor}", low=1).tolist()
        for label, states in zip(labels, sizes, strict=True):
            if known.setdefault(label, states) != states:
                raise tokens.error(f"variable {label} has {states} states here, but {known[label]} in a factor before")
        entries = joint_states(sizes)
        filled = tokens.integer(f"the number of entries of factor {factor}", high=entries)
        tokens.expect(2 * filled, "a place or a value")
        total += entries
        if is_absurd(total, words):
            raise tokens.error(
                f"the table of factor {factor} would have {shown_count(entries)} entries, of which only {filled} are given"
            )
        pairs = tokens.numbers(2 * filled, f"a place or a value of factor {factor}").reshape(-1, 2)
        places = np.minimum(pairs[:, 0], entries).astype(np.int64)  # what is above cannot always be cast
        good = np.zeros(filled, dtype=bool)
        good[np.unique(places, return_index=True)[1]] = True
        good &= (places == pairs[:, 0]) & (places < entries)
        if not good.all():
            raise tokens.error(
                f"the places of factor {factor} must be distinct whole numbers below {entries}",
                back=2 * (filled - int(np.argmin(good))),
            )
        if not pairs[:, 1].any():
            raise tokens.error(f"all entries of factor {factor} are 0, so that no state is possible")
        table = np.zeros(entries)
        table[places] = pairs[:, 1]
        yield dict(zip(labels, sizes, strict=True)), _last_fastest(table, sizes)


def _last_fastest(table: np.ndarray, sizes: list[int]) -> np.ndarray:
    """A flat table whose first variable's states change fastest, turned around; axes for all variables could be too many."""
    several = [states for states in sizes if states > 1]
    return table.reshape(several[::-1]).T.reshape(-1)
