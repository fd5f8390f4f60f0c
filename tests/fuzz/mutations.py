"""Seeded mutations of files, of any format: what happens to files on their way, and what a hostile hand would write."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

Mutation = Callable[[bytes, random.Random], bytes]

_TOKEN = re.compile(rb"[A-Za-z0-9_.+-]+|[^\sA-Za-z0-9_.+-]")
_NUMBERS = [b"0", b"1", b"-1", b"2", b"1e308", b"1e-320", b"nan", b"inf", b"0x10", b"1_0", b"4294967296"]
_NUMBERS += [
    b"2147483647",
    b"9223372036854775807",
    b"9" * 30,
    b"9" * 400,
    b"1" * 5_000,
    b"0." + b"3" * 5_000,
    b"-" + b"7" * 5_000,
]
_BLANKS = [b" ", b"\n", b"\t", b"\r\n", b"\0", b"\xc2\xa0", b"\x0c"]
_SIGNS = [b'"', b"{", b"}", b"(", b")", b"[", b"]", b";", b",", b"|", b"#", b"%", b"//", b"/*", b"*/"]


def flip(data: bytes, rng: random.Random) -> bytes:
    """One bit is another."""
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """Some bytes in a row are random, or all one."""
    first, last = _span(data, rng, 16)
    length = last - first
    return data[:first] + rng.choice([rng.randbytes(length), b"\0" * length, b"\xff" * length]) + data[last:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Random bytes come between."""
    place = rng.randint(0, len(data))
    return data[:place] + rng.randbytes(rng.randint(1, 16)) + data[place:]


def delete(data: bytes, rng: random.Random) -> bytes:
    """Some bytes are missing."""
    first, last = _span(data, rng, 64)
    return data[:first] + data[last:]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Some bytes come twice, or many times."""
    first, last = _span(data, rng, 64)
    return data[:last] + data[first:last] * rng.choice([1, 1, 1, 2, 100]) + data[last:]


def truncate(data: bytes, rng: random.Random) -> bytes:
    """The end is missing, or now and then the beginning."""
    place = rng.randint(0, len(data))
    return data[place:] if rng.random() < 0.2 else data[:place]


def delete_token(data: bytes, rng: random.Random) -> bytes:
    """A word or sign is missing."""
    first, last = _token(data, rng)
    return data[:first] + data[last:]


def repeat_token(data: bytes, rng: random.Random) -> bytes:
    """A word or sign comes twice."""
    first, last = _token(data, rng)
    return data[:last] + b" " + data[first:last] + data[last:]


def swap_tokens(data: bytes, rng: random.Random) -> bytes:
    """Two words or signs have changed places."""
    (a, b), (c, d) = sorted([_token(data, rng), _token(data, rng)])
    return data if c < b else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def replace_token(data: bytes, rng: random.Random) -> bytes:
    """A word or sign is another one of the file."""
    (a, b), (c, d) = _token(data, rng), _token(data, rng)
    return data[:a] + data[c:d] + data[b:]


def replace_number(data: bytes, rng: random.Random) -> bytes:
    """A number is an unlikely one."""
    found = list(re.finditer(rb"[0-9][0-9.eE+-]*", data))
    if not found:
        return data
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(_NUMBERS) + data[match.end() :]


def add_blanks(data: bytes, rng: random.Random) -> bytes:
    """Blanks come between, at times very many."""
    place = rng.choice([*_token(data, rng), rng.randint(0, len(data))])
    return data[:place] + rng.choice(_BLANKS) * rng.choice([1, 1, 3, 1_000, 60_000]) + data[place:]


def add_sign(data: bytes, rng: random.Random) -> bytes:
    """A sign with a meaning comes between."""
    place = rng.choice([*_token(data, rng), rng.randint(0, len(data))])
    return data[:place] + rng.choice(_SIGNS) + data[place:]


BYTES: tuple[Mutation, ...] = (flip, overwrite, insert, delete, repeat, truncate)
"""Mutations that know nothing of the format: for binary files."""

TEXT: tuple[Mutation, ...] = (
    *BYTES,
    delete_token,
    repeat_token,
    swap_tokens,
    replace_token,
    replace_number,
    replace_number,
    add_blanks,
    add_sign,
)
"""Mutations for files of words and numbers."""


def mutants(seeds: Sequence[bytes], cases: int, name: str, mutations: Sequence[Mutation] = TEXT) -> Iterator[bytes]:
    """
    Mutants of small valid files, the same ones at every run.

    Parameters
    ----------
    seeds : the valid files
    cases : how many; the first ones do not depend on it
    name : of the sequence: others have other mutants
    mutations : to choose from
    """
    for case in range(cases):
        rng = random.Random(f"{name} {case}")
        data = rng.choice(seeds)
        for _ in range(rng.choice([1, 1, 1, 2, 2, 4, 8])):
            data = rng.choice(mutations)(data, rng)
        yield data


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail what takes longer, by far longer than it ever should: it would hang on a file only a little larger."""

    def fail(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _span(data: bytes, rng: random.Random, longest: int) -> tuple[int, int]:
    first = rng.randint(0, len(data))
    return first, min(len(data), first + rng.randint(1, longest))


def _token(data: bytes, rng: random.Random) -> tuple[int, int]:
    # From a random place on, so that long files need not be taken apart.
    match = _TOKEN.search(data, rng.randint(0, len(data))) or _TOKEN.search(data)
    return match.span() if match else (0, 0)
