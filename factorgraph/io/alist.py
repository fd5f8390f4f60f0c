"""Sparse parity-check matrices in MacKay's alist format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from factorgraph.factors import Parity
from factorgraph.graph import FactorGraph
from factorgraph.io.model import Model
from factorgraph.io.text import FileFormatError, read_text, shown, whole
from factorgraph.variables import Spin


def read_alist(path: str | Path, encoding: str = "utf-8") -> Model:
    """
    Read a parity-check matrix as a graph of spins ``"bits"`` (bit 0 is +1, bit 1 is -1) and parity checks.

    Checks of d bits are the block ``"checks{d}"``.

    Parameters
    ----------
    path : str or Path
        The file. If its name ends in .gz, it is unpacked.
    encoding : str, default "utf-8"
        Encoding of the file.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated, or its two lists disagree. The message names the line.
    """
    lines = [
        (number, line.split()) for number, line in enumerate(read_text(path, encoding).splitlines(), start=1) if line.strip()
    ]
    place = 0

    def row(what: str, length: int | None, high: int) -> list[int]:
        nonlocal place
        if place >= len(lines):
            raise FileFormatError(f"{path}, line {lines[-1][0] if lines else 1}: the file ends where {what} should be")
        number, words = lines[place]
        place += 1
        try:
            values = [whole(word) for word in words]
        except ValueError:
            raise FileFormatError(
                f"{path}, line {number}: {what} should be whole numbers, not {shown(' '.join(words))}"
            ) from None
        if length is not None and len(values) != length:
            raise FileFormatError(f"{path}, line {number}: {what} should be {length} numbers, not {len(values)}")
        if any(not 0 <= value <= high for value in values):
            raise FileFormatError(f"{path}, line {number}: {what} should be from 0 to {high}")
        return values

    def lists(degrees: list[int], what: str, high: int) -> list[list[int]]:
        found = []
        for degree in degrees:
            values = [value - 1 for value in row(what, None, high) if value]  # shorter lists are filled up with 0
            if len(values) != degree or len(set(values)) != degree:
                raise FileFormatError(
                    f"{path}, line {lines[place - 1][0]}: {what} should be {degree} different numbers, not {len(values)}"
                )
            found.append(values)
        return found

    bits, checks = row("the numbers of bits and checks", 2, 2**31)
    if not bits or not checks or bits + checks > 4 * sum(len(words) for _, words in lines):
        raise FileFormatError(f"{path}, line {lines[0][0]}: {bits} bits and {checks} checks do not fit a file of this size")
    largest = row("the largest degrees", 2, max(bits, checks))
    bit_degrees = row("the degrees of the bits", bits, largest[0])
    check_degrees = row("the degrees of the checks", checks, largest[1])
    of_bits = lists(bit_degrees, "the checks of a bit", checks)
    of_checks = lists(check_degrees, "the bits of a check", bits)
    if place < len(lines):
        raise FileFormatError(f"{path}, line {lines[place][0]}: the matrix is complete, but the file has more")
    pairs = {(bit, check) for bit, found in enumerate(of_bits) for check in found}
    if pairs != {(bit, check) for check, found in enumerate(of_checks) for bit in found}:
        raise FileFormatError(f"{path}, line {lines[-1][0]}: the lists of the bits and of the checks disagree")
    graph = FactorGraph()
    x = graph.add_variables("bits", Spin(), bits)
    like: dict[int, list[list[int]]] = {}
    for found in of_checks:
        like.setdefault(len(found), []).append(found)
    for degree in sorted(like.keys() - {0}):
        graph.add_factors(f"checks{degree}", Parity(), x[np.array(like[degree])])
    return Model(graph, [x], [str(bit) for bit in range(bits)], [["1", "0"]] * bits)
