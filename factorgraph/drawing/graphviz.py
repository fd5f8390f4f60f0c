"""Places of nodes by Graphviz's programs ``dot`` and ``neato``, where they are installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import numpy as np

_SECONDS = 30  # given to a program
_STEPS = 6  # pieces of a curve
_BENT = 0.02  # of an edge's length, from which a line is a curve


def place(
    edges: np.ndarray, rooms: np.ndarray, directed: bool, seed: int = 0
) -> tuple[np.ndarray, dict[int, np.ndarray]] | None:
    """
    Places of the nodes of one graph.

    Parameters
    ----------
    edges : (E, 2) numbers of nodes
    rooms : (n, 2) width and height that each node needs, in units of an edge
    directed : bool
        Whether edges are to lead down, as from causes to effects (dot); else they become about equally long (neato).
    seed : int, default 0
        Of the places where neato begins.

    Returns
    -------
    (n, 2) array and the curved edges, by number the points of each; None where the program is not installed or fails
    """
    program = shutil.which("dot" if directed else "neato")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-Tplain"],
            input=_text(edges, rooms, directed, seed),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        return _read(done.stdout, edges, len(rooms)) if done.returncode == 0 else None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _text(edges: np.ndarray, rooms: np.ndarray, directed: bool, seed: int) -> str:
    """The graph in Graphviz's language; an inch is one unit."""
    widths = "\n".join(f"{n} [width={max(w, 0.3):.3f} height={max(h, 0.3):.3f}]" for n, (w, h) in enumerate(rooms))
    lines = "\n".join(f'{a} -> {b} [comment="{number}"]' for number, (a, b) in enumerate(edges.tolist()))
    how = "nodesep=0.25 ranksep=0.3" if directed else f'overlap=prism sep="+4" start={seed + 1} splines=line'
    return (
        f'digraph {{ graph [{how}] node [shape=box fixedsize=true label=""] '
        f"edge [arrowhead=none headclip=false tailclip=false len=1.0]\n{widths}\n{lines}\n}}"
    )


def _read(plain: str, edges: np.ndarray, number: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Places and curves from Graphviz's plain output."""
    places = np.full((number, 2), np.nan)
    numbers = {pair: edge for edge, pair in enumerate(map(tuple, edges.tolist()))}
    curves: dict[int, np.ndarray] = {}
    for line in plain.splitlines():
        words = shlex.split(line)
        if words[0] == "node":
            places[int(words[1])] = float(words[2]), float(words[3])
        elif words[0] == "edge":
            points = np.array(words[4 : 4 + 2 * int(words[3])], dtype=np.float64).reshape(-1, 2)
            curves[numbers[int(words[1]), int(words[2])]] = points
    if np.isnan(places).any():
        raise ValueError("a node has no place")
    return places, {edge: _sampled(points) for edge, points in curves.items() if _is_bent(points)}


def _is_bent(points: np.ndarray) -> bool:
    along = points[-1] - points[0]
    away = points - points[0]
    across = np.abs(away[:, 0] * along[1] - away[:, 1] * along[0]) / max(float(np.linalg.norm(along)), 1e-9)
    return bool(across.max() > _BENT)


def _sampled(points: np.ndarray) -> np.ndarray:
    """Points on Bezier curves of third degree, ``(3 k + 1, 2)`` control points in all."""
    t = np.linspace(0.0, 1.0, _STEPS + 1)[1:, None]
    found = [points[:1]]
    for start in range(0, len(points) - 1, 3):
        a, b, c, d = points[start : start + 4]
        found.append((1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d)
    return np.concatenate(found)
