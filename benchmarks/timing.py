"""Timing on devices that work while the host goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import factorgraph as fg


def wait(backend: fg.Backend) -> None:
    """Until all that was launched is done."""
    if backend.name == "cupy":
        backend.xp.cuda.runtime.deviceSynchronize()


def seconds_of(action: Callable[[], Any], backend: fg.Backend, times: int, warm_up: int = 2) -> float:
    """Median time of one call, after some that warm up."""
    found = []
    for number in range(times + warm_up):
        wait(backend)
        start = time.perf_counter()
        action()
        wait(backend)
        if number >= warm_up:
            found.append(time.perf_counter() - start)
    return float(np.median(found))
