"""What the channels' formulas have in common: constants, their kernels, and ratios of normal tails."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from factorgraph import Backend
from factorgraph.backends import Array, device_function

SQRT_HALF = float(np.sqrt(0.5))
INVERSE_SQRT_2_PI = float(1 / np.sqrt(2 * np.pi))
# atanh(erf(a)) = a (c_1 + c_3 a^2) + O(2e-4 a^5), used below the second number, where its logarithmic form cancels.
SLOPE = float(2 / np.sqrt(np.pi))
CUBIC = (SLOPE**3 - SLOPE) / 3
NEAR_ZERO = {"float32": 0.25, "float64": 0.003}
LARGEST_FIELD = 1e30
_NODES = np.polynomial.hermite_e.hermegauss(24)
POINTS, WEIGHTS = _NODES[0].tolist(), (_NODES[1] / _NODES[1].sum()).tolist()


def _device_source() -> str:
    """The same functions as kernels, with the same constants."""
    near = "(sizeof(T) == 4 ? {float32!r} : {float64!r})".format(**NEAR_ZERO)
    constants = {
        "SQRT_HALF": SQRT_HALF,
        "INVERSE_SQRT_2_PI": INVERSE_SQRT_2_PI,
        "SLOPE": SLOPE,
        "CUBIC": CUBIC,
        "NEAR_ZERO": near,
        "LARGEST_FIELD": LARGEST_FIELD,
        "POINTS": ", ".join(f"(T){x!r}" for x in POINTS),
        "WEIGHTS": ", ".join(f"(T){x!r}" for x in WEIGHTS),
    }
    defines = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    return defines + Path(__file__).with_name("channels.cu").read_text(encoding="utf-8")


in_one_kernel = device_function(_device_source())


@in_one_kernel
def inverse_mills(x: Array, backend: Backend) -> tuple[Array]:
    """``phi(x) / Phi(x)`` of the standard normal density and distribution function, stable for all x."""
    xp = backend.xp
    a = SQRT_HALF * xp.abs(x)
    unlikely = 2.0 / backend.erfcx(a)
    gauss = xp.exp(-a * a)
    likely = gauss / (unlikely - gauss)
    return (xp.where(x >= 0, likely, xp.ones_like(likely)) * unlikely * INVERSE_SQRT_2_PI,)
