"""Constants and series of the elementary functions that ``elementary.cuh`` gives the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class _Format(NamedTuple):
    """A floating-point type in bits, and how long its series are."""

    bits: int
    mantissa: int
    bias: int
    exponential: int  # terms that suffice: the next one is below a quarter of the last place
    logarithm: int


_FORMATS = {"float32": _Format(32, 23, 127, 6, 4), "float64": _Format(64, 52, 1023, 12, 9)}


def horner(name: str, variable: str, coefficients: Sequence[float]) -> str:
    """A function in C++ that evaluates a polynomial, the constant first."""
    lines = [f"    T value = (T){coefficients[-1]!r};"]
    lines += [f"    value = value * {variable} + (T){c!r};" for c in coefficients[-2::-1]]
    return "\n".join([f"DEVICE T {name}(T {variable}) {{", *lines, "    return value;", "}\n"])


def elementary_constants(dtype: str) -> str:
    """What ``elementary.cuh`` needs to know of the type, and its two series."""
    kind = _FORMATS[dtype]
    whole = "int" if kind.bits == 32 else "long long"
    high = 2.0**-10 * round(math.log(2) * 2**10) if kind.bits == 32 else 2.0**-32 * round(math.log(2) * 2**32)
    low = _LOG_2_BEYOND[dtype]
    one = kind.bias << kind.mantissa
    root_half = one - (1 << kind.mantissa) + round((math.sqrt(2) - 1) * 2**kind.mantissa)  # sqrt(1/2) = 2^-1 sqrt(2)
    defined = {
        "MANTISSA_BITS": kind.mantissa,
        "EXPONENT_BIAS": kind.bias,
        "SIGN_BIT": f"((Bits)((UnsignedBits)1 << {kind.bits - 1}))",
        "MANTISSA_MASK": f"(((Bits)1 << {kind.mantissa}) - 1)",
        "ONE_BITS": f"(Bits){one}",
        "ROOT_HALF_BITS": f"(Bits){root_half}",
        "LOG_2_HIGH": repr(high),
        "LOG_2_LOW": repr(low),
        "LEAST_EXPONENT": repr(-104.0 if kind.bits == 32 else -746.0),
        "LARGEST_EXPONENT": repr(89.0 if kind.bits == 32 else 710.0),
        "LEAST_NORMAL": repr(2.0 ** (1 - kind.bias)),
    }
    lines = [f"typedef {whole} Bits;", f"typedef unsigned {whole} UnsignedBits;"]
    lines += [f"#define {name} {value}" for name, value in defined.items()]
    exponential = [1 / math.factorial(n + 2) for n in range(kind.exponential)]  # (exp(r) - 1 - r) / r^2
    logarithm = [2 / (2 * n + 3) for n in range(kind.logarithm)]  # (2 atanh(s) - 2 s) / s^3, in s^2
    lines += [horner("expm1_series", "r", exponential), horner("atanh_series", "z", logarithm)]
    return "\n".join(lines)


_LOG_2_BEYOND = {
    "float32": math.log(2) - 2.0**-10 * round(math.log(2) * 2**10),
    # log(2) - 2^-32 round(2^32 log(2)) with the digits that a double of log(2) has no room for
    "float64": (math.log(2) - 2.0**-32 * round(math.log(2) * 2**32)) + 2.3190468138462996e-17,
}
