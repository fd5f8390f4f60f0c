"""Downloads of public data sets, with checksums and a time limit."""

from __future__ import annotations

import gzip
import hashlib
import io
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from factorgraph.files import write_bytes
from nets.datasets import BYTES, MAX_BYTES, MD5, PARTS, DatasetError, cache_folder

_MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
}
_SECONDS = 600.0  # for a file from one mirror
_PIECE = 1 << 16


def download_dataset(name: str, folder: str | Path | None = None, mirrors: Sequence[str] | None = None) -> list[Path]:
    """
    Download a data set's idx.gz files from public mirrors, and check them against the md5 of their content.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist"}
    folder : path, optional
        Default: the user's cache, where `load_dataset` looks.
    mirrors : sequence of URLs, optional

    Returns
    -------
    list of the files' paths; files that were already there and complete are kept

    Raises
    ------
    DatasetError
        No mirror gave a file with the right checksum. A file is written completely or not at all.
    """
    if name not in MD5:
        raise DatasetError(f"{name!r} cannot be downloaded; choose one of {tuple(MD5)}")
    target = Path(folder) if folder is not None else cache_folder()
    target = target / name
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for part, stem in PARTS.items():
        path = target / f"{stem}.gz"
        if not (path.is_file() and _content_md5(path.read_bytes()) == MD5[name][part]):
            content = _fetch(name, part, mirrors or _MIRRORS[name])
            write_bytes(path, content)
        paths.append(path)
    return paths


def _fetch(name: str, part: str, mirrors: Sequence[str]) -> bytes:
    problems = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + f"/{PARTS[part]}.gz"
        try:
            with urlopen(url, timeout=30) as reply:
                packed = _read(reply, BYTES[part] + (1 << 20), f"{name}: {PARTS[part]}.gz")
        except (URLError, OSError, ValueError) as error:
            problems.append(f"{url}: {error}")
            continue
        if _content_md5(packed) == MD5[name][part]:
            return packed
        problems.append(f"{url}: wrong checksum")
    raise DatasetError(f"{name}: no mirror gave {PARTS[part]}.gz:\n  " + "\n  ".join(problems))


def _read(reply: Any, most: int, title: str) -> bytes:
    """Read at most this many bytes within the time limit, and show a progress bar on the terminal."""
    from tqdm.auto import tqdm

    end, pieces, left = time.monotonic() + _SECONDS, [], most
    headers = getattr(reply, "headers", None)
    length = headers.get("Content-Length") if headers else None
    total = None if length is None else int(length)
    with tqdm(total=total, desc=title, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        advance = bar.update
        while left and (piece := reply.read1(min(_PIECE, left))):
            pieces.append(piece)
            left -= len(piece)
            advance(len(piece))
            if time.monotonic() > end:
                raise TimeoutError(f"the file was not whole after {_SECONDS:.0f} s: {most - left:,} bytes came")
    return b"".join(pieces)


def _content_md5(packed: bytes) -> str | None:
    """The md5 of what a gzip file holds; None if it is damaged or absurdly large."""
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            return hashlib.md5(file.read(MAX_BYTES), usedforsecurity=False).hexdigest()
    except (OSError, EOFError, zlib.error):
        return None
