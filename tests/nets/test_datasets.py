"""Data sets: small idx files made here, damaged ones, and a download from a server on this machine."""

from __future__ import annotations

import gzip
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nets import datasets, downloads
from nets.datasets import DatasetError, load_dataset
from nets.downloads import download_dataset

PARTS = datasets.PARTS


def idx(array: np.ndarray) -> bytes:
    """A uint8 array as an idx file."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def contents(rng: np.random.Generator) -> dict[str, bytes]:
    arrays = {
        "train_images": rng.integers(256, size=(30, 28, 28)),
        "train_labels": rng.integers(10, size=30),
        "test_images": rng.integers(256, size=(10, 28, 28)),
        "test_labels": rng.integers(10, size=10),
    }
    return {part: idx(array) for part, array in arrays.items()}


@pytest.fixture
def folder(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    for part, content in contents.items():
        (tmp_path / f"{PARTS[part]}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def test_digits_are_always_there_and_split_alike() -> None:
    first, second = load_dataset("digits"), load_dataset("digits")
    assert first.X_train.shape == (1198, 64)
    assert first.X_test.shape == (599, 64)
    np.testing.assert_array_equal(first.X_test, second.X_test)


@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_found_where_they_usually_lie(
    tmp_path: Path, contents: dict[str, bytes], place: str, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "data" / place
    target.mkdir(parents=True)
    for part, content in contents.items():
        if packed:
            (target / f"{PARTS[part]}.gz").write_bytes(gzip.compress(content))
        else:
            (target / PARTS[part]).write_bytes(content)
    data = load_dataset("mnist", tmp_path / "data")
    assert data.X_train.shape == (30, 784)
    assert data.X_train.dtype == np.uint8
    assert data.y_test.shape == (10,)
    monkeypatch.setenv("NETS_DATA", f"/nowhere:{tmp_path / 'data'}")
    np.testing.assert_array_equal(load_dataset("mnist").X_test, data.X_test)


def test_missing_files_name_the_places_and_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETS_DATA", str(tmp_path / "here"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DatasetError, match="no file train-images-idx3-ubyte") as error:
        load_dataset("fashion-mnist")
    for text in (str(tmp_path / "here"), str(tmp_path / "cache" / "nets"), "NETS_DATA", "nets download fashion-mnist"):
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "damaged gzip|truncated"),
        (lambda content: gzip.compress(content)[:-20], "the gzip file is damaged"),
        (lambda content: b"<html>not here</html>", "the gzip file is damaged"),
        (lambda content: gzip.compress(content[:-1]), "truncated: its header says"),
        (lambda content: gzip.compress(content + b"0"), "too long: its header says"),
        (lambda content: gzip.compress(content[:9]), "truncated: it has 9 bytes, fewer than an idx header"),
        (lambda content: gzip.compress(b"\0\0\x08\x01" + content[4:]), "not with the magic number 00000803"),
        (lambda content: gzip.compress(b"\0\0\x0d\x03" + content[4:]), "starts with 00000d03"),
        (lambda content: gzip.compress(content[:4] + b"\xff" * 12 + content[16:]), r"claims 7\.92e\+28 bytes"),
    ],
)  # fmt: skip
def test_damaged_files_give_one_clear_error(folder: Path, contents: dict[str, bytes], damage: object, message: str) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(contents["train_images"]))  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message) as error:
        load_dataset("mnist", folder)
    assert "train-images-idx3-ubyte.gz" in str(error.value)


def test_a_full_size_file_with_a_wrong_checksum_is_refused(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(10_000))))
    with pytest.raises(DatasetError, match="its checksum is not that of mnist"):
        load_dataset("mnist", folder)


def test_images_and_labels_must_match(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(9))))
    with pytest.raises(DatasetError, match="10 test images, but 9 labels"):
        load_dataset("mnist", folder)


def test_arrays_of_the_user(tmp_path: Path, rng: np.random.Generator) -> None:
    np.savez(tmp_path / "whole.npz", X=rng.normal(size=(30, 2, 2)), y=rng.integers(2, size=30))
    assert load_dataset(str(tmp_path / "whole.npz")).X_train.shape == (20, 4)
    parts = {"x_train": np.zeros((4, 3)), "y_train": np.zeros(4), "x_test": np.zeros((2, 3)), "y_test": np.zeros(2)}
    np.savez(tmp_path / "parts.npz", **parts)
    assert load_dataset(str(tmp_path / "parts.npz")).X_test.shape == (2, 3)
    np.savez(tmp_path / "odd.npz", X=np.zeros((4, 3)), y=np.zeros(3))
    with pytest.raises(DatasetError, match="X needs a y of the same length"):
        load_dataset(str(tmp_path / "odd.npz"))
    for wrong in (np.array(3.0), np.array(["a", "b", "c", "d"])):
        np.savez(tmp_path / "odd.npz", X=wrong, y=np.zeros(4))
        with pytest.raises(DatasetError, match="X should be rows of numbers"):
            load_dataset(str(tmp_path / "odd.npz"))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DatasetError, match=r"has arrays \['a'\]; expected X_train"):
        load_dataset(str(tmp_path / "other.npz"))
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(DatasetError, match=r"not a whole \.npz file"):
        load_dataset(str(tmp_path / "text.npz"))
    with pytest.raises(DatasetError, match="no such file"):
        load_dataset(str(tmp_path / "none.npz"))
    with pytest.raises(DatasetError, match="unknown data set 'cifar'"):
        load_dataset("cifar")


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """Serves the small files on the loopback interface."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()


def test_download_checks_the_content_and_tries_the_next_mirror(
    server: str, contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    right = {part: hashlib.md5(content).hexdigest() for part, content in contents.items()}
    monkeypatch.setitem(datasets.MD5, "mnist", right)
    target = tmp_path / "target"
    paths = download_dataset("mnist", target, [server + "nowhere/", server])
    assert len(paths) == 4
    assert load_dataset("mnist", target).X_train.shape == (30, 784)
    before = [path.stat().st_mtime_ns for path in paths]
    download_dataset("mnist", target, [server + "nowhere/"])  # all there: nothing is fetched
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_download_of_wrong_content_writes_nothing(server: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no mirror gave train-images-idx3-ubyte\.gz:\n.*wrong checksum"):
        download_dataset("mnist", tmp_path / "target", [server])
    assert list((tmp_path / "target" / "mnist").iterdir()) == []
    with pytest.raises(DatasetError, match="'digits' cannot be downloaded"):
        download_dataset("digits", tmp_path)


class Dripping(io.BytesIO):
    """A mirror that sends a byte a second, by a clock of its own."""

    headers: ClassVar[dict[str, str]] = {"Content-Length": "1000"}

    def __init__(self, clock: list[float]) -> None:
        super().__init__(b"x" * 1000)
        self._clock = clock

    def read1(self, size: int | None = -1) -> bytes:
        self._clock[0] += 1.0
        return self.read(1)


def test_a_mirror_that_drips_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(downloads, "urlopen", lambda *_, **__: Dripping(clock))
    monkeypatch.setattr(downloads.time, "monotonic", lambda: clock[0])
    with pytest.raises(DatasetError, match=r"not whole after 600 s: 601 bytes came"):
        downloads.download_dataset("mnist", tmp_path, ["http://mirror/"])
    assert not list(tmp_path.rglob("*.gz"))
