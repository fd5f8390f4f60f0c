"""Kernels in C++, for GPUs; they also compile for the CPU, where the tests run them.

``prelude.cuh`` defines the dialect; ``elementwise.cu`` and ``reductions.cu`` hold the operations of
`factorgraph.backends.Backend`, under the same names.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from factorgraph.backends.base import LARGEST_PARAMETER
from factorgraph.backends.kernels.erfcx import ERFCX

_FOLDER = Path(__file__).parent
_MOST_ROUNDS = 16  # of a loop over a factor's edges that are written out


def unroll(rounds: int, most: int = _MOST_ROUNDS) -> str:
    """
    What stands before a loop of so many rounds, so that few are written out and many are not.

    Written out, a thread's arrays are registers; but the compiler takes minutes over hundreds of rounds, and no thread has as
    many registers.
    """
    return "#pragma unroll" if rounds <= most else "#pragma unroll 1"


@cache
def text(name: str) -> str:
    """A file of this folder."""
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def prelude(dtype: str) -> str:
    """What comes before every kernel: the type, the dialect, constants and the operations on single numbers."""
    centre, coefficients = ERFCX[dtype]
    horner = f"    T value = (T){coefficients[-1]!r};\n"
    horner += "".join(f"    value = value * t + (T){c!r};\n" for c in coefficients[-2::-1])
    return (
        f"typedef {'float' if dtype == 'float32' else 'double'} T;\n"
        f"#define LARGEST_PARAMETER {LARGEST_PARAMETER!r}\n"
        f"{text('prelude.cuh')}\n"
        f"// exp(x^2) erfc(x) for x >= 0\n"
        f"DEVICE T erfcx_of(T x) {{\n    const T scale = (T)1 / (x + (T){centre!r});\n"
        f"    const T t = (T)1 - (T){2 * centre!r} * scale;\n{horner}    return value * scale;\n}}\n"
        f"{text('elementwise.cu')}"
    )
