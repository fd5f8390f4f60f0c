"""A state as a file, and back: all is checked before anything changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.files import parse_json, read_npz, write_npz
from factorgraph.inference.plate_state import PlateState
from factorgraph.inference.pool_state import ARRAYS, FLAGS, PoolState

if TYPE_CHECKING:
    from factorgraph.inference.state import State


_BY_EDGE = ("messages", "candidates", "residual", "change")  # in files these go by the user's blocks, however merged


def save_state(state: State, path: str | Path) -> None:
    """Write a state: see `State.save`."""
    arrays = {name: state.backend.to_host(array) for name, array in _arrays(state)}
    for number, pool in enumerate(state.pools):
        order = state.layout.edges_by_block(number)
        for name in _BY_EDGE:
            if (key := f"{name}/{number}") in arrays:
                arrays[key] = np.take(arrays[key], order, axis=_edge_axis(pool, name))
        arrays |= {f"observed/{number}": pool.observed, f"values/{number}": pool.values}
    flags = [
        {name: getattr(pool, name) for name in FLAGS}
        | {"mean_is_current": isinstance(pool, PlateState) and pool.mean_is_current}
        for pool in state.pools
    ]
    counts = {"iteration": state.iteration, "residuals": state.residuals, "checks": state.residual_iterations}
    meta = {**counts, "pools": flags}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    write_npz(path, arrays)


def load_state(state: State, path: str | Path) -> None:
    """Take over what `save_state` wrote: see `State.load`."""
    arrays = read_npz(path)
    try:
        meta = parse_json(arrays["meta"].tobytes())
        if len(meta["pools"]) != len(state.pools):
            raise ValueError(f"it has {len(meta['pools'])} pools of variables, not {len(state.pools)}")
        counts = int(meta["iteration"]), [float(x) for x in meta["residuals"]], [int(x) for x in meta["checks"]]
        found = [_checked(state, number, arrays, meta["pools"][number]) for number in range(len(state.pools))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: saved for another graph, or damaged ({what})") from error
    state.leave_results_alone()
    state.changes += 1
    for pool, values in zip(state.pools, found, strict=True):
        _fill(pool, *values)
    for memory in state.memories.values():
        memory.clear()
    state.find_hard_pools()
    state.iteration, state.residuals, state.residual_iterations = counts


_Values = tuple[dict[str, np.ndarray], dict[tuple[str, int], np.ndarray], np.ndarray, np.ndarray, dict[str, Any]]


def _checked(state: State, number: int, arrays: dict[str, np.ndarray], flags: dict[str, Any]) -> _Values:
    """One pool's arrays, totals of block factors, observed places, their values, and flags."""
    pool = state.pools[number]
    shapes, found = _shapes(pool), {}
    for name in ARRAYS:
        key = f"{name.strip('_')}/{number}"
        if key not in arrays and name in ("_prior", "messages", "total"):
            raise KeyError(key)
        if key in arrays:
            found[name] = _of_shape(arrays[key], shapes[name], key, "f")
    order = np.argsort(state.layout.edges_by_block(number))
    found |= {name: np.take(found[name], order, axis=_edge_axis(pool, name)) for name in _BY_EDGE if name in found}
    totals = {}
    for key in (key for key in arrays if key.startswith(f"totals/{number}/")):
        block, port = key.split("/", 2)[2].rsplit("/", 1)
        if block not in state.memories or not port.isdecimal():
            raise ValueError(f"{key} is of no block factor of this graph")
        totals[block, int(port)] = _of_shape(arrays[key], pool.total.shape, key, "f")
    observed = _of_shape(arrays[f"observed/{number}"], pool.observed.shape, f"observed/{number}", "b")
    values = _of_shape(arrays[f"values/{number}"], pool.values.shape, f"values/{number}", "iuf")
    if observed.any():
        pool.pool.type.observe(values[..., observed])
    power = flags["_power"]
    if not all(isinstance(flags[name], bool) for name in (*FLAGS, "mean_is_current") if name != "_power"):
        raise ValueError("its flags are not true or false")
    if not (power is None or isinstance(power, float)):
        raise ValueError(f"_power is {power!r}")
    return found, totals, observed, values, flags


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
    shapes = {"_prior": total, "messages": messages, "total": total, "reinforced": total, "centre": total}
    shapes |= {"remote": total, "remote_infinite": (*counts, *total[pool.pool.axis :])}
    shapes |= {"infinite": (*counts, *total[pool.pool.axis :]), "candidates": messages, "residual": edges, "change": edges}
    if not isinstance(pool, PlateState):
        return shapes
    plate, parameters = pool.pool.blocks[0].shape, ()
    if kind.can_be_random:
        some = pool.backend.asarray(np.ones((*kind.param_shape, 1)))
        parameters = kind.mean(some, pool.backend).shape[:-1]
    return shapes | {"mean": (*parameters, *plate), "mean_variance": plate}


def _fill(
    pool: PoolState,
    found: dict[str, np.ndarray],
    totals: dict[tuple[str, int], np.ndarray],
    observed: np.ndarray,
    values: np.ndarray,
    flags: dict[str, Any],
) -> None:
    pool.observed, pool.values = observed, values
    pool.upload_evidence()
    for name in ARRAYS:
        setattr(pool, name, pool.backend.asarray(found[name]) if name in found else None)
    pool.totals = {key: pool.backend.asarray(total) for key, total in totals.items()}
    for name in FLAGS:
        setattr(pool, name, flags[name])
    pool.version += 1
    pool.mean_version = pool.version if flags["mean_is_current"] else -1


def _arrays(state: State) -> Iterator[tuple[str, Array]]:
    for number, pool in enumerate(state.pools):
        for name in ARRAYS:
            array = getattr(pool, name)
            if array is not None:
                yield f"{name.strip('_')}/{number}", array
        for (block, port), total in pool.totals.items():
            yield f"totals/{number}/{block}/{port}", total
