"""Satisfiability problems in the DIMACS conjunctive normal form."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from factorgraph.factors import Or
from factorgraph.graph import FactorGraph
from factorgraph.io.model import Model
from factorgraph.io.text import FileFormatError, is_absurd, read_text, shown, whole
from factorgraph.variables import Spin


def read_dimacs(path: str | Path) -> Model:
    """
    Read a CNF: a graph of spins ``"x"`` (true is +1) and clauses, whose log-partition is the log of the number of solutions.

    Clauses of d literals are the block ``"clauses{d}"``. A literal given twice counts once; a clause that holds a
    variable and its negation is always true and left out. Names of variables are their numbers in the file, from 1.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated, or has an empty clause; the message has the line.
    """
    size = count = -1
    literals: list[int] = []
    clauses: dict[int, list[list[int]]] = {}
    found, number = 0, 0
    text = read_text(path)
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0] == "c":
            continue
        if words[0] == "%":  # some collections end so
            break
        if size < 0:
            try:
                if len(words) != 4 or words[:2] != ["p", "cnf"]:
                    raise ValueError("other words")
                size, count = whole(words[2]), whole(words[3])
            except ValueError:
                raise FileFormatError(
                    f"{path}, line {number}: 'p cnf VARIABLES CLAUSES' should come first, not {shown(line)}"
                ) from None
            if size < 1 or is_absurd(size, len(text)):
                raise FileFormatError(f"{path}, line {number}: {size} variables do not fit a file of this size")
            continue
        for word in words:
            try:
                literal = whole(word)
            except ValueError:
                raise FileFormatError(f"{path}, line {number}: a literal should be a whole number, not {shown(word)}") from None
            if abs(literal) > size:
                raise FileFormatError(f"{path}, line {number}: literal {literal} is of a variable above {size}")
            if literal:
                literals.append(literal)
                continue
            found += 1
            clause = sorted(set(literals), key=abs)
            if not clause:
                raise FileFormatError(f"{path}, line {number}: an empty clause, which nothing satisfies")
            if len({abs(other) for other in clause}) == len(clause):
                clauses.setdefault(len(clause), []).append(clause)
            literals = []
    if size < 0:
        raise FileFormatError(f"{path}, line {max(number, 1)}: the file ends before 'p cnf VARIABLES CLAUSES'")
    if literals or found != count:
        raise FileFormatError(f"{path}, line {number}: the file ends after {found} of {count} clauses")
    graph = FactorGraph()
    x = graph.add_variables("x", Spin(), size)
    for width in sorted(clauses):
        signed = np.array(clauses[width])
        graph.add_factors(f"clauses{width}", Or(np.sign(signed)), x[np.abs(signed) - 1])
    return Model(graph, [x], [str(variable) for variable in range(1, size + 1)], [["false", "true"]] * size)
