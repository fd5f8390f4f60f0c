"""
Many small launches as one: a kernel of a single block that goes through them in order.

A launch takes a GPU some 2 microseconds however little it does; a block that waits for itself between two steps takes a
fraction of that.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

Kernel = tuple[str, str]
"""Source and name."""


@cache
def declarations(source: str, name: str) -> tuple[str, ...]:
    """Declarations of a kernel's parameters, the number of threads first."""
    found = re.search(rf"KERNEL {name}\(([^)]*)\)", source)
    if found is None:
        raise ValueError(f"the source has no 'KERNEL {name}(...)'")
    return tuple(" ".join(part.replace("RESTRICT", "").split()) for part in found[1].split(","))


def parameter_name(declaration: str) -> str:
    """The name in a declaration."""
    return re.sub(r".*\W", "", declaration)


@cache
def sequence_source(kernels: tuple[Kernel, ...]) -> str:
    """
    A kernel ``sequence`` that runs given ones one after the other.

    Its parameters are, after the number of threads, that of steps, for each step the position of its kernel among the given
    ones and of its arguments, and all arguments as `packed` gives them, both in 32-bit words.
    """
    texts, cases = [], []
    sources = list(dict.fromkeys(source for source, _ in kernels))
    for number, source in enumerate(sources):
        structures = []
        for position, (other, name) in enumerate(kernels):
            if other == source:
                members = " ".join(f"{declaration};" for declaration in declarations(source, name))
                structures.append(f"struct Arguments{position} {{ {members} }};")
                given = ", ".join(f"a.{parameter_name(declaration)}" for declaration in declarations(source, name))
                cases.append(
                    f"case {position}: {{ const auto &a = *(const kernels{number}::Arguments{position} *)(arguments + at); "
                    f"kernels{number}::{name}({given}); break; }}"
                )
        texts.append(f"namespace kernels{number} {{\n{source}\n{chr(10).join(structures)}\n}}")
    # What one step writes the next one reads: no array is read-only.
    return (
        "#undef KERNEL\n#define KERNEL DEVICE void\n#undef RESTRICT\n#define RESTRICT\n"
        + "\n".join(texts)
        + "\n#undef KERNEL\n#define KERNEL GLOBAL_KERNEL\n"
        + "KERNEL sequence(int count, int steps, const int *table, const int *arguments) {\n"
        + "for (int step = 0; step < steps; ++step) {\nconst int at = table[2 * step + 1];\nswitch (table[2 * step]) {\n"
        + "\n".join(cases)
        + "\n}\nEND_OF_STEP;\n}\n}\n"
    )


def packed(
    kernels: Sequence[Kernel], steps: Sequence[tuple[int, Sequence[Any]]], address: Callable[[Any], int], dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """
    Steps and their arguments as ``sequence`` reads them.

    Parameters
    ----------
    kernels : all that there are
    steps : for each its kernel's position and its arguments, the number of threads first
    address : of an array
    dtype : {"float32", "float64"}

    Returns
    -------
    table, arguments : arrays of int32
    """
    table, words = [], b""
    for position, arguments in steps:
        table += [position, len(words) // 4]
        kinds = ""
        for declaration in declarations(*kernels[position]):
            kinds += "P" if "*" in declaration else "i" if declaration.startswith("int") else "f" if dtype == "float32" else "d"
        values = [
            (0 if value is None else address(value)) if kind == "P" else value
            for kind, value in zip(kinds, arguments, strict=True)
        ]
        words += struct.pack(f"@{kinds}0Q", *values)  # as C lays a structure out, up to a multiple of 8 bytes
    return np.array(table, dtype=np.int32), np.frombuffer(words, dtype=np.int32)
