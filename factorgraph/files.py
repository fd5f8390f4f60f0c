"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np


@contextmanager
def open_whole(path: str | Path) -> Iterator[IO[bytes]]:
    """
    Open a file for writing that takes its place only when it is complete.

    It is written under a temporary name in the same folder; on any error that is removed and what was there stays.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_npz(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to an uncompressed ``.npz`` file, whole or not at all, without pickle."""
    with open_whole(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with open_whole(path) as file:
        file.write(text.encode())
