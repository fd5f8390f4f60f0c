"""Kernels in C++, for GPUs; they also compile for the CPU, where the tests run them.

``prelude.cuh`` defines the dialect; ``elementwise.cu`` and ``reductions.cu`` hold the operations of
`factorgraph.backends.Backend`, under the same names.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from factorgraph.backends.base import LARGEST_PARAMETER
from factorgraph.backends.kernels.elementary import elementary_constants, horner
from factorgraph.backends.kernels.erfcx import ERFCX

LARGEST_GROUP = 64
"""Threads that a kernel takes together, at most: the prelude's ``LANES`` on a CPU."""

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
    return (
        f"typedef {'float' if dtype == 'float32' else 'double'} T;\n"
        f"#define IS_SINGLE {int(dtype == 'float32')}\n"
        f"#define LARGEST_PARAMETER {LARGEST_PARAMETER!r}\n"
        f"{text('prelude.cuh')}\n"
        f"#ifndef __CUDACC__\n{elementary_constants(dtype)}\n{text('elementary.cuh')}\n#endif\n"
        f"// exp(x^2) erfc(x) for x >= 0\n"
        f"{horner('erfcx_series', 't', coefficients)}"
        f"DEVICE T erfcx_of(T x) {{\n    const T scale = (T)1 / (x + (T){centre!r});\n"
        f"    return erfcx_series((T)1 - (T){2 * centre!r} * scale) * scale;\n}}\n"
        f"{text('elementwise.cu')}\n#ifndef __CUDACC__\n{text('lanes.cuh')}\n#endif\n"
    )
