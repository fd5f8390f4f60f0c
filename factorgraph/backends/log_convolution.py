"""Convolutions of long rows of log-weights in NumPy, by products of small blocks of plain numbers.

All terms are positive, so that sums of plain numbers lose nothing to cancellation: the one danger is underflow. Each block is
scaled by its largest entry, and each stretch of the result by its largest pair of blocks. A result more than exp(600) below the
scale of its stretch may have lost terms (plain numbers end at exp(-708)). Where many are, on a steep slope, both rows are taken
times exp(-slope i), which is the result times exp(-slope k); what is left is summed anew by logarithms. So every result has its
full relative accuracy. A Fourier transform would be faster still, but errs relative to the largest result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from factorgraph.backends.base import Array, Backend

BLOCK = 32
_SAFE = 600.0
_STEEP = 8.0  # change of a log-weight from one place to the next that blocks bear on either side
_CHUNK = 1 << 18  # terms that are summed anew at once
_ROWS = 256  # blocks multiplied at once; larger products are shared by threads, which takes longer than the product


def convolve_by_terms(backend: Backend, left: Array, right: Array, start: int, stop: int, mode: str) -> Array:
    """The plain form of `Backend.log_convolve`, for every backend: one term of all results after another."""
    xp = backend.xp
    short, long = (left, right) if left.shape[0] <= right.shape[0] else (right, left)
    total = xp.full_like(xp.broadcast_to(left[:1, ...], (stop - start, *left.shape[1:])), -xp.inf)
    add = xp.maximum if mode == "max" else backend.log_add_exp
    for number in range(short.shape[0]):
        first, last = max(start, number), min(stop, number + long.shape[0])
        if first < last:
            terms = long[first - number : last - number, ...] + short[number, ...]
            total[first - start : last - start, ...] = add(total[first - start : last - start, ...], terms)
    return total


def log_convolve(left: np.ndarray, right: np.ndarray, start: int, stop: int) -> np.ndarray:
    """
    ``log(sum_i exp(left[i] + right[k - i]))`` for k from ``start`` to ``stop``.

    Parameters
    ----------
    left, right : (m, ...), (n, ...) log-weights, -inf included; all axes but the first are alike

    Returns
    -------
    (stop - start, ...) array
    """
    rest = left.shape[1:]
    rows = [np.ascontiguousarray(np.moveaxis(a, 0, -1).reshape(-1, len(a)), dtype=np.float64) for a in (left, right)]
    rows.sort(key=lambda a: a.shape[1])
    short, long = rows
    wanted = slice(start, stop)
    with np.errstate(divide="ignore", invalid="ignore"):
        found, scale = (a[:, wanted] for a in _by_blocks(short, long))
        unsafe = found < scale - _SAFE
        if unsafe.any():
            slopes = np.nan_to_num(np.gradient(scale, axis=1), nan=0.0, posinf=0.0, neginf=0.0)
            slopes = _STEEP * np.round(ndimage.uniform_filter1d(slopes, 4 * BLOCK, axis=1) / _STEEP)
            for slope in np.unique(slopes[unsafe]).tolist():
                if slope and np.count_nonzero(unsafe & (slopes == slope)) > short.shape[1] // 64:
                    places = [slope * np.arange(n) for n in (short.shape[1], long.shape[1])]
                    tilted = _by_blocks(short - places[0], long - places[1])
                    other, scale = (a[:, wanted] for a in tilted)
                    safe = unsafe & ~(other < scale - _SAFE)
                    found[safe] = (other + slope * np.arange(start, stop))[safe]
                    unsafe &= ~safe
        doubtful = np.flatnonzero(unsafe.any(axis=0))
        step = max(1, _CHUNK // short.size)
        for first in range(0, doubtful.size, step):
            some = doubtful[first : first + step]
            found[:, some] = _by_logarithms(short, long, some + start)
    return np.moveaxis(found.reshape(*rest, stop - start), -1, 0).astype(left.dtype, copy=False)


def _by_blocks(short: np.ndarray, long: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole convolution, ``(r, m + n - 1)``, and the log of the largest pair of blocks that each result draws on."""
    count = len(short)
    size = short.shape[1] + long.shape[1] - 1
    (few, few_logs), (many, many_logs) = _blocks(short), _blocks(long)
    blocks = few.shape[1] + many.shape[1] - 1
    scales = np.full((count, blocks), -np.inf)  # of the pairs of blocks whose numbers add up to the same
    for number in range(few.shape[1]):
        met = scales[:, number : number + many.shape[1]]
        np.maximum(met, few_logs[:, number, None] + many_logs, out=met)
    finite = np.where(np.isfinite(scales), scales, 0.0)
    # Row i of a block's matrix is the block moved on by i.
    padded = np.zeros((count, few.shape[1], 3 * BLOCK - 2))
    padded[..., BLOCK - 1 : 2 * BLOCK - 1] = few
    moved = np.lib.stride_tricks.sliding_window_view(padded, 2 * BLOCK - 1, axis=-1)[:, :, ::-1]
    total = np.zeros((count, blocks, 2 * BLOCK - 1))
    for number in range(few.shape[1]):
        matrix = np.ascontiguousarray(moved[:, number])
        for row in range(0, many.shape[1], _ROWS):
            part = slice(row, row + _ROWS)
            place = slice(row + number, min(row + _ROWS, many.shape[1]) + number)
            weights = np.exp(few_logs[:, number, None] + many_logs[:, part] - finite[:, place])
            total[:, place] += weights[..., None] * np.matmul(many[:, part], matrix)
    logs = np.log(total) + finite[..., None]
    # A result is in the first half of one stretch and in the second half of the one before.
    found, largest = np.full((2, count, blocks + 1, BLOCK), -np.inf)
    found[:, :-1] = logs[..., :BLOCK]
    found[:, 1:, :-1] = np.logaddexp(found[:, 1:, :-1], logs[..., BLOCK:])
    largest[:, :-1] = scales[..., None]
    largest[:, 1:, :-1] = np.maximum(largest[:, 1:, :-1], scales[..., None])
    return found.reshape(count, -1)[:, :size], largest.reshape(count, -1)[:, :size]


def _blocks(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plain numbers ``(r, blocks, BLOCK)``, scaled to at most 1, and the logs of their scales."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % BLOCK)), constant_values=-np.inf).reshape(len(rows), -1, BLOCK)
    logs = padded.max(axis=-1)
    return np.exp(padded - np.where(np.isfinite(logs), logs, 0.0)[..., None]), logs


def _by_logarithms(short: np.ndarray, long: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Some results, ``(r, wanted)``, term by term."""
    place = wanted[:, None] - np.arange(short.shape[1])
    outside = (place < 0) | (place >= long.shape[1])
    terms = short[:, None] + long[:, np.clip(place, 0, long.shape[1] - 1)]
    terms[:, outside] = -np.inf
    largest = terms.max(axis=-1)
    largest[np.isneginf(largest)] = 0.0
    return np.asarray(np.log(np.exp(terms - largest[..., None]).sum(axis=-1)) + largest)
