"""The UAI competitions' formats: models, evidence, and answers (MAR, PR, MAP)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.backends import HOST
from factorgraph.files import write_text
from factorgraph.graph import FactorGraph
from factorgraph.io.model import Model
from factorgraph.io.text import FileFormatError, Tokens, is_absurd, joint_states, read_text, shown, shown_count
from factorgraph.variables import DiscreteType


def read_uai(path: str | Path, encoding: str = "utf-8") -> Model:
    """
    Read a model: MARKOV or BAYES. Files without this header, as was usual until 2008 (.erg), are read as MARKOV.

    In a table, the states of a factor's last variable change fastest.

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
    tokens = Tokens(path, read_text(path, encoding))
    kind = tokens.peek("MARKOV or BAYES")
    if kind.upper() in ("MARKOV", "BAYES"):
        tokens.word("MARKOV or BAYES")
    elif not kind.isdecimal():
        raise tokens.error(f"a model begins with MARKOV or BAYES, or with the number of variables, not {shown(kind)}", back=0)
    number = tokens.integer("the number of variables", low=1)
    sizes = tokens.integers(number, "a number of states", low=1)
    if is_absurd(int(sizes.sum()), tokens.left):
        raise tokens.error(f"the variables have {sizes.sum()} states in all, too many for a file of this size")
    count = tokens.integer("the number of factors")
    tokens.expect(count, "a factor's variables")
    scopes = []
    for factor in range(count):
        width = tokens.integer(f"the number of variables of factor {factor}", high=number)
        scope = tokens.integers(width, f"a variable of factor {factor}", high=number - 1)
        if np.unique(scope).size < width:
            raise tokens.error(f"factor {factor} has a variable twice")
        scopes.append(scope)
    factors = []
    for factor, scope in enumerate(scopes):
        entries = joint_states(sizes[scope].tolist())
        stated = tokens.integer(f"the number of entries of factor {factor}", high=2**62)
        if stated != entries:
            raise tokens.error(
                f"factor {factor} has {stated} entries, but its variables have {shown_count(entries)} joint states"
            )
        values = tokens.numbers(entries, f"an entry of factor {factor}")
        if not values.any():
            raise tokens.error(f"all entries of factor {factor} are 0, so that no state is possible")
        factors.append((scope.tolist(), values))
    tokens.end()
    return Model.of_tables(sizes.tolist(), factors)


def read_uai_evidence(path: str | Path, model: Model | None = None) -> list[dict[int, int]]:
    """
    Read evidence in one of two forms: ``k v s v s ...``, or a line with the number of sets followed by sets of that form.

    If a file can be read in both forms, it has several sets if each set is on a line of its own.

    Parameters
    ----------
    path : str or Path
    model : Model, optional
        Model against which variables and states are checked.

    Returns
    -------
    list of dict
        One for each set of evidence: the position of the state of each observed variable.
    """
    text = read_text(path)
    tokens = Tokens(path, text)
    first = tokens.integer("the number of observed variables")
    lines = [line.split() for line in text.split("\n") if line.strip()]
    headed = len(lines[0]) == 1 and len(lines) > 1
    # By words alone, a set of two pairs is like two sets of which one is empty.
    single = tokens.left == 2 * first and not (headed and all(_is_set(words) for words in lines[1:]))
    if not single:
        tokens.expect(first, "a set of evidence")
    found = []
    for _ in range(1 if single else first):
        width = first if single else tokens.integer("the number of observed variables")
        pairs = tokens.integers(2 * width, "a variable or a state").reshape(-1, 2).tolist()
        evidence: dict[int, int] = {}
        for variable, state in pairs:
            if evidence.get(variable, state) != state:
                raise tokens.error(f"variable {variable} is observed in two states")
            evidence[variable] = state
            if model is not None:
                try:
                    model.state(variable, state)
                except (KeyError, ValueError) as error:
                    raise tokens.error(str(error.args[0])) from None
        found.append(evidence)
    tokens.end()
    return found


