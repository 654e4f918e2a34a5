"""What the command makes of files as people have them: ids like numbers, leftovers, options of the wrong type."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from tsode.cli import main
from tsode.estimators import BaseForecaster


def run_file(tmp_path, text, *options, name="data.csv", model="last-value"):
    (tmp_path / name).write_text(text)
    return main(
        ["fit", str(tmp_path / name), "--model", model, "--horizon", "2", "--out", str(tmp_path / "m"), *options]
    )


def lines_of(ids, sep=","):
    rows = [sep.join([key, str(t), str(t % 3 + k)]) for k, key in enumerate(ids) for t in range(12)]
    return "\n".join([sep.join(["unique_id", "ds", "y"]), *rows]) + "\n"


def ids_answered(tmp_path, capsys):
    capsys.readouterr()
    assert main(["predict", "--model", str(tmp_path / "m")]) == 0
    answer = pd.read_csv(io.StringIO(capsys.readouterr().out), dtype=str, keep_default_na=False)
    return answer["unique_id"].drop_duplicates().tolist()


@pytest.mark.parametrize(
    "ids", [["01", "1"], ["NA", "nan", "null"], ["1e5", "100000"], ["12345678901234567890123", "7"]]
)
@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_ids_in_a_file_are_text_as_it_is_written_there(tmp_path, capsys, ids, sep):
    assert run_file(tmp_path, lines_of(ids, sep)) == 0
    assert f"{len(ids)} series, {12 * len(ids)} rows, 1 channels ('y'), ds from 0 to 11" in capsys.readouterr().err
    assert ids_answered(tmp_path, capsys) == ids


@pytest.mark.filterwarnings("always")  # the command says them itself
def test_a_kept_row_number_and_a_second_copy_of_a_column_are_left_out_by_name(tmp_path, capsys):
    rows = "\n".join(f"{t},a,{t},{t % 3},{t % 5}" for t in range(12))
    assert run_file(tmp_path, ",unique_id,ds,y,y\n" + rows) == 0
    told = capsys.readouterr().err
    assert "dropped" in told
    assert "1 channels ('y')" in told


@pytest.mark.slow
def test_booleans_of_set_are_read_as_such_and_others_refused(tmp_path, capsys):
    options = ["--max-epochs", "1", "--set", "n_modes=2", "n_hidden=4", "n_members=1"]
    for text in ("gate=False", "gate=false"):
        assert run_file(tmp_path, lines_of(["a", "b"]), *options, text, model="jump-ode") == 0
        assert BaseForecaster.load(tmp_path / "m" / "model.safetensors").gate is False
    for text in ("gate=no", "early_stopping=2", "weight_decay=-5", "learning_rate=x", "verbose=x"):
        assert run_file(tmp_path, lines_of(["a", "b"]), *options, text, model="jump-ode") == 1
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert told.startswith(f"tsode: error: {text.partition('=')[0]}")


def test_times_with_and_without_an_offset_and_addresses_are_refused_by_name(tmp_path, capsys):
    assert run_file(tmp_path, "ds,y\n2024-01-01T00:00Z,1\n2024-01-02T00:00,2\n") == 1
    assert "have an offset from UTC" in capsys.readouterr().err
    assert main(["fit", "http://example.invalid/a.csv", "--out", str(tmp_path)]) == 1
    assert "is an address" in capsys.readouterr().err


def test_a_table_of_events_meets_the_data_as_text(tmp_path, capsys):
    (tmp_path / "e.csv").write_text("unique_id,ds,amount\n01,3,1.5\n1,4,1.5\n")
    options = ["--events", str(tmp_path / "e.csv"), "--max-epochs", "1"]
    assert run_file(tmp_path, lines_of(["01", "1"]), *options, model="linear-sde") == 0
    (tmp_path / "e.csv").write_text("unique_id,ds,amount\n001,3,1.5\n")
    assert run_file(tmp_path, lines_of(["01", "1"]), *options, model="linear-sde") == 1
    assert "001" in capsys.readouterr().err


@pytest.mark.parametrize("table", ["static", "known"])
def test_codes_with_leading_zeros_are_categories_in_fit_and_in_predict(tmp_path, capsys, table):
    heads = "unique_id,zip,age\n" if table == "static" else "unique_id,ds,zip,age\n"
    rows = [(key, code, 10 * k) for k, (key, code) in enumerate([("a", "01234"), ("b", "1234"), ("c", "20500")])]
    spread = [[key, code, age] if table == "static" else [key, 0, code, age] for key, code, age in rows]
    spread += [] if table == "static" else [[key, 20, code, age] for key, code, age in rows]
    (tmp_path / "s.csv").write_text(heads + "".join(",".join(map(str, row)) + "\n" for row in spread))
    options = [f"--{table}", str(tmp_path / "s.csv"), "--max-epochs", "1"]
    assert run_file(tmp_path, lines_of(["a", "b", "c"]), *options, model="linear-sde") == 0
    coder = BaseForecaster.load(tmp_path / "m" / "model.safetensors").reader_.covariates
    kinds = {c.name: c.categories for c in coder.static} if table == "static" else {**coder.levels, "age": None}
    assert kinds == {"zip": ("01234", "1234", "20500"), "age": None}
    # a file in which no zero stands in front is read alike
    (tmp_path / "s.csv").write_text(heads + "".join(",".join(map(str, row)) + "\n" for row in spread if row[0] == "b"))
    (tmp_path / "b.csv").write_text(lines_of(["b"]))
    capsys.readouterr()
    ask = ["predict", str(tmp_path / "b.csv"), "--model", str(tmp_path / "m"), f"--{table}", str(tmp_path / "s.csv")]
    assert main(ask) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_a_channel_with_dollar_signs_is_reported_on(tmp_path):
    text = "unique_id,ds,$x^$\n" + "\n".join(f"a,{t},{t * t % 7}" for t in range(40))
    (tmp_path / "d.csv").write_text(text)
    page = tmp_path / "r.html"
    assert main(["report", str(tmp_path / "d.csv"), "--model", "last-value", "--out", str(page)]) == 0
    assert "<img" in page.read_text()
