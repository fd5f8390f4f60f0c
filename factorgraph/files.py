"""Files that are written completely or not at all, and `.npz` files that are checked while they are read."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

_EXPANSION, _FREE = 200, 1 << 28  # bytes that a file may claim: so many times its own, and these besides
_DAMAGE = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, NotImplementedError, RuntimeError,
    MemoryError, SyntaxError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


class DamagedFileError(ValueError):
    """A file is not complete, or not of the expected kind. The message has its name."""


@contextmanager
def open_whole(path: str | Path) -> Iterator[IO[bytes]]:
    """
    Open a file for writing that replaces the old one only when it is complete.

    It is written under a temporary name in the same folder. After an error, this temporary file is removed, and the old file
    and its mode stay. Links are followed. Pipes, terminals and other things that are not files on a disk are written directly.
    """
    path = Path(os.path.realpath(path))
    there = _status(path)
    if (there is not None and not stat.S_ISREG(there.st_mode)) or path.parts[1:2] in (("dev",), ("proc",)):
        with open(path, "wb") as file:
            yield file
        return
    # Names may be 255 bytes long, and the temporary one is no shorter than its ending.
    temporary = path.with_name(f".{os.fsencode(path.name)[:100].decode(errors='ignore')}.{secrets.token_hex(6)}")
    # As `open` would make it: the system takes the process's mask from the mode.
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if there is not None:
            os.chmod(temporary, stat.S_IMODE(there.st_mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def write_npz(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to an uncompressed ``.npz`` file, completely or not at all, without pickle."""
    with open_whole(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file completely or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    with open_whole(path) as file:
        file.write(content)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """
    Read all arrays of a ``.npz`` file, without pickle.

    What the file says about its own size is checked before memory is allocated for it.

    Raises
    ------
    FileNotFoundError
    DamagedFileError
        The file is not an ``.npz`` file, is damaged or encrypted, or claims much more than it can hold.
    """
    size = require_file(path).st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names) or not all(name.endswith(".npy") for name in names):
                raise ValueError("its members are not arrays with different names")
            claimed = sum(entry.file_size for entry in entries)
            if claimed > _FREE + _EXPANSION * size:
                raise ValueError(f"its arrays claim {claimed} bytes, but the file has {size}")
            return {entry.filename.removesuffix(".npy"): _read_array(archive, entry) for entry in entries}
    except _DAMAGE as error:
        raise DamagedFileError(f"{path}: this is not a whole .npz file ({_in_words(error)})") from error


def require_file(path: str | Path) -> os.stat_result:
    """
    Return what the system says about a regular file.

    Raises
    ------
    FileNotFoundError
    DamagedFileError
        The path is a folder, a pipe or a device, which might never end.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFileError(f"{path}: this is not a file, but a folder, a pipe or a device")
    return status


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        if dtype.hasobject:
            raise ValueError(f"{entry.filename} holds Python objects")
        if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != entry.file_size - member.tell():
            raise ValueError(f"{entry.filename} has {entry.file_size} bytes, not those of an array of shape {shape}")
    with archive.open(entry) as member:
        array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        member.read()  # to the end, where its checksum is compared
        return array


def _in_words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def parse_json(text: bytes) -> Any:
    """
    Return the content of a JSON text.

    Raises
    ------
    ValueError
        The text is not JSON, or it is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def told(error: BaseException) -> str:
    """An error in words; of the operating system's the file first, without a number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)
