"""Bayesian networks as their readers collect them: variables with named states, and a table for each given its parents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from factorgraph.io.model import Model
from factorgraph.io.text import FileFormatError, is_absurd, joint_states, shown_count


class BayesianNetwork:
    """
    The variables and tables of one file.

    A place is a position in the file's text, from which ``error`` makes the line of a message.

    Parameters
    ----------
    error : makes an error of a place and a message
    length : of the file in characters, to refuse tables that it cannot hold
    """

    def __init__(self, error: Callable[[int, str], FileFormatError], length: int) -> None:
        self.states: dict[str, list[str]] = {}
        self.parents: dict[str, list[str]] = {}
        self._tables: dict[str, np.ndarray] = {}
        self._places: dict[str, int] = {}
        self._entries = 0
        self._error = error
        self._length = length

    def add_variable(self, name: str, states: list[str], place: int) -> None:
        """Declare a variable."""
        if name in self.states:
            raise self._error(place, f"variable {name!r} is declared twice")
        if not states or len(set(states)) < len(states):
            raise self._error(
                place, f"variable {name!r} should have at least one state, and all states should differ, not {states[:9]}"
            )
        self.states[name] = states

    def add_scope(self, child: str, parents: list[str], place: int) -> tuple[int, int]:
        """Declare a variable's parents; returns the rows and the columns that its table will have."""
        names = [child, *parents]
        for name in names:
            if name not in self.states:
                raise self._error(place, f"no variable {name!r} is declared")
        if child in self.parents or len(set(names)) < len(names):
            raise self._error(place, f"the probabilities of {child!r} are given twice, or a variable occurs twice")
        entries = joint_states(len(self.states[name]) for name in names)
        self._entries += entries
        if is_absurd(self._entries, self._length):
            raise self._error(
                place, f"the table of {child!r} would have {shown_count(entries)} entries, too many for what is given"
            )
        self.parents[child], self._places[child] = parents, place
        size = len(self.states[child])
        return entries // size, size

    def add_table(self, child: str, table: np.ndarray, place: int) -> None:
        """Set a variable's table: a row for each joint state of its parents, of which the last parent's changes fastest."""
        if not (np.isfinite(table) & (table >= 0)).all():
            raise self._error(place, f"a probability of {child!r} is negative or not finite")
        if not table.any():
            raise self._error(place, f"all probabilities of {child!r} are 0")
        self._tables[child] = table

    def model(self, end: int) -> Model:
        """The model, once the file has been read up to its end."""
        missing = [name for name in self.states if name not in self._tables]
        if missing or not self.states:
            what = f"variable {missing[0]!r} has no probabilities" if missing else "it has no variables"
            raise self._error(end, f"the file ends, but {what}")
        self._refuse_cycles()
        names = list(self.states)
        number = {name: i for i, name in enumerate(names)}
        factors = [
            ([*(number[parent] for parent in self.parents[child]), number[child]], table)
            for child, table in self._tables.items()
        ]
        return Model.of_tables(
            [len(self.states[name]) for name in names], factors, names, [self.states[name] for name in names]
        )

    def _refuse_cycles(self) -> None:
        """Refuse variables that are their own ancestors: the tables would then be of no joint distribution."""
        waiting = {child: len(parents) for child, parents in self.parents.items()}
        children: dict[str, list[str]] = {name: [] for name in self.states}
        for child, parents in self.parents.items():
            for parent in parents:
                children[parent].append(child)
        free = [name for name, count in waiting.items() if count == 0]
        while free:
            name = free.pop()
            del waiting[name]
            for child in children[name]:
                waiting[child] -= 1
                if waiting[child] == 0:
                    free.append(child)
        if not waiting:
            return
        # Each that is left has a parent that is left, so that going up comes back to where it has been.
        seen: dict[str, int] = {}
        name = next(iter(waiting))
        while name not in seen:
            seen[name] = len(seen)
            name = next(parent for parent in self.parents[name] if parent in waiting)
        cycle = [name, *reversed(list(seen)[seen[name] :])]
        told = " -> ".join(map(repr, cycle if len(cycle) < 9 else [*cycle[:4], "...", *cycle[-4:]]))
        raise self._error(self._places[name], f"these variables are their own ancestors: {told}")
