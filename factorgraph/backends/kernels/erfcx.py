"""A short rational approximation of ``erfcx(x) = exp(x^2) erfc(x)`` for x >= 0, which array libraries evaluate in place.

With ``t = (x - c) / (x + c)``, which maps [0, inf) to [-1, 1), the function ``(x + c) erfcx(x)`` is smooth on the whole
interval. Below is its Chebyshev series in t, cut off and written in powers of t, computed with 50 digits (interpolation at 200
points). Relative errors, rounding included: 2.9e-7 in float32, 1.1e-15 in float64.
"""

from __future__ import annotations

ERFCX: dict[str, tuple[float, list[float]]] = {
    "float32": (
        2.0,
        [
            1.02158271,
            -0.687160637,
            0.279471467,
            -0.0364433389,
            -0.0215032524,
            0.00648690384,
            0.00305831432,
            -0.000861340977,
            -0.000598765424,
            7.32037539e-05,
            8.43223944e-05,
        ],
    ),
    "float64": (
        4.0,
        [
            1.095995661000491,
            -0.9765487290808824,
            0.7732087022652306,
            -0.5408538313131976,
            0.33085158787831587,
            -0.1740109372408923,
            0.07638151490371081,
            -0.026370053329181024,
            0.006112055708386392,
            -0.0002809589359391201,
            -0.00045505297165692805,
            0.00017681308065604066,
            -3.63420381494704e-06,
            -1.88614733789813e-05,
            4.6923839137547755e-06,
            1.4249464173303937e-06,
            -8.436516120563529e-07,
            -7.596899328663073e-08,
            1.2252882070658917e-07,
            8.238240855845592e-10,
            -1.5275288899967155e-08,
            2.654454508408666e-10,
            1.207381659418159e-09,
        ],
    ),
}
"""For each floating-point type the centre c and the coefficients in powers of t, the constant first."""
