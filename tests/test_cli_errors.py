"""What the command does where its input, its output or its time is cut off: one line and an exit code that say so."""

from __future__ import annotations

import gzip
import io
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tsode import DriftForecaster, JumpODEForecaster, LastValueForecaster
from tsode.cli import main
from tsode.cli.tables import read_table
from tsode.errors import DataError
from tsode.estimators import BaseForecaster

pytestmark = pytest.mark.usefixtures("short_epochs")

ROWS = "".join(f"a,{t},{t % 3}\n" for t in range(12))
LAST = ["--model", "last-value"]


def fit(tmp_path, content, *options, name="data.csv"):
    data = tmp_path / name
    data.write_bytes(content if isinstance(content, bytes) else content.encode())
    return main(["fit", str(data), *LAST, "--out", str(tmp_path / "m"), *options])


def told(capsys) -> str:
    """The one line of the error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1, lines
    assert "not foreseen" not in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: give a line with the names of the columns"),
        ("unique_id,ds,y\n", "names of columns, but no rows"),
        (b"unique_id,ds,y\n\0,1,2\n", "holds bytes of zero"),
        ("unique_id,ds,température\na,1,2\n".encode("latin-1"), "save it as UTF-8"),
        ("unique_id,ds,y\na,1,2,3\n", "Row 1 of .* has 4 cells, but the header names 3 columns"),
        ("unique_id,ds,ds,y\na,1,2,3\n", "has the column 'ds' more than once"),
        ('unique_id,ds,y\n"a,1,2\n', "cannot be read as csv"),
        (f"unique_id,ds,y\na,1,{'9' * 400}\na,2,3\n", "too large"),
        (f"unique_id,ds,y\na,{'9' * 400},1\na,2,3\n", "too large"),
        ("unique_id;ds;y\na;1;1,5\na;2;3\n", "numbers with a comma, such as '1,5': if it is a decimal comma"),
        ('unique_id,ds,y\na,1,"1,234"\na,2,"5,678"\n', "if it separates thousands"),
        ("unique_id,ds,y\n,1,1\na,2,3\n", "no id"),
        ("unique_id,ds,y\na,1,1\na,2h,3\n", "such as '1' .* are neither numbers, dates"),
        ("unique_id,ds,y\na,1,inf\na,2,3\n", "is infinite"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_that_says_why(tmp_path, capsys, content, message):
    assert fit(tmp_path, content) == 1
    line = told(capsys)
    assert pd.Series([line]).str.contains(message).all(), line


@pytest.mark.parametrize(("first", "horizon"), [("0", "-3"), ("0", "0"), ("2024-01-0", "-3h")])
@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "evaluate fitted"])
def test_a_horizon_that_is_not_positive_is_said_of_the_option(tmp_path, capsys, command, first, horizon):
    content = "unique_id,ds,y\n" + "".join(f"{key},{first}{day},{day}\n" for key in "ab" for day in range(1, 10))
    data, model = str(tmp_path / "data.csv"), str(tmp_path / "m")
    (tmp_path / "data.csv").write_text(content)
    kept = ["--horizon", "2h" if "-" in first else "2"]
    assert main(["fit", data, "--model", "last-value", "--out", model, *kept]) == 0
    capsys.readouterr()
    ask = {
        "fit": ["fit", data, "--model", "last-value", "--out", model],
        "predict": ["predict", "--model", model],
        "evaluate": ["evaluate", data, "--model", "last-value"],
        "evaluate fitted": ["evaluate", data, "--model", model],
    }[command]
    assert main([*ask, f"--horizon={horizon}"]) == 1
    assert re.search(r"error: --horizon .*positive", told(capsys))


def test_one_row_cannot_be_evaluated(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("unique_id,ds,y\na,1,2\n")
    assert main(["evaluate", str(tmp_path / "a.csv"), *LAST]) == 1
    assert "No series has two times" in told(capsys)


def test_what_is_not_foreseen_is_one_line_too_and_a_traceback_where_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(LastValueForecaster, "fit", lambda *_, **__: 1 / 0)
    assert fit(tmp_path, "unique_id,ds,y\n" + ROWS) == 1
    assert "ZeroDivisionError: division by zero (not foreseen: set TSODE_TRACEBACK=1" in capsys.readouterr().err
    monkeypatch.setenv("TSODE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, "unique_id,ds,y\n" + ROWS)


# -- what can be read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("\ufeffunique_id , ds, y\n" + ROWS, "a.csv"),
        (gzip.compress(("unique_id,ds,y\n" + ROWS).encode()), "a.csv.gz"),
        (("unique_id\tds\ty\n" + ROWS.replace(",", "\t")).encode("utf-16"), "a.tsv"),
        ("unique_id,ds,y,\n" + ROWS.replace("\n", ",\n"), "a.csv"),
    ],
    ids=["mark and spaces", "gzip", "utf-16", "commas at the end"],
)
def test_files_as_programs_write_them_are_read_alike(tmp_path, capsys, content, name):
    assert fit(tmp_path, content, name=name) == 0
    assert "1 series, 12 rows, 1 channels ('y'), ds from 0 to 11" in capsys.readouterr().err


def test_decimal_commas_are_read_where_they_are_said_to_be_such(tmp_path):
    (tmp_path / "a.csv").write_text("unique_id;ds;y\na;0,5;1,25\na;1;3\n")
    frame = read_table(str(tmp_path / "a.csv"), "ds", "unique_id", decimal=",")
    assert frame[["ds", "y"]].to_numpy().tolist() == [[0.5, 1.25], [1.0, 3.0]]


def test_standard_input_is_a_file_of_the_name_of_a_dash(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(("unique_id,ds,y\n" + ROWS).encode())))
    assert main(["fit", "-", *LAST, "--out", str(tmp_path / "m")]) == 0
    assert "'-': 1 series, 12 rows" in capsys.readouterr().err


@pytest.mark.filterwarnings("always")
def test_days_as_numbers_are_said_to_be_read_as_numbers(tmp_path, capsys):
    assert fit(tmp_path, "ds,y\n20240331,1\n20240401,2\n") == 0
    assert "20240331 are read as numbers: write 2024-03-31" in capsys.readouterr().err


# -- ids of other files ------------------------------------------------------------------------------------------------


def test_whole_numbers_of_a_model_made_in_python_are_met_by_their_text_in_a_file(tmp_path, capsys):
    frame = pd.DataFrame({"unique_id": np.repeat([7, 12], 5), "ds": np.tile(np.arange(5.0), 2), "y": np.arange(10.0)})
    DriftForecaster().fit(frame).save(tmp_path / "m")
    (tmp_path / "a.csv").write_text("unique_id,ds,y\n7,9,100\n7,10,101\n9,9,50\n")
    ask = ["predict", str(tmp_path / "a.csv"), "--model", str(tmp_path / "m"), "--times", "11"]
    assert main(ask) == 0
    answer = pd.read_csv(io.StringIO(capsys.readouterr().out), dtype={"unique_id": str}).set_index("unique_id")["y"]
    assert answer["7"] == pytest.approx(102.0)  # from what the file says
    assert "9" in answer.index
    (tmp_path / "a.csv").write_text("unique_id,ds,y\n07,9,1\n")
    assert main(ask) == 1
    assert "'07' (str). Did you mean 7?" in told(capsys)


@pytest.mark.slow
def test_ids_of_parquet_and_of_csv_beside_it_are_one(tmp_path, capsys):
    frame = pd.DataFrame({"unique_id": np.repeat([1, 2], 12), "ds": np.tile(np.arange(12.0), 2), "y": np.arange(24.0)})
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "e.csv").write_text("unique_id,ds,amount\n1,3,1.5\n2,4,1.5\n")
    out = ["--out", str(tmp_path / "m"), "--max-epochs", "1"]
    events = ["--events", str(tmp_path / "e.csv")]
    assert main(["fit", str(tmp_path / "a.parquet"), *events, "--model", "linear-sde", *out]) == 0
    assert set(BaseForecaster.load(tmp_path / "m" / "model.safetensors")._panel.inputs) == {1, 2}
    frame.astype({"unique_id": str}).to_csv(tmp_path / "a.csv", index=False)
    frame[["unique_id"]].drop_duplicates().assign(ds=3.0, amount=1.5).to_parquet(tmp_path / "e.parquet")
    events = ["--events", str(tmp_path / "e.parquet")]
    assert main(["fit", str(tmp_path / "a.csv"), *events, "--model", "linear-sde", *out]) == 0
    assert set(BaseForecaster.load(tmp_path / "m" / "model.safetensors")._panel.inputs) == {"1", "2"}


def test_a_channel_named_by_a_number_is_found_by_the_events_that_target_it(tmp_path):
    (tmp_path / "e.csv").write_text("unique_id,ds,kind,target,amount\na,3,add,1,1.5\n")
    frame = read_table(str(tmp_path / "e.csv"), "ds", "unique_id", as_text=("kind", "target"))
    assert frame["target"].tolist() == ["1"]


# -- output ------------------------------------------------------------------------------------------------------------


def shell(command: str, **env: str) -> subprocess.CompletedProcess:
    run = command.replace("tsode", f"{sys.executable} -m tsode.cli")
    return subprocess.run(["bash", "-c", run], capture_output=True, env=os.environ | env, check=False)


@pytest.mark.slow
def test_output_that_cannot_be_written_is_an_error_and_names_of_any_letters_are_written(tmp_path):
    fit(tmp_path, "unique_id,ds,température\n" + ROWS)
    ask = f"tsode predict --model {tmp_path / 'm'} --times 14"
    for command in (f"{ask} >&-", f"{ask} >/dev/full", "tsode datasets >&-"):
        done = shell(command)
        assert (done.returncode, done.stderr.count(b"\n"), done.stdout) == (1, 1, b"")
    for env in ({}, {"PYTHONUNBUFFERED": "1"}):
        done = shell(ask, PYTHONIOENCODING="ascii", **env)
        assert (done.returncode, done.stdout.decode().split(",")[2]) == (0, "température")


def test_a_table_that_fails_midway_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    fit(tmp_path, "unique_id,ds,y\n" + ROWS)
    out = tmp_path / "out.csv"
    out.write_text("old")

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    capsys.readouterr()
    assert main(["predict", "--model", str(tmp_path / "m"), "--times", "14", "--out", str(out)]) == 1
    assert "No space left" in told(capsys)
    assert out.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["data.csv", "m", "out.csv"]


def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LastValueForecaster, "fit", lambda *_, **__: pytest.fail("fits"))
    (tmp_path / "a.csv").write_text("unique_id,ds,y\n" + ROWS)
    assert main(["evaluate", str(tmp_path / "a.csv"), *LAST, "--out", "scores.doc"]) == 1
    assert main(["fit", str(tmp_path / "a.csv"), *LAST, "--out", str(tmp_path / "a.csv")]) == 1
    assert "File exists" in capsys.readouterr().err


# -- interruption ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_a_command_that_is_stopped_says_so_by_its_code_and_fit_keeps_what_it_has(
    tmp_path, capsys, monkeypatch, number, code, command
):
    fitted = JumpODEForecaster.fit

    def fit_and_stop(self, *args, **kwargs):
        return fitted(self.set_params(callbacks=[lambda row: os.kill(os.getpid(), number)]), *args, **kwargs)

    monkeypatch.setattr(JumpODEForecaster, "fit", fit_and_stop)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    (tmp_path / "a.csv").write_text("unique_id,ds,y\n" + ROWS + ROWS.replace("a,", "b,"))
    out = ["--out", str(tmp_path / "m")] if command == "fit" else []
    small = [
        "--model",
        "jump-ode",
        "--max-epochs",
        "9",
        "--set",
        "n_modes=2",
        "n_static=2",
        "n_hidden=4",
        "n_members=1",
    ]
    assert main([command, str(tmp_path / "a.csv"), *out, *small]) == code
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    if command == "fit":
        assert BaseForecaster.load(tmp_path / "m" / "model.safetensors").n_iter_ < 9
    else:
        assert "interrupted: nothing is kept" in capsys.readouterr().err


def test_a_fit_that_is_stopped_while_it_reads_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(LastValueForecaster, "fit", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert fit(tmp_path, "unique_id,ds,y\n" + ROWS) == 143
    assert not list((tmp_path / "m").iterdir())


def test_a_folder_and_an_unknown_ending_are_named(tmp_path):
    with pytest.raises(DataError, match=r"ends in \.csv or \.parquet"):
        read_table("a.xlsx", "ds")
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        read_table(str(tmp_path / "a.csv"), "ds")
