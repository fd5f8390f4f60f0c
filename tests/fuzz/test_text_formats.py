"""Mutants of text files: each is read, or refused with the file's name, and at once."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import factorgraph as fg
from tests.factorgraph.sample_files import FILES
from tests.factorgraph.test_io_faults import CHAIN, JAVA_BAYES
from tests.fuzz.mutations import BYTES, TEXT, mutants, within

MODEL = fg.Model.of_tables([2, 2, 3, 1], [([0, 1], [[1.0, 2.0], [3.0, 4.0]])])
SEEDS: dict[str, list[str]] = {
    **{ending: [text] for ending, text in FILES.items()},
    ".erg": [FILES[".uai"].removeprefix("MARKOV\n"), "2\n1 2\n2\n1 1\n2 0 1\n\n2\n0.5 0.5\n2\n1 1e-3\n"],
    ".evid": ["2 0 1 2 2", "2\n1 0 1\n2 0 0 2 1\n", "2\n1 0 0\n0\n"],
    ".MAR": ["MAR\n2 2 0.25 0.75 3 0.5 0.5 0.0\n", "PR\n-1.25\n", "MAP\n3 0 1 2\n"],
}
WIDE = f"34 {' '.join(map(str, range(34)))}"  # a factor of more variables than NumPy has axes
SEEDS[".bif"] += [JAVA_BAYES, CHAIN]
SEEDS[".fg"] += [f"1\n\n{WIDE}\n{'1 ' * 34}\n1\n0 0.5\n"]
SEEDS[".uai"] += ["BAYES\n2\n2 2\n3\n1 0\n2 0 1\n0\n2\n.2 .8\n4\n.1 .9 .5 .5\n1\n7.0\n"]
SEEDS[".uai"] += [f"MARKOV\n34\n{'1 ' * 34}\n1\n{WIDE}\n1 0.5\n"]
READERS: dict[str, Callable[[Path], Any]] = {
    ".evid": lambda path: fg.read_uai_evidence(path, MODEL),
    ".MAR": fg.read_uai_result,
}


def read_or_refuse(path: Path, read: Callable[[Path], Any], data: bytes, case: int) -> bool:
    """Whether a mutant is read."""
    path.write_bytes(data)
    told = str(path)
    try:
        with within(5.0):
            read(path)
        return True
    except fg.FileFormatError as error:
        told = str(error)
    except Exception as error:
        raise AssertionError(f"case {case} raises {type(error).__name__}: {error}\n{data[:2_000]!r}") from error
    assert told.startswith(f"{path}"), f"case {case} is refused without the file's name: {told}"
    return False


@pytest.mark.parametrize("ending", SEEDS)
def test_a_mutant_is_read_or_refused(ending: str, cases: int, tmp_path: Path) -> None:
    seeds = [text.encode() for text in SEEDS[ending]]
    read = READERS.get(ending, fg.read_model)
    found = [
        read_or_refuse(tmp_path / f"m{ending}", read, data, case) for case, data in enumerate(mutants(seeds, cases, ending))
    ]
    assert 0.02 * cases < sum(found) < 0.8 * cases  # the mutations are neither hopeless nor harmless


def test_a_mutant_of_a_packed_file_is_read_or_refused(cases: int, tmp_path: Path) -> None:
    seeds = [gzip.compress(FILES[".uai"].encode(), mtime=0), gzip.compress(b" " * 2**20, mtime=0)]
    for case, data in enumerate(mutants(seeds, cases, ".gz", BYTES)):
        read_or_refuse(tmp_path / "m.uai.gz", fg.read_model, data, case)


def test_mutants_are_the_same_at_every_run() -> None:
    seeds = [text.encode() for text in SEEDS[".bif"]]
    first = list(mutants(seeds, 50, "name"))
    assert first == list(mutants(seeds, 100, "name"))[:50]
    assert first != list(mutants(seeds, 50, "another"))
    assert len(set(first) - set(seeds)) > 40
    for mutation in (*BYTES, *TEXT):
        mutation(b"", random.Random(0))  # an earlier one can have deleted everything
