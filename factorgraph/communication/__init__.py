"""Ranks: the processes, on one machine or several, that run one problem together."""

from factorgraph.communication.base import Alone, Communicator, CommunicatorUnavailableError
from factorgraph.communication.choose import get_communicator, started_by_mpi

__all__ = ["Alone", "Communicator", "CommunicatorUnavailableError", "get_communicator", "started_by_mpi"]
