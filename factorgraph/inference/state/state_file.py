"""A state as a file, and back: all is checked before anything changes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from factorgraph.files import parse_json, read_npz, write_npz
from factorgraph.inference.layout.layout import Layout
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.terms import Base

_BY_EDGE = ("messages", "candidates", "residual", "change")  # in files these go by the user's blocks, however merged


class Counts(NamedTuple):
    """Where a run stands: its iterations, and its residuals with the iterations of the checks."""

    iteration: int
    residuals: list[float]
    checks: list[int]


def write_pools(path: str | Path, pools: Sequence[PoolState], layout: Layout, counts: Counts) -> None:
    """Write the arrays of all pools: see `State.save`."""
    arrays = {name: array for number, pool in enumerate(pools) for name, array in _arrays(number, pool)}
    for number, pool in enumerate(pools):
        order = layout.edges_by_block(number)
        for name in _BY_EDGE:
            if (key := f"{name}/{number}") in arrays:
                arrays[key] = np.take(arrays[key], order, axis=_edge_axis(pool, name))
        arrays |= {f"observed/{number}": pool.evidence.observed, f"values/{number}": pool.evidence.values}
    flags = [
        {name: getattr(part, name) for part, name in pool.flags()}
        | {"mean_is_current": isinstance(pool, PlateState) and pool.mean_is_current}
        for pool in pools
    ]
    meta = {**counts._asdict(), "pools": flags}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    write_npz(path, arrays)


class Read(NamedTuple):
    """One pool's arrays, totals of block factors, observed places, their values, and flags, as a file has them."""

    arrays: dict[str, np.ndarray]
    totals: dict[tuple[str, int], np.ndarray]
    observed: np.ndarray
    values: np.ndarray
    flags: dict[str, Any]


def read_pools(
    path: str | Path, pools: Sequence[PoolState], layout: Layout, block_factors: Collection[str]
) -> tuple[Counts, list[Read]]:
    """What `write_pools` wrote, all of it checked, for `fill`: see `State.load`."""
    arrays = read_npz(path)
    try:
        meta = parse_json(arrays["meta"].tobytes())
        if len(meta["pools"]) != len(pools):
            raise ValueError(f"it has {len(meta['pools'])} pools of variables, not {len(pools)}")
        counts = Counts(int(meta["iteration"]), [float(x) for x in meta["residuals"]], [int(x) for x in meta["checks"]])
        found = []
        for number, pool in enumerate(pools):
            order = layout.edges_by_block(number)
            found.append(_checked(number, pool, order, block_factors, arrays, meta["pools"][number]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: saved for another graph, or damaged ({what})") from error
    return counts, found


def _checked(
    number: int,
    pool: PoolState,
    edges: np.ndarray,
    block_factors: Collection[str],
    arrays: dict[str, np.ndarray],
    flags: dict[str, Any],
) -> Read:
    shapes, found = _shapes(pool), {}
    for _, name in pool.arrays():
        key = f"{name}/{number}"
        if key not in arrays and name in ("prior", "messages", "total"):
            raise KeyError(key)
        if key in arrays:
            found[name] = _of_shape(arrays[key], shapes[name], key, "f")
    order = np.argsort(edges)
    found |= {name: np.take(found[name], order, axis=_edge_axis(pool, name)) for name in _BY_EDGE if name in found}
    totals = {}
    for key in (key for key in arrays if key.startswith(f"totals/{number}/")):
        block, port = key.split("/", 2)[2].rsplit("/", 1)
        if block not in block_factors or not port.isdecimal():
            raise ValueError(f"{key} is of no block factor of this graph")
        totals[block, int(port)] = _of_shape(arrays[key], pool.total.shape, key, "f")
    observed = _of_shape(arrays[f"observed/{number}"], pool.evidence.observed.shape, f"observed/{number}", "b")
    values = _of_shape(arrays[f"values/{number}"], pool.evidence.values.shape, f"values/{number}", "iuf")
    if observed.any():
        pool.pool.type.observe(values[..., observed])
    return Read(found, totals, observed, values, _flags(pool, flags))


def _flags(pool: PoolState, given: dict[str, Any]) -> dict[str, Any]:
    """The plain values of a pool, as fields of its parts have them."""
    if "base" not in given:  # of before, when it was said in two words
        base = Base.TO_COME if given["_to_reinforce"] else Base.IN_BELIEF if given["_base_in_belief"] else Base.KNOWN
        given = {**given, "base": base, "power": given["_power"]}
    flags = {name: given[name] for name in (*(name for _, name in pool.flags()), "mean_is_current")}
    flags["base"] = Base(flags["base"])
    if not (flags["power"] is None or isinstance(flags["power"], float)):
        raise ValueError(f"power is {flags['power']!r}")
    if not all(isinstance(value, bool) for name, value in flags.items() if name not in ("base", "power")):
        raise ValueError("its flags are not true or false")
    return flags


def _edge_axis(pool: PoolState, name: str) -> int:
    return pool.pool.axis if name in ("messages", "candidates") else 0


def _of_shape(array: np.ndarray, shape: tuple[int, ...], key: str, kinds: str) -> np.ndarray:
    if array.shape != shape or array.dtype.kind not in kinds:
        raise ValueError(f"{key} is {array.dtype} of shape {array.shape}, expected {shape}")
    return array


def _shapes(pool: PoolState) -> dict[str, tuple[int, ...]]:
    """Shape of each array that a pool may have."""
    kind, total, messages = pool.pool.type, pool.total.shape, pool.messages.shape
    edges = messages[pool.pool.axis :]
    counts = np.shape(kind.split(pool.backend.zeros((*kind.param_shape, 1)), pool.backend)[1])[:-1]
    shapes = {"prior": total, "messages": messages, "total": total, "reinforced": total, "centre": total}
    shapes |= {"remote": total, "remote_infinite": (*counts, *total[pool.pool.axis :])}
    shapes |= {"infinite": (*counts, *total[pool.pool.axis :]), "candidates": messages, "residual": edges, "change": edges}
    if not isinstance(pool, PlateState):
        return shapes
    plate, parameters = pool.pool.blocks[0].shape, ()
    if kind.can_be_random:
        some = pool.backend.asarray(np.ones((*kind.param_shape, 1)))
        parameters = kind.mean(some, pool.backend).shape[:-1]
    return shapes | {"mean": (*parameters, *plate), "mean_variance": plate}


def fill(pool: PoolState, read: Read) -> None:
    """Take over what was read of a pool."""
    pool.evidence.observed, pool.evidence.values = read.observed, read.values
    pool.upload_evidence()
    for part, name in pool.arrays():
        setattr(part, name, pool.backend.asarray(read.arrays[name]) if name in read.arrays else None)
    pool.totals = {key: pool.backend.asarray(total) for key, total in read.totals.items()}
    for part, name in pool.flags():
        setattr(part, name, read.flags[name])
    pool.version += 1
    pool.mean_version = pool.version if read.flags["mean_is_current"] else -1


def _arrays(number: int, pool: PoolState) -> Iterator[tuple[str, np.ndarray]]:
    for part, name in pool.arrays():
        array = getattr(part, name)
        if array is not None:
            yield f"{name}/{number}", pool.backend.to_host(array)
    for (block, port), total in pool.totals.items():
        yield f"totals/{number}/{block}/{port}", pool.backend.to_host(total)
