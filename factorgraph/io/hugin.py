"""Bayesian networks in HUGIN's .net format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from factorgraph.io.bayesian import BayesianNetwork
from factorgraph.io.model import Model
from factorgraph.io.scanner import Scanner, Token
from factorgraph.io.text import read_text, shown

_TOKEN = re.compile(
    r"""(?P<skip>\s++|%[^\n]*+)
    |"(?P<quoted>(?:[^"\\]++|\\.)*+)"
    |(?P<sign>[;{}()|=])
    |(?P<word>[^\s;{}()|="%]++)
    |(?P<wrong>.)""",
    re.DOTALL | re.VERBOSE,
)
_NUMBERS = re.compile(r"[\s()]*+(?:[-+.0-9eE]++[\s()]*+)*+")  # the bulk of a large file
_OTHER_NODES = ("continuous", "decision", "utility", "function")


class _Potential(NamedTuple):
    place: int
    child: str
    parents: list[str]
    values: np.ndarray | None


def read_hugin(path: str | Path, encoding: str = "utf-8") -> Model:
    """
    Read a Bayesian network from a .net file: nodes with named states, and a potential for each node given its parents.

    The table of ``potential (a | b c)`` has the states of b as its first axis, then those of c, and then those of a, which
    change fastest. If a potential has no data, it is uniform. Labels, positions and other attributes are ignored.

    Parameters
    ----------
    path : str or Path
        The file. If its name ends in .gz, it is unpacked.
    encoding : str, default "utf-8"
        Encoding of the file.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated, it has nodes that are not discrete variables or tables that are expressions, it
        gives probabilities twice, or its variables are their own ancestors. The message names the line.
    """
    return _Parser(path, encoding).model()


class _Parser(Scanner):
    def __init__(self, path: str | Path, encoding: str) -> None:
        super().__init__(path, read_text(path, encoding), _TOKEN)
        self.network = BayesianNetwork(self.error, len(self.text))

    def _expect(self, sign: str, after: str) -> None:
        token = self.take()
        if not token.is_sign(sign):
            raise self.error(token.place, f"{sign!r} should follow after {after}, not {shown(token.text)}")

    def model(self) -> Model:
        potentials = []
        while (token := self.take()).kind != "end":
            if token.is_word("discrete", "chance"):
                following = self.take()
                if following.text != "node":
                    raise self.error(token.place, f"{token.text!r} should be followed by 'node', not {shown(following.text)}")
                self._node(token.place)
            elif token.is_word("node"):
                self._node(token.place)
            elif token.is_word("net"):
                self._expect("{", "'net'")
                self._attributes(token.place)
            elif token.is_word("class"):
                raise self.error(token.place, "classes of nodes cannot be read, only plain networks")
            elif token.is_word("potential"):
                potentials.append(self._potential(token.place))
            elif token.is_word(*_OTHER_NODES):
                raise self.error(token.place, f"a {token.text} node cannot be read, only discrete variables with probabilities")
            else:
                raise self.error(token.place, f"'net', 'node' or 'potential' should follow, not {shown(token.text)}")
        for place, child, parents, values in potentials:
            rows, columns = self.network.add_scope(child, parents, place)
            if values is None:
                values = np.full(rows * columns, 1.0 / columns)
            if values.size != rows * columns:
                raise self.error(place, f"{rows * columns} probabilities of {child!r} should be here, not {values.size}")
            self.network.add_table(child, values.reshape(rows, columns), place)
        return self.network.model(len(self.text))

    def _node(self, place: int) -> None:
        name = self.take()
        if name.kind not in ("word", "quoted"):
            raise self.error(name.place, f"the name of a node should be here, not {shown(name.text)}")
        self._expect("{", f"node {name.text!r}")
        found = self._attributes(place).get("states")
        if found is None or not (found[0].is_sign("(") and found[-1].is_sign(")")):
            raise self.error(place, f"node {name.text!r} has no 'states = ( ... );'")
        states = found[1:-1]
        if any(token.kind == "sign" for token in states):
            raise self.error(place, f"the states of node {name.text!r} should be names in one pair of parentheses")
        self.network.add_variable(name.text, [token.text for token in states], place)

    def _attributes(self, start: int) -> dict[str, list[Token]]:
        """What is assigned between braces, up to the closing one."""
        found: dict[str, list[Token]] = {}
        while not (name := self.take()).is_sign("}"):
            if name.kind == "end":
                raise self.error(start, "the file ends inside of this block: its brace is not closed")
            if name.kind != "word":
                raise self.error(name.place, f"the name of an attribute should be here, not {shown(name.text)}")
            self._expect("=", repr(name.text))
            value: list[Token] = []
            while not (token := self.take()).is_sign(";"):
                if token.kind == "end" or token.is_sign("}"):
                    raise self.error(name.place, f"a ';' is missing after the value of {name.text!r}")
                value.append(token)
            if not value or name.text in found:
                raise self.error(name.place, f"{name.text!r} is given twice, or without a value")
            found[name.text] = value
        return found

    def _potential(self, place: int) -> _Potential:
        self._expect("(", "'potential'")
        sides: list[list[str]] = [[]]
        while not (token := self.take()).is_sign(")"):
            if token.is_sign("|") and len(sides) == 1:
                sides.append([])
            elif token.kind in ("word", "quoted"):
                sides[-1].append(token.text)
            else:
                raise self.error(place, f"'potential ( variable | parents )' should be here; {shown(token.text)} does not fit")
        if len(sides[0]) != 1:
            raise self.error(place, f"one variable should come first in a potential, not {sides[0][:9]}")
        child, parents = sides[0][0], sides[1] if len(sides) > 1 else []
        self._expect("{", f"the head of the potential of {child!r}")
        values = None
        while not (name := self.take()).is_sign("}"):
            self._expect("=", repr(name.text))
            if name.text == "data":
                if values is not None:
                    raise self.error(name.place, f"the data of {child!r} are given twice")
                values = self._data(child, name.place)
            elif name.text == "model_data":
                raise self.error(name.place, f"the table of {child!r} is given as an expression; write out its data")
            else:
                while not (token := self.take()).is_sign(";"):
                    if token.kind == "end":
                        raise self.error(place, "the file ends inside of this block: its brace is not closed")
        return _Potential(place, child, parents, values)

    def _data(self, child: str, place: int) -> np.ndarray:
        """All numbers up to the next semicolon; their parentheses only show what the order says."""
        words: list[str] = []
        while True:
            match = _NUMBERS.match(self.text, self.at)
            if match is not None and match.end() > self.at:
                words += match.group().replace("(", " ").replace(")", " ").split()
                self.at = match.end()
            token = self.take()
            if token.is_sign(";"):
                break
            if token.kind == "end" or token.is_sign("}"):
                raise self.error(place, f"a ';' is missing after the data of {child!r}")
            if not (token.is_sign("(") or token.is_sign(")")):
                words.append(token.text)
        try:
            return np.array(words, dtype=np.float64)
        except ValueError:
            raise self.error(place, f"a probability of {child!r} is not a number: {shown(' '.join(words))}") from None
