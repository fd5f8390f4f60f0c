"""Several ranks: the same answers as one, and errors that end all of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.communication import Alone, choose, started_by_mpi
from nets import BPClassifier, load_dataset
from nets.cli import main

from .conftest import PROGRAMS, start, why_not

RANKS = [2, 3]


@pytest.mark.parametrize("ranks", RANKS)
def test_graphs_in_parts_give_what_one_process_gives(mpi: Callable[..., Any], ranks: int) -> None:
    found = mpi("graphs.py", ranks)
    assert len(found) == 21
    for case, distances in found.items():
        for name, distance in distances.items():
            assert distance < (1e-3 if case == "ising, single precision" else 1e-10), (case, name)


@pytest.mark.parametrize("ranks", RANKS)
def test_networks_learn_what_one_rank_learns(mpi: Callable[..., Any], ranks: int) -> None:
    found = mpi("networks.py", ranks)
    assert len(found) == (7 if ranks == 2 else 17)
    for case, distance in found.items():
        assert distance < (1e-5 if case.startswith("single precision") else 1e-10), case


def test_all_ranks_refuse_what_one_does(mpi: Callable[..., Any]) -> None:
    found = mpi("refused.py", 2)
    for case, told in {
        "settings": "epochs must be the same on all ranks: 1 on 0, 2 on 1",
        "seeds": "random_state must be the same on all ranks: 0 on 0, 1 on 1",
        "rows": "the training data (their checksum) must be the same",
        "few rows": "batches of 1 rows are too small for 2 ranks",
        "regression": "hidden_layer_sizes must be the same on all ranks: [3] on 0, [4] on 1",
        "priors": "prior or evidence of 'x'",
        "nothing shared": "give shared=",
        "exact schedule": "not one that is exact",
        "by priority": "not one that is exact or goes by priority",
        "types": "shared: variables 'x' are Categorical",
        "numbers": "a global number, is given twice",
        "too few numbers": "needs as many numbers",
        "negative numbers": "must be whole, and at least 0",
        "contradiction": "no state is possible for x[",
        "plates": "variables 'w' are a plate of block factors",
    }.items():
        assert all(told in message for message in found.pop(case)), case
    assert not found


def test_a_rank_that_fails_ends_all() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    begun = time.monotonic()
    done = start(2, [str(PROGRAMS / "failing.py")], timeout=60.0)
    assert done.returncode != 0
    assert "rank 1 failed" in done.stderr
    assert "rank one has had enough" in done.stderr
    assert time.monotonic() - begun < 30.0


def test_the_command_line_trains_on_all_ranks_and_goes_on_with_another_number(tmp_path: Path) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)

    options = ["train", "digits", "--hidden", "11", "--save", str(tmp_path / "net.npz"), "--json", str(tmp_path / "net.json")]
    for ranks, epochs in ((2, 1), (3, 3)):
        done = start(ranks, ["-m", "nets.cli", *options, "--epochs", str(epochs), "--resume"])
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("test error") == 1
        told = json.loads((tmp_path / "net.json").read_text(encoding="utf-8"))
        assert told["config"]["ranks"] == ranks
        assert len(told["epochs"]) == epochs
    together = BPClassifier.load(tmp_path / "net.npz").weight_beliefs_
    data = load_dataset("digits")
    alone = BPClassifier((11,), epochs=3, random_state=0).fit(data.X_train, data.y_train)
    for mine, theirs in zip(alone.weight_beliefs_, together, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_the_example_in_stripes_gives_the_same_on_any_number_of_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)  # for its picture
    monkeypatch.setenv("MPLBACKEND", "Agg")
    example = str(Path(__file__).parents[2] / "examples" / "many_ranks.py")
    told = [start(ranks, [example]).stdout for ranks in (1, 3)]
    assert "3 ranks with [2380, 2380, 2320] couplings" in told[1]
    assert len({text.split("log Z = ")[1].split(";")[0] for text in told}) == 1


def test_errors_of_the_command_line_are_told_once() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    done = start(2, ["-m", "nets.cli", "train", "digits", "--hidden", "0"])
    assert done.returncode != 0
    assert done.stderr.count("hidden_layer_sizes must be") == 1


def test_without_mpi4py_a_launched_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose._world.cache_clear()
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train", "digits", "--epochs", "1"]) == 1
    assert "pip install 'factorgraph-nets[mpi]'" in capsys.readouterr().err


def test_one_rank_needs_no_mpi() -> None:
    ranks = fg.get_communicator()
    assert isinstance(ranks, Alone)
    assert isinstance(fg.get_communicator("auto"), Alone) or started_by_mpi()
    assert (ranks.rank, ranks.size, ranks.share(7), ranks.gather("a"), ranks.broadcast(3)) == (0, 1, slice(0, 7), ["a"], 3)
    assert ranks.exchange({}) == {}
    ranks.check_alike({"a": 1})
    with pytest.raises(ValueError, match="communicator must be 'mpi'"):
        fg.get_communicator("nccl")
    with pytest.raises(SystemExit):
        ranks.abort()


def test_shares_follow_each_other_and_differ_by_one_at_most() -> None:
    class Some(Alone):
        size = 3

    shares = []
    for rank in range(3):
        ranks = Some()
        ranks.rank = rank
        shares.append(ranks.share(8))
    assert [(share.start, share.stop) for share in shares] == [(0, 2), (2, 5), (5, 8)]
