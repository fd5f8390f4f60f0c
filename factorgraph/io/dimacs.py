"""Satisfiability problems in the DIMACS conjunctive normal form, with or without weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from factorgraph.factors import Cardinality, Or
from factorgraph.graph import FactorGraph
from factorgraph.io.model import Model
from factorgraph.io.text import FileFormatError, is_absurd, read_text, shown, whole
from factorgraph.semiring import LARGEST
from factorgraph.variables import Spin

_HARD = float("inf")


def read_dimacs(path: str | Path, encoding: str = "utf-8") -> Model:
    """
    Read a CNF as a graph of spins ``"x"`` (true is +1) and clauses. Its log-partition is the log of the number of solutions.

    Clauses of d literals are the block ``"clauses{d}"``. A literal that is given twice counts once. A clause with a variable
    and its negation is always true, and is left out. The names of the variables are their numbers in the file, from 1.

    Weighted problems (.wcnf) are read in two forms. With the header ``p wcnf VARIABLES CLAUSES TOP``, clauses of weight TOP or
    more are hard. Without a header, which is usual since 2022, hard clauses begin with ``h``. A soft clause of weight w
    multiplies the probability of states that violate it by exp(-w), so that a most probable state violates the least weight.
    Soft clauses of d literals are the block ``"soft{d}"``.

    Parameters
    ----------
    path : str or Path
        The file. If its name ends in .gz, it is unpacked.
    encoding : str, default "utf-8"
        Encoding of the file.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated, it has an empty clause, or a soft weight is above 1e6. The message names the line.
    """
    parser = _Parser(path, encoding)
    parser.read()
    graph = FactorGraph()
    size = max(parser.size, parser.largest)
    x = graph.add_variables("x", Spin(), size)
    for (width, soft), clauses in sorted(parser.clauses.items()):
        signed = np.array([clause for clause, _ in clauses])
        signs, variables = np.sign(signed), x[np.abs(signed) - 1]
        if soft:
            potentials = np.zeros((len(clauses), width + 1))
            potentials[:, 0] = [-weight for _, weight in clauses]
            graph.add_factors(f"soft{width}", Cardinality(potentials, signs), variables)
        else:
            graph.add_factors(f"clauses{width}", Or(signs), variables)
    return Model(graph, [x], [str(variable) for variable in range(1, size + 1)], [["false", "true"]] * size)


class _Parser:
    def __init__(self, path: str | Path, encoding: str) -> None:
        self.path = path
        self.text = read_text(path, encoding)
        self.size = self.count = -1  # as the header says
        self.top = _HARD
        self.weighted = self.headed = False
        self.largest = self.found = self.line = 0
        self.weight = _HARD
        self.begun = False  # a clause
        self.literals: list[int] = []
        self.clauses: dict[tuple[int, bool], list[tuple[list[int], float]]] = {}

    def error(self, message: str) -> FileFormatError:
        return FileFormatError(f"{self.path}, line {max(self.line, 1)}: {message}")

    def read(self) -> None:
        started = False
        for text in self.text.splitlines():
            self.line += 1
            words = text.split()
            if not words or words[0] == "c" or (words[0].startswith("c") and not started):
                continue
            if words[0] == "%":  # some collections end so
                break
            if not started:
                started = True
                if self._header(words, text):
                    continue
            for word in words:
                self._take(word)
        if not started:
            raise self.error("the file ends before 'p cnf VARIABLES CLAUSES'")
        if self.begun or (self.headed and self.found != self.count):
            of = f" of {self.count}" if self.headed else ""
            raise self.error(f"the file ends after {self.found}{of} clauses")
        if not self.headed and not self.largest:
            raise self.error("the file ends before any clause")

    def _header(self, words: list[str], text: str) -> bool:
        """Take the first line; False where it is a clause already."""
        ends_so = Path(self.path).name.lower().removesuffix(".gz").endswith(".wcnf")
        if words[0] == "h" or (ends_so and words[0] != "p"):
            self.weighted = True
            return False
        self.weighted = words[:2] == ["p", "wcnf"]
        try:
            if (words[:2] != ["p", "cnf"] and not self.weighted) or not 4 <= len(words) <= 4 + self.weighted:
                raise ValueError("other words")
            self.size, self.count = whole(words[2]), whole(words[3])
            self.top = float(whole(words[4])) if len(words) == 5 else _HARD
        except ValueError:
            raise self.error(
                "'p cnf VARIABLES CLAUSES' or 'p wcnf VARIABLES CLAUSES TOP' should come first, not " + shown(text)
            ) from None
        if self.size < 1 or is_absurd(self.size, len(self.text)):
            raise self.error(f"{self.size} variables do not fit a file of this size")
        self.headed = True
        return True

    def _take(self, word: str) -> None:
        if self.weighted and not self.begun:
            self.weight, self.begun = self._weight(word), True
            return
        try:
            literal = whole(word)
        except ValueError:
            raise self.error(f"a literal should be a whole number, not {shown(word)}") from None
        if self.headed and abs(literal) > self.size:
            raise self.error(f"literal {literal} has a variable above {self.size}")
        if literal:
            self.largest, self.begun = max(self.largest, abs(literal)), True
            if is_absurd(self.largest, len(self.text)):
                raise self.error(f"literal {literal} has a variable too high for a file of this size")
            self.literals.append(literal)
            return
        self.found += 1
        clause = sorted(set(self.literals), key=abs)
        soft = self.weight < _HARD
        if not clause:
            raise self.error(
                "an empty clause, which nothing satisfies" + (": it only adds a constant, so leave it out" if soft else "")
            )
        if len({abs(other) for other in clause}) == len(clause) and self.weight > 0:
            self.clauses.setdefault((len(clause), soft), []).append((clause, self.weight))
        self.literals, self.begun = [], False

    def _weight(self, word: str) -> float:
        if word == "h" and not self.headed:
            return _HARD
        try:
            weight = float(whole(word)) if word.lstrip("+-").isdecimal() else float(word)
        except ValueError:
            weight = -1.0
        if not 0.0 <= weight < _HARD:
            kind = "a number of at least 0" if self.headed else "'h' or a number of at least 0"
            raise self.error(f"the weight of a clause should be {kind}, not {shown(word)}")
        if weight >= self.top:
            return _HARD
        if weight > LARGEST:
            raise self.error(f"a soft clause has weight {weight:.6g}; at most {LARGEST:g} can be used: scale all weights")
        return weight
