"""Ranks that talk by MPI."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from mpi4py import MPI

from factorgraph.communication.base import Communicator

_PAUSE = 0.5  # seconds


class MPICommunicator(Communicator):
    """
    The ranks of a communicator of mpi4py.

    An error that nobody catches on one rank ends all of them: the others would wait for it without end.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        if self.size > 1 and not isinstance(sys.excepthook, _EndAll):
            sys.excepthook = _EndAll(self)

    def sum(self, array: np.ndarray) -> np.ndarray:
        total = np.array(array, order="C")
        self._comm.Allreduce(MPI.IN_PLACE, total)
        return total

    def largest(self, array: np.ndarray) -> np.ndarray:
        found = np.array(array, order="C")
        numbers = found.view(np.uint8) if found.dtype == np.bool_ else found  # MPI has no largest of truths
        self._comm.Allreduce(MPI.IN_PLACE, numbers, op=MPI.MAX)
        return found

    def exchange(self, parts: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        sent = {rank: np.ascontiguousarray(part) for rank, part in parts.items()}
        found = {rank: np.empty_like(part) for rank, part in sent.items()}
        waiting = [self._comm.Irecv(part, source=rank) for rank, part in found.items()]
        waiting += [self._comm.Isend(part, dest=rank) for rank, part in sent.items()]
        MPI.Request.Waitall(waiting)
        return found

    def gather(self, value: Any) -> list[Any]:
        return self._comm.allgather(value)

    def broadcast(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def abort(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(_PAUSE)  # what mpiexec has not passed on when the ranks end is lost
        self._comm.Abort(1)

    def __reduce__(self) -> Any:
        raise TypeError("a communicator cannot be pickled: use communicator='mpi' instead")


class _EndAll:
    """Told of errors that nobody catches: shows them, and ends all ranks."""

    def __init__(self, communicator: MPICommunicator) -> None:
        self._communicator = communicator

    def __call__(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        first = f"rank {self._communicator.rank} failed, and ends all {self._communicator.size}:\n"
        sys.stderr.write(first + "".join(traceback.format_exception(kind, error, where)))
        self._communicator.abort()
