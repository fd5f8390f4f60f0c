"""Bayesian networks in the Interchange Format (BIF)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from factorgraph.io.bayesian import BayesianNetwork
from factorgraph.io.model import Model
from factorgraph.io.scanner import Scanner, Token
from factorgraph.io.text import read_text, shown, whole

# Each alternative matches what it can in one go and never gives anything back, so that a text is scanned in linear time.
_TOKEN = re.compile(
    r"""(?P<skip>\s++|//[^\n]*+|/\*.*?\*/)
    |"(?P<quoted>[^"]*+)"
    |(?P<sign>[,;{}()|])
    |(?P<word>(?:[^\s,;{}()|"/]++|/(?![/*]))++)
    |(?P<wrong>.)""",
    re.DOTALL | re.VERBOSE,
)
# The most of a large file: rows and numbers with nothing that needs a closer look.
_ROW = re.compile(r"""\s*+\(([^;"/{}()|]*+)\)""")
_NUMBERS = re.compile(r"""([^;"/{}()|]*+);""")
_SIZE = re.compile(r"discrete\[([0-9]+)\]")


@dataclass
class _Rows:
    """The block of a variable's probabilities as it stands, since its variables may be declared after it."""

    start: int
    head: list[Token]
    label: str
    end: int = 0
    default: np.ndarray | None = None
    table: np.ndarray | None = None
    rows: list[tuple[int, list[list[str]], np.ndarray]] = field(default_factory=list)


def read_bif(path: str | Path, encoding: str = "utf-8") -> Model:
    """
    Read a Bayesian network: one table for each variable given its parents.

    The names and states of the model are those of the file, where they may be quoted. Probabilities are used as they are, even
    if they do not add up to 1. Blocks may come in any order. Commas, and the bar before the parents, may be replaced by blanks,
    as JavaBayes does.

    Parameters
    ----------
    path : str or Path
        The file. If its name ends in .gz, it is unpacked.
    encoding : str, default "utf-8"
        Encoding of the file.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated, it gives probabilities twice, or its variables are their own ancestors. The message
        names the line.
    """
    return _Parser(path, encoding).model()


class _Parser(Scanner):
    def __init__(self, path: str | Path, encoding: str) -> None:
        super().__init__(path, read_text(path, encoding), _TOKEN)
        self.blocks: list[_Rows] = []
        self.network = BayesianNetwork(self.error, len(self.text))
        self.states = self.network.states

    def model(self) -> Model:
        while (token := self.take()).kind != "end":
            if not token.is_word("network", "variable", "probability"):
                raise self.error(
                    token.place, f"'network', 'variable' or 'probability' with a brace should follow, not {shown(token.text)}"
                )
            head = []
            while not (part := self.take()).is_sign("{"):
                if part.kind == "end" or part.is_sign("}") or part.is_sign(";"):
                    raise self.error(token.place, f"the block of this {token.text!r} has no brace")
                head.append(part)
            if token.text == "network":
                for _ in self._statements(token.place, strict=False):
                    pass
            elif token.text == "variable":
                self._variable(head, token.place)
            else:
                self._probability(head, token.place)
        for block in self.blocks:
            self._resolve(block)
        return self.network.model(len(self.text))

    def _statements(self, start: int, strict: bool = True) -> Iterator[list[Token]]:
        """What is between semicolons, up to the brace that closes a block, which is passed over."""
        depth = 0
        found: list[Token] = []
        while not ((token := self.take()).is_sign("}") and depth == 0):
            if token.kind == "end":
                raise self.error(start, "the file ends inside of this block: its brace is not closed")
            if token.is_sign(";") and depth == 0:
                yield found
                found = []
                continue
            depth += token.is_sign("{") - token.is_sign("}")
            found.append(token)
        if found and strict:
            raise self.error(token.place, f"a ';' is missing after {shown(' '.join(t.text for t in found))}")

    def _groups(self, tokens: list[Token]) -> list[list[str]]:
        """The words between commas."""
        groups: list[list[str]] = [[]]
        for token in tokens:
            if token.is_sign(","):
                groups.append([])
            elif token.kind == "sign":
                raise self.error(token.place, f"{token.text!r} cannot be in a name that is not quoted")
            else:
                groups[-1].append(token.text)
        return groups

    def _names(self, tokens: list[Token], fit: Callable[[list[str]], bool]) -> list[str]:
        return _names_in(self._groups(tokens), fit)

    def _variable(self, head: list[Token], start: int) -> None:
        named = self._names(head, lambda names: len(names) == 1)
        if len(named) != 1:
            raise self.error(start, f"'variable' should have one name, not {shown(' '.join(token.text for token in head))}")
        name = named[0]
        states: list[str] | None = None
        for statement in self._statements(start):
            if not (statement and statement[0].is_word("type")):
                continue  # properties
            brace = next((i for i, token in enumerate(statement) if token.is_sign("{")), len(statement))
            match = _SIZE.fullmatch("".join(token.text for token in statement[1:brace]))
            if match is None or not statement[-1].is_sign("}") or states is not None:
                break
            states = self._states(name, statement[0].place, match.group(1), statement[brace + 1 : -1])
        else:
            if states is not None:
                self.network.add_variable(name, states, start)
                return
        raise self.error(start, f"variable {name!r} has no 'type discrete [ n ] {{ ... }};', or more than one")

    def _states(self, name: str, place: int, number: str, tokens: list[Token]) -> list[str]:
        try:
            size = whole(number)
        except ValueError:
            raise self.error(place, f"variable {name!r} cannot have {shown(number)} states") from None
        states = self._names(tokens, lambda names: len(names) == size)
        if len(states) != size or len(set(states)) != size or not states:
            raise self.error(place, f"variable {name!r} should have {size} different states, not {states[:9]}")
        return states

    def _probability(self, head: list[Token], start: int) -> None:
        if len(head) < 3 or not (head[0].is_sign("(") and head[-1].is_sign(")")):
            told = shown(" ".join(token.text for token in head))
            raise self.error(start, f"'probability ( variable | parents )' should be here, not {told}")
        bar = next((i for i, token in enumerate(head) if token.is_sign("|")), len(head) - 1)
        block = _Rows(start, head[1:-1], " ".join(token.text for token in head[1:bar]))
        while True:
            if match := _ROW.match(self.text, self.at):
                self.at = match.end()
                place, states = match.start(1), [words.split() for words in match.group(1).split(",")]
                block.rows.append((place, states, self._numbers(block, place)))
                continue
            if (first := self.take()).is_sign("}"):
                break
            if first.is_word("table", "default"):
                if getattr(block, first.text) is not None:
                    raise self.error(first.place, f"the {first.text!r} of {block.label!r} is given twice")
                setattr(block, first.text, self._numbers(block, first.place))
            elif first.is_sign("("):
                states = self._groups(self._up_to(")", start))
                block.rows.append((first.place, states, self._numbers(block, first.place)))
            elif first.is_word("property"):
                self._up_to(";", start)
            elif first.kind == "end":
                raise self.error(start, "the file ends inside of this block: its brace is not closed")
            else:
                raise self.error(first.place, f"a row of probabilities should be here, not {shown(first.text)}")
        block.end = first.place
        if block.table is not None and block.rows:
            raise self.error(block.rows[0][0], f"the probabilities of {block.label!r} are given twice: by a table and by rows")
        self.blocks.append(block)

    def _up_to(self, sign: str, start: int) -> list[Token]:
        found: list[Token] = []
        while not (token := self.take()).is_sign(sign):
            if token.kind == "end":
                raise self.error(start, "the file ends inside of this block: its brace is not closed")
            if token.is_sign("}") or token.is_sign(";"):
                raise self.error(token.place, f"a {sign!r} is missing after {shown(' '.join(t.text for t in found))}")
            found.append(token)
        return found

    def _numbers(self, block: _Rows, place: int) -> np.ndarray:
        """All numbers up to the next semicolon."""
        if match := _NUMBERS.match(self.text, self.at):
            self.at = match.end()
            words = match.group(1).replace(",", " ").split()
        else:
            words = [token.text for token in self._up_to(";", block.start) if not token.is_sign(",")]
        child = block.label
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            raise self.error(place, f"a probability of {child!r} is not a number: {shown(' '.join(words))}") from None
        if not (np.isfinite(values) & (values >= 0)).all():
            raise self.error(place, f"a probability of {child!r} is negative or not finite")
        return values

    def _resolve(self, block: _Rows) -> None:
        """A block's table, now that all variables are known."""
        bar = next((i for i, token in enumerate(block.head) if token.is_sign("|")), None)

        def declared(names: list[str]) -> bool:
            return all(name in self.states for name in names)

        names = self._names(block.head[:bar], declared)
        if not names or (bar is not None and len(names) > 1):
            raise self.error(block.start, f"one variable should come first in a block of probabilities, not {names[:9]}")
        if bar is not None:
            names += self._names(block.head[bar + 1 :], declared)
        child, parents = names[0], names[1:]
        number, size = self.network.add_scope(child, parents, block.start)
        self.network.add_table(child, self._table(block, child, parents, number, size), block.end)

    def _table(self, block: _Rows, child: str, parents: list[str], number: int, size: int) -> np.ndarray:
        """Parents' joint states, the last parent's changing fastest, by child's states: axes for all could be too many."""
        sizes = [len(self.states[parent]) for parent in parents]

        def checked(values: np.ndarray, count: int, place: int) -> np.ndarray:
            if values.size != count:
                raise self.error(place, f"{count} probabilities of {child!r} should be here, not {values.size}")
            return values

        table = np.full((number, size), np.nan)
        if block.table is not None:
            table = _whole_table(checked(block.table, number * size, block.end), number, size)
        positions = [{state: i for i, state in enumerate(self.states[parent])} for parent in parents]
        for place, states, values in block.rows:
            given = _names_in(states, lambda names: len(names) == len(parents))
            row = 0
            try:
                for position, states_of, state in zip(positions, sizes, given, strict=True):
                    row = row * states_of + position[state]
            except (KeyError, ValueError):
                raise self.error(place, f"{given[:9]} are not states of {child!r}'s parents {parents[:9]}") from None
            if not np.isnan(table[row, 0]):
                raise self.error(place, f"the row of {child!r} for {given[:9]} is given twice")
            table[row] = checked(values, size, place)
        if block.default is not None:
            table = np.where(np.isnan(table), checked(block.default, size, block.end), table)
        if np.isnan(table).any():
            row, missing = int(np.argmax(np.isnan(table[:, 0]))), []
            for parent, states_of in zip(reversed(parents), reversed(sizes), strict=True):
                row, state_of = divmod(row, states_of)
                missing.append(self.states[parent][state_of])
            raise self.error(block.end, f"{child!r} has no probabilities where its parents are {missing[::-1][:9]}")
        return table


def _names_in(groups: list[list[str]], fit: Callable[[list[str]], bool]) -> list[str]:
    """Names between commas and blanks; where these do not fit, between commas, with blanks inside of names."""
    names = [word for words in groups for word in words]
    return names if fit(names) else [" ".join(words) for words in groups if words]


def _whole_table(values: np.ndarray, number: int, size: int) -> np.ndarray:
    """
    A table listed at once: the child's states outermost, as the format says.

    Some writers list the child's states innermost; that is taken where only so they add up to 1.
    """
    outer, inner = values.reshape(size, number).T, values.reshape(number, size)
    gaps = [np.abs(table.sum(axis=-1) - 1.0).max() for table in (outer, inner)]
    return inner if gaps[1] < 0.01 < gaps[0] else outer