def _is_set(words: list[str]) -> bool:
    """Whether a line is a whole set of evidence."""
    return len(words) % 2 == 1 and words[0] == str(len(words) // 2)


def read_uai_result(path: str | Path) -> tuple[str, Any]:
    """
    Read an answer, or the answers to several sets of evidence: a line with their number, and then one line for each.

    Returns
    -------
    task : {"MAR", "PR", "MAP"}
    answer : list of arrays (marginals), the natural logarithm of the partition function, or an array of states
        For several sets, a list of these.
    """
    text = read_text(path)
    tokens = Tokens(path, text)
    task = tokens.word("MAR, PR or MAP").upper()
    if task not in ("MAR", "PR", "MAP", "MPE"):
        raise tokens.error(f"an answer begins with MAR, PR or MAP, not {shown(task)}")
    task = "MAP" if task == "MPE" else task
    lines = [line for line in text.split("\n") if line.strip()]
    number = lines[1].strip() if len(lines) > 2 and len(lines[0].split()) == 1 else ""
    if number.isdecimal() and number == str(len(lines) - 2):
        try:
            return task, _answer(tokens, task)  # one answer can be spread over lines, too
        except FileFormatError:
            tokens = Tokens(path, text)
            tokens.word(task)
            tokens.integer("the number of sets of evidence")
            answers = [_answer(tokens, task, last=False) for _ in range(len(lines) - 2)]
            tokens.end()
            return task, answers
    return task, _answer(tokens, task)


def _answer(tokens: Tokens, task: str, last: bool = True) -> Any:
    """One answer, which ends the file if it is the last."""
    if task == "MAR":
        marginals = []
        for variable in range(tokens.integer("the number of variables")):
            states = tokens.integer(f"the number of states of variable {variable}", low=1)
            marginals.append(tokens.numbers(states, f"a probability of variable {variable}"))
        answer: Any = marginals
    elif task == "PR":
        word = tokens.word("log10 of the partition function")
        try:
            answer = float(word) * math.log(10.0)
        except ValueError:
            raise tokens.error(f"log10 of the partition function should be a number, not {shown(word)}") from None
    else:
        answer = tokens.integers(tokens.integer("the number of variables"), "a state")
    if last:
        tokens.end()
    return answer


def write_uai(path: str | Path, model: Model | FactorGraph) -> None:
    """
    Write a graph of discrete variables as a MARKOV model. The file is written completely or not at all.

    Variables are numbered in the order of the model, or block by block for a graph alone. Priors become factors of one
    variable. Evidence is not part of the model: see `write_uai_evidence`.

    Raises
    ------
    TypeError
        A variable has no states, or a factor has no table.
    ValueError
        A potential is beyond floating-point numbers (the format has no logarithms).
    """
    graph, order = _numbering(model)
    lines = ["MARKOV", str(order.size), " ".join(map(str, _sizes(graph)[order])), ""]
    number = np.empty(order.size, dtype=np.int64)
    number[order] = np.arange(order.size)
    scopes, tables = [], []
    for scope, logs in _factors(graph):
        with np.errstate(over="ignore", under="ignore"):
            values = np.exp(logs)
        if np.isinf(values).any() or ((values < np.finfo(np.float64).tiny) & (logs > -np.inf)).any():
            raise ValueError("a potential is too large or too small to write; scale its factor")
        scopes.append(f"{scope.size} " + " ".join(map(str, number[scope])))
        tables.append(f"{values.size}\n" + " ".join(map(repr, values.ravel().tolist())))
    lines[3] = str(len(scopes))
    _write(path, [*lines, *scopes, "", *tables])


def write_uai_evidence(path: str | Path, evidence: Mapping[int, int]) -> None:
    """Write one set of evidence: the position of the state of each observed variable."""
    _write(path, [" ".join([str(len(evidence)), *(f"{variable} {state}" for variable, state in evidence.items())])])


def write_uai_result(path: str | Path, task: str, answer: Any) -> None:
    """
    Write an answer, or a list of answers to several sets of evidence. The file is written completely or not at all.

    Parameters
    ----------
    path : str or Path
    task : {"MAR", "PR", "MAP"}
    answer : as `read_uai_result` returns it
    """
    _write(path, format_uai_result(task, answer))


def format_uai_result(task: str, answer: Any) -> list[str]:
    """The lines of an answer's file."""
    # One answer to MAR is a list of vectors, to MAP a vector, to PR a number.
    depth = {"MAR": 2, "MAP": 1, "PR": 0}.get(task.upper(), 0)
    inner, levels = answer, 0
    while isinstance(inner, (list, tuple)) or (isinstance(inner, np.ndarray) and inner.ndim):
        if not len(inner):
            break
        inner, levels = inner[0], levels + 1
    if levels > depth:
        return [task.upper(), str(len(answer)), *(_line(task, one) for one in answer)]
    return [task.upper(), _line(task, answer)]


def _line(task: str, answer: Any) -> str:
    """One answer."""
    if task.upper() == "MAR":
        rows: Sequence[np.ndarray] = answer
        return " ".join([str(len(rows)), *(" ".join([str(len(p)), *map(repr, np.asarray(p).tolist())]) for p in rows)])
    if task.upper() == "PR":
        return repr(float(answer) / math.log(10.0))
    if task.upper() == "MAP":
        return " ".join(map(str, [len(answer), *np.asarray(answer).tolist()]))
    raise ValueError(f"task must be MAR, PR or MAP, not {task!r}")


def _write(path: str | Path, lines: list[str]) -> None:
    write_text(path, "\n".join(lines) + "\n")


def _numbering(model: Model | FactorGraph) -> tuple[FactorGraph, np.ndarray]:
    """The graph, and its node numbers in the file's order."""
    if isinstance(model, FactorGraph):
        return model, np.arange(model.num_variables)
    first = model.graph.first_nodes()
    return model.graph, np.array([first[model[v].name] + int(model[v].index) for v in range(len(model))], dtype=np.int64)


def _sizes(graph: FactorGraph) -> np.ndarray:
    sizes: list[int] = []
    for block in graph.variable_blocks.values():
        if not isinstance(block.type, DiscreteType):
            raise TypeError(f"variables {block.name!r} are {block.type!r}, which have no states to write")
        sizes += [len(block.type.states)] * block.size
    return np.array(sizes, dtype=np.int64)


def _factors(graph: FactorGraph) -> list[tuple[np.ndarray, np.ndarray]]:
    """Node numbers and log-table of each factor, priors first."""
    first = graph.first_nodes()
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for block in graph.variable_blocks.values():
        if block.prior is not None and isinstance(block.type, DiscreteType):
            weights = block.type.log_weights(np.moveaxis(block.prior, 0, -1), HOST).T
            found += [(np.array([first[block.name] + i]), weights[i]) for i in np.flatnonzero((weights != 0).any(axis=1))]
    for factors in graph.factor_blocks.values():
        if factors.is_block:
            raise TypeError(f"factors {factors.name!r} are a block factor, which has no table to write")
        nodes = factors.nodes(first)
        tables = factors.bound.enumerated()
        found += [(nodes[f], tables[..., min(f, tables.shape[-1] - 1)]) for f in range(factors.count)]
    return found
