"""Bayesian networks in the Interchange Format (BIF)."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from factorgraph.io.model import Model
from factorgraph.io.text import FileFormatError, is_absurd, joint_states, read_text, shown_count

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BLOCK = re.compile(r"\s*(network|variable|probability)\b\s*([^{]*)\{", re.DOTALL)
_TYPE = re.compile(r"\s*type\s+discrete\s*\[\s*(\d+)\s*\]\s*\{([^}]*)\}\s*;", re.DOTALL)
_ROW = re.compile(r"\s*(?:\(([^)]*)\)|(table\b|default\b))\s*(.*)", re.DOTALL)


def read_bif(path: str | Path) -> Model:
    """
    Read a Bayesian network: one table for each variable given its parents.

    The model's names and states are those of the file. Probabilities are taken as they are, whether or not they add up to 1.

    Raises
    ------
    FileFormatError
        The file is malformed or truncated; the message has the line.
    """
    return _Parser(path).model()


class _Parser:
    def __init__(self, path: str | Path) -> None:
        self.path = path
        # Comments become as many line ends, so that lines keep their numbers.
        self.text = _COMMENT.sub(lambda match: "\n" * match.group().count("\n"), read_text(path))
        self.states: dict[str, list[str]] = {}
        self.factors: dict[str, tuple[list[str], np.ndarray]] = {}

    def error(self, place: int, message: str) -> FileFormatError:
        line = self.text.count("\n", 0, place) + 1
        return FileFormatError(f"{self.path}, line {line}: {message}")

    def model(self) -> Model:
        place = 0
        while self.text[place:].strip() if len(self.text) - place < 100 else True:
            match = _BLOCK.match(self.text, place)
            if match is None:
                start = place + len(self.text[place:]) - len(self.text[place:].lstrip())
                found = self.text[start : start + 40].split("\n")[0]
                raise self.error(start, f"'network', 'variable' or 'probability' with a brace should follow, not {found!r}")
            kind, head = match.group(1), match.group(2).strip()
            place = {"network": self._network, "variable": self._variable, "probability": self._probability}[kind](
                head, match.start(1), match.end()
            )
        missing = [name for name in self.states if name not in self.factors]
        if missing or not self.states:
            what = f"variable {missing[0]!r} has no probabilities" if missing else "it has no variables"
            raise self.error(len(self.text), f"the file ends, but {what}")
        names = list(self.states)
        number = {name: i for i, name in enumerate(names)}
        factors = [([number[name] for name in scope], table) for scope, table in self.factors.values()]
        return Model.of_tables(
            [len(self.states[name]) for name in names], factors, names, [self.states[name] for name in names]
        )

    def _end(self, start: int, place: int) -> int:
        """After the brace that closes the block whose inside begins at ``place``."""
        depth = 1
        for match in re.compile(r"[{}]").finditer(self.text, place):
            depth += 1 if match.group() == "{" else -1
            if depth == 0:
                return match.end()
        raise self.error(start, "the file ends inside of this block: its brace is not closed")

    def _network(self, head: str, start: int, place: int) -> int:
        return self._end(start, place)

    def _variable(self, head: str, start: int, place: int) -> int:
        name = _unquoted(head)
        end = self._end(start, place)
        match = _TYPE.search(self.text, place, end)
        if match is None:
            raise self.error(start, f"variable {name!r} has no 'type discrete [ n ] {{ ... }};'")
        states = [_unquoted(word) for word in match.group(2).split(",") if word.strip()]
        if len(match.group(1)) > 40 or len(states) != int(match.group(1)) or len(set(states)) != len(states) or not states:
            raise self.error(
                match.start(1), f"variable {name!r} should have {match.group(1)[:40]} different states, not {states[:9]}"
            )
        if name in self.states:
            raise self.error(start, f"variable {name!r} is declared twice")
        self.states[name] = states
        return end

    def _probability(self, head: str, start: int, place: int) -> int:
        inner = head.strip()
        if not (inner.startswith("(") and inner.endswith(")")):
            raise self.error(start, f"'probability ( variable | parents )' should be here, not {head[:40]!r}")
        child_text, _, parent_text = inner[1:-1].partition("|")
        child = _unquoted(child_text)
        parents = [_unquoted(word) for word in parent_text.split(",") if word.strip()]
        for name in (child, *parents):
            if name not in self.states:
                raise self.error(start, f"no variable {name!r} is declared")
        if child in self.factors or len({child, *parents}) <= len(parents):
            raise self.error(start, f"the probabilities of {child!r} are given twice, or a variable comes twice")
        end = self.text.find("}", place)
        if end < 0:
            raise self.error(start, "the file ends inside of this block: its brace is not closed")
        sizes = [len(self.states[name]) for name in (*parents, child)]
        entries = joint_states(sizes)
        if is_absurd(entries, end - place):
            raise self.error(
                start, f"the table of {child!r} would have {shown_count(entries)} entries, too many for what is given"
            )
        self.factors[child] = ([*parents, child], self._table(child, parents, sizes, place, end))
        return end + 1

    def _table(self, child: str, parents: list[str], sizes: list[int], place: int, end: int) -> np.ndarray:
        table = np.full(sizes, np.nan)
        positions = [{state: i for i, state in enumerate(self.states[parent])} for parent in parents]
        default: np.ndarray | None = None
        while (stop := self.text.find(";", place, end)) >= 0:
            statement = self.text[place:stop]
            match = _ROW.match(statement)
            if match is None:
                if not statement.strip().startswith("property"):
                    raise self.error(stop, f"a row of probabilities should be here, not {statement.strip()[:40]!r}")
            elif match.group(2) == "table":
                table = self._whole(self._numbers(match.group(3), math.prod(sizes), child, stop), sizes)
            elif match.group(2) == "default":
                default = self._numbers(match.group(3), sizes[-1], child, stop)
            else:
                given = [_unquoted(word) for word in match.group(1).split(",")]
                try:
                    row = tuple(position[state] for position, state in zip(positions, given, strict=True))
                except (KeyError, ValueError):
                    raise self.error(stop, f"{given} are not states of {child!r}'s parents {parents}") from None
                table[row] = self._numbers(match.group(3), sizes[-1], child, stop)
            place = stop + 1
        if self.text[place:end].strip():
            raise self.error(end, f"a ';' is missing after {self.text[place:end].strip()[:40]!r}")
        if default is not None:
            table = np.where(np.isnan(table), default, table)
        if np.isnan(table).any():
            row = tuple(int(i) for i in np.argwhere(np.isnan(table))[0][:-1])
            states = [self.states[parent][i] for parent, i in zip(parents, row, strict=True)]
            raise self.error(end, f"{child!r} has no probabilities where its parents are {states}")
        if not table.any():
            raise self.error(end, f"all probabilities of {child!r} are 0")
        return table

    def _numbers(self, text: str, count: int, child: str, place: int) -> np.ndarray:
        words = text.replace(",", " ").split()
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            raise self.error(place, f"a probability of {child!r} is not a number: {text.strip()[:40]!r}") from None
        if values.size != count:
            raise self.error(place, f"{count} probabilities of {child!r} should be here, not {values.size}")
        if not (np.isfinite(values) & (values >= 0)).all():
            raise self.error(place, f"a probability of {child!r} is negative or not finite")
        return values

    @staticmethod
    def _whole(values: np.ndarray, sizes: list[int]) -> np.ndarray:
        """
        A table listed at once: the child's states outermost, as the format says.

        Some writers list the child's states innermost; that is taken where only so they add up to 1.
        """
        outer = np.moveaxis(values.reshape(sizes[-1], *sizes[:-1]), 0, -1)
        inner = values.reshape(sizes)
        gaps = [np.abs(table.sum(axis=-1) - 1.0).max() for table in (outer, inner)]
        return inner if gaps[1] < 0.01 < gaps[0] else outer


def _unquoted(word: str) -> str:
    return word.strip().strip('"')
