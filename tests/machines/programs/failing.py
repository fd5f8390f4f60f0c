"""One rank fails, and the others wait for it."""

import time

import factorgraph as fg

if fg.get_communicator("mpi").rank == 1:
    raise RuntimeError("rank one has had enough")
time.sleep(600)
