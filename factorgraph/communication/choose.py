"""Which communicator is meant."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from factorgraph.communication.base import Alone, Communicator, CommunicatorUnavailableError

_LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "PMIX_RANK")  # what launchers set


def started_by_mpi() -> bool:
    """Whether this process was started by mpiexec, mpirun or srun."""
    return any(name in os.environ for name in _LAUNCHED)


def get_communicator(which: Any = None) -> Communicator:
    """
    Return the ranks that this process runs with.

    Parameters
    ----------
    which : {None, "alone", "mpi", "auto"}, a communicator of mpi4py, or Communicator
        None and "alone" mean only this process. "mpi" means all processes that ``mpiexec`` started. "auto" is "mpi" if
        ``mpiexec`` started this process, and "alone" otherwise.

    Raises
    ------
    ValueError
        There is no such choice.
    CommunicatorUnavailableError
        mpi4py cannot be imported, or it finds no MPI.
    """
    if isinstance(which, Communicator):
        return which
    if which is None or which == "alone" or (which == "auto" and not started_by_mpi()):
        return Alone()
    if which in ("mpi", "auto"):
        return _world()
    if hasattr(which, "Get_rank"):
        from factorgraph.communication.mpi import MPICommunicator

        return MPICommunicator(which)
    raise ValueError(f"communicator must be 'mpi', 'auto', 'alone' or a communicator of mpi4py, not {which!r}")


@cache
def _world() -> Communicator:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise CommunicatorUnavailableError(
            f"several ranks need mpi4py and an MPI ({error}): pip install 'factorgraph-nets[mpi]', or on a cluster pip install "
            "mpi4py with the site's own MPI loaded"
        ) from error
    from factorgraph.communication.mpi import MPICommunicator

    return MPICommunicator(MPI.COMM_WORLD)
