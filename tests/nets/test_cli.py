"""The command line as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nets.cli import main

KEYS = {"epoch", "train_error", "test_error", "test_error_bayes", "seconds"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    arguments = ["train", "--hidden", "31", "--epochs", "3", "--seed", "1"]
    assert main([*arguments, "--save", str(folder / "net.npz"), "--json", str(folder / "run.json")]) == 0
    return folder


def test_train_prints_a_table_and_writes_results(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads((trained / "run.json").read_text())
    assert set(run) == {"config", "epochs", "final"}
    assert [row["epoch"] for row in run["epochs"]] == [1, 2, 3]
    assert set(run["final"]) == KEYS
    assert run["final"] == run["epochs"][-1]
    assert run["config"]["hidden"] == [31]
    assert main(["train", "digits", "--hidden", "31", "--epochs", "3", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("digits: 1,198 training and 599 test rows; network 64-31-10, bpi, numpy")
    assert f"{run['final']['test_error']:.2f}" in lines[4]  # the same seed, the same figures
    assert "test error" in lines[-1]


def test_evaluate_and_predict_use_the_saved_model(trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = json.loads((trained / "run.json").read_text())
    assert main(["evaluate", str(trained / "net.npz"), "--json", str(tmp_path / "errors.json")]) == 0
    errors = json.loads((tmp_path / "errors.json").read_text())
    assert errors["test_error"] == pytest.approx(run["final"]["test_error"])
    assert errors["test_error_bayes"] == pytest.approx(run["final"]["test_error_bayes"])
    capsys.readouterr()
    assert main(["predict", str(trained / "net.npz"), "digits"]) == 0
    labels = capsys.readouterr().out.split()
    assert len(labels) == 599
    assert set(labels) <= set("0123456789")
    np.savez(tmp_path / "rows.npz", X=np.zeros((2, 8, 8)))
    output = tmp_path / "probabilities.txt"
    assert main(["predict", str(trained / "net.npz"), str(tmp_path / "rows.npz"), "--proba", "--output", str(output)]) == 0
    assert np.loadtxt(output).sum(axis=1) == pytest.approx([1, 1], abs=1e-4)


def test_kinds_of_weights_and_units(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "net.toml"
    config.write_text('weights = [-1, 0, 1]\nactivation = "relu"\nbiases = true\nresume = false\n')
    common = ["train", "digits", "--hidden", "11", "--epochs", "1"]
    assert main([*common, "--config", str(config), "--validate", "300"]) == 0
    assert "898 training and 300 test rows" in capsys.readouterr().out
    assert main([*common, "--weights", "real", "--temperature", "0.5"]) == 0
    capsys.readouterr()
    for words, message in ((["real", "1"], "one name or a list of numbers"), (["odd"], "must be one of")):
        assert main([*common, "--weights", *words]) != 0
        assert message in capsys.readouterr().err


def test_a_config_file_gives_options_and_the_command_line_has_precedence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text('dataset = "digits"\nhidden = [21, 11]\nepochs = 2\nbatch-size = 64\nmethod = "mf"\n')
    results = tmp_path / "run.json"
    assert main(["train", "--config", str(config), "--epochs", "1", "--json", str(results)]) == 0
    run = json.loads(results.read_text())
    assert (run["config"]["hidden"], run["config"]["method"], run["config"]["batch_size"]) == ([21, 11], "mf", 64)
    assert len(run["epochs"]) == 1
    config.write_text("epoch = 2\n")
    assert main(["train", "--config", str(config)]) == 1
    assert "unknown option 'epoch'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "cifar"], "unknown data set 'cifar'"),
        (["train", "mnist", "--data", "/nowhere"], "no file train-images-idx3-ubyte"),
        (["train", "--epochs", "0"], "epochs must be a whole number"),
        (["train", "--hidden", "0"], "hidden_layer_sizes must be"),
        (["train", "--save", "/nowhere/net.npz"], "cannot write /nowhere/net.npz"),
        (["train", "--damping", "0", "--epochs", "9"], "training has collapsed"),
        (["evaluate", "/nowhere.npz"], "no such file"),
    ],
)
def test_failures_exit_1_with_one_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("arguments", [[], ["learn"], ["train", "--method", "sgd"], ["train", "--epochs", "many"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("sent", "told"), [("SIGINT", "interrupted"), ("SIGTERM", "stopped by SIGTERM"), ("SIGHUP", "stopped")]
)
def test_signals_keep_the_last_finished_epoch(sent: str, told: str, tmp_path: Path) -> None:
    number = getattr(signal, sent)
    model, results = tmp_path / "net.npz", tmp_path / "run.json"
    command = [sys.executable, "-m", "nets.cli", "train", "--epochs", "100000", "--hidden", "31"]
    process = subprocess.Popen(
        [*command, "--save", str(model), "--json", str(results)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not results.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert errors.startswith(told)
    assert "is kept" in errors
    assert "Traceback" not in errors
    epochs = len(json.loads(results.read_text())["epochs"])
    assert f"after {epochs} epochs" in output or f"after {epochs + 1} epochs" in output
    assert main(["evaluate", str(model)]) == 0


def test_a_second_signal_ends_at_once() -> None:
    """Without a traceback, though the program goes on after the first."""
    program = """
import signal, sys, time
from nets.signals import Listener, Stopped
with Listener() as listener:
    try:
        with listener.held():
            print("ready", flush=True)
            time.sleep(0.2)
            print("whole", flush=True)
    except Stopped as stop:
        print(stop, stop.exit_code, flush=True)
        time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.stdout.readline() == "whole\n"
    assert process.stdout.readline() == f"stopped by SIGTERM {128 + signal.SIGTERM}\n"
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert errors == ""


def test_another_package_named_factorgraph_is_told_from_ours(tmp_path: Path) -> None:
    (tmp_path / "factorgraph").mkdir()
    (tmp_path / "factorgraph" / "__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "import nets"]
    output = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert output.returncode == 1
    assert "is another project of that name; remove it (pip uninstall factorgraph)" in output.stderr


def test_evaluate_prints_both_predictions(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads((trained / "run.json").read_text())
    assert main(["evaluate", str(trained / "net.npz")]) == 0
    rows = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows == {
        "point-wise": f"{run['final']['test_error']:.2f}",
        "Bayesian": f"{run['final']['test_error_bayes']:.2f}",
    }


def test_a_resumed_run_prints_its_epochs(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(trained / "net.npz", tmp_path / "more.npz")
    arguments = ["train", "--hidden", "31", "--seed", "1", "--save", str(tmp_path / "more.npz"), "--resume"]
    assert main([*arguments, "--epochs", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("after epoch 3" in line for line in lines)
    assert any(line.split()[:1] == ["4"] for line in lines)


def test_an_output_that_cannot_be_written_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "missing" / "labels.txt"
    assert main(["predict", str(tmp_path / "no-model.npz"), "digits", "--output", str(output)]) == 1
    message = capsys.readouterr().err
    assert "labels.txt" in message
    assert "no-model.npz" not in message


def test_downloads_go_where_they_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["download", "mnist", "--folder", str(tmp_path), "--mirror", "http://127.0.0.1:9/"]
    assert main(arguments) == 1
    assert "no mirror gave" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["download", "digits"])
