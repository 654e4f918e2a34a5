"""The command, run in this process on small files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode import AutoForecaster, JumpODEForecaster, LastValueForecaster
from tsode.cli import main
from tsode.cli.holdout import hold_out
from tsode.cli.models import models
from tsode.cli.tables import read_table
from tsode.errors import DataError
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

QUICK = ["--model", "jump-ode", "--max-epochs", "1", "--set", "n_modes=4", "n_static=2", "n_hidden=8", "n_members=1"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def panel(kind: str = "datetime", n_series: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for number in range(n_series):
        hours = np.sort(rng.choice(np.arange(192), 20, replace=False)) / 4.0
        times = hours if kind == "float" else pd.Timestamp("2024-03-30") + pd.to_timedelta((60 * hours).round(), "min")
        values = pd.DataFrame({"hr": 60.0 + np.sin(hours), "bp": 100.0 + rng.normal(size=20)})
        parts.append(values.mask(rng.random((20, 2)) < 0.3).assign(unique_id=f"p{number}", ds=times))
    return pd.concat(parts, ignore_index=True)[["unique_id", "ds", "hr", "bp"]]


def write(tmp_path, name, frame):
    path = tmp_path / name
    frame.to_csv(path, index=False) if name.endswith("csv") else frame.to_parquet(path)
    return str(path)


@pytest.mark.parametrize(("name", "kind"), [("a.csv", "datetime"), ("a.parquet", "datetime"), ("a.csv", "float")])
def test_fit_then_predict_from_files_into_files(tmp_path, name, kind):
    data, model = write(tmp_path, name, panel(kind)), str(tmp_path / "model")
    horizon = "6h" if kind == "datetime" else "6"
    assert main(["fit", data, "--out", model, "--horizon", horizon, *QUICK]) == 0
    out = str(tmp_path / f"out_{name}")
    assert main(["predict", "--model", model, "--horizon", horizon, "--level", "90", "--out", out]) == 0
    answer = read_table(out, "ds")
    assert answer.columns.tolist() == ["unique_id", "ds", "hr", "hr-lo-90", "hr-hi-90", "bp", "bp-lo-90", "bp-hi-90"]
    assert answer.notna().all(axis=None)
    last = panel(kind).dropna(subset=["hr", "bp"], how="all").groupby("unique_id")["ds"].max()
    ahead = answer.groupby("unique_id")["ds"].max() - last
    wanted = pd.Timedelta("6h") if kind == "datetime" else 6.0
    assert (ahead == wanted).all() if kind == "datetime" else np.allclose(ahead, wanted)


def test_the_same_seed_gives_the_same_forecasts(tmp_path, capsys):
    data = write(tmp_path, "a.csv", panel())
    answers = []
    for seed in "334":
        assert main(["fit", data, "--out", str(tmp_path / "m"), "--seed", seed, *QUICK]) == 0
        assert main(["predict", "--model", str(tmp_path / "m")]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != answers[2]


def test_histories_of_other_series_and_given_times_are_answered_on_standard_output(tmp_path, capsys):
    data, model = write(tmp_path, "a.csv", panel("float")), str(tmp_path / "model")
    assert main(["fit", data, "--model", "last-value", "--out", model, "--max-epochs", "3"]) == 0
    other = write(tmp_path, "b.csv", panel("float").assign(unique_id="new").iloc[:20])
    capsys.readouterr()
    assert main(["predict", other, "--model", model, "--times", "50", "60.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["new", "50.0"], ["new", "60.5"]]


def test_one_series_needs_no_ids_and_columns_can_be_named(tmp_path, capsys):
    one = panel().iloc[:20].drop(columns="unique_id").rename(columns={"ds": "when"})
    data, model = write(tmp_path, "a.csv", one), str(tmp_path / "model")
    assert main(["fit", data, "--time-col", "when", "--target", "hr", "--model", "drift", "--out", model]) == 0
    capsys.readouterr()
    assert main(["predict", "--model", model, "--times", "2024-04-02"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "when,hr,hr-lo-80,hr-hi-80,hr-lo-95,hr-hi-95"


def test_doses_are_read_from_a_file_of_their_own(tmp_path):
    frame = panel("float")
    doses = pd.DataFrame({"unique_id": [f"p{k}" for k in range(4)], "ds": 10.0, "amount": 1.0})
    later = pd.concat([doses, doses.assign(ds=49.0)])
    data, given, more = (write(tmp_path, f"{k}.csv", part) for k, part in enumerate((frame, doses, later)))
    model, out = str(tmp_path / "model"), [str(tmp_path / f"out{k}.csv") for k in range(2)]
    assert main(["fit", data, "--events", given, "--out", model, *QUICK]) == 0
    assert main(["predict", "--model", model, "--times", "52", "--out", out[0]]) == 0
    assert main(["predict", "--model", model, "--times", "52", "--events", more, "--out", out[1]]) == 0
    assert (pd.read_csv(out[0])["hr"] != pd.read_csv(out[1])["hr"]).all()


@pytest.mark.slow
def test_covariates_are_read_from_files_of_their_own(tmp_path, capsys):
    frame = panel()
    static = pd.DataFrame({"unique_id": [f"p{k}" for k in range(4)], "age": [1.0, 9.0, 2.0, 8.0], "ward": list("abab")})
    known = pd.DataFrame({"ds": pd.date_range("2024-03-30", periods=8, freq="12h"), "price": np.arange(8.0)})
    data, ages, prices = (write(tmp_path, f"{k}.csv", part) for k, part in enumerate((frame, static, known)))
    more = write(tmp_path, "more.csv", known.assign(price=-known["price"]))
    model = str(tmp_path / "model")
    assert main(["fit", data, "--static", ages, "--known", prices, "--out", model, *QUICK]) == 0
    ask = ["predict", "--model", model, "--times", "2024-04-02"]
    capsys.readouterr()
    answers = []
    for given in ([], ["--known", prices], ["--known", more], ["--static", ages]):
        assert main([*ask, *given]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] == answers[3] != answers[2]
    assert main(["evaluate", data, "--static", ages, "--known", prices, "--horizon", "12h", *QUICK]) == 0
    told = capsys.readouterr().out
    assert main(["evaluate", data, "--horizon", "12h", *QUICK]) == 0
    assert capsys.readouterr().out != told
    out = tmp_path / "past.csv"
    past = ["--target", "hr", *QUICK, "past_covariates=bp"]  # read, not forecast
    assert main(["evaluate", data, "--horizon", "12h", "--out", str(out), *past]) == 0
    assert pd.read_csv(out)["channel"].unique().tolist() == ["hr"]
    assert main(["fit", write(tmp_path, "some.csv", frame[frame["ds"] < "2024-03-31"]), "--out", model, *past]) == 0
    assert main(["report", data, "--model", model, "--horizon", "6h", "--out", str(tmp_path / "past.html")]) == 0
    assert main(["fit", data, "--static", ages, "--model", "drift", "--out", model]) == 1
    assert "DriftForecaster" in capsys.readouterr().err


@pytest.mark.parametrize("share", [[], ["--hold-out", "0.5"]])
def test_evaluate_has_every_baseline_and_the_skill_against_the_last_value(tmp_path, share):
    data, out = write(tmp_path, "a.csv", panel()), str(tmp_path / "scores.csv")
    assert main(["evaluate", data, "--horizon", "12h", "--out", out, *share, *QUICK]) == 0
    scores = pd.read_csv(out)
    assert scores["model"].unique().tolist() == ["jump-ode", "last-value", "constant", "drift"]
    assert scores["channel"].unique().tolist() == ["hr", "bp"]
    assert (scores.loc[scores["model"] == "last-value", "skill"] == 0.0).all()
    assert np.isfinite(scores[["mae", "rmse", "crps", "skill", "in 80 %", "in 95 %"]]).all(axis=None)
    assert (scores.groupby("channel")["n"].nunique() == 1).all()


def test_scores_of_the_last_value_are_those_worked_out_by_hand(tmp_path):
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(10.0), "x": [0, 1, 0, 1, 0, 1, 0, 1, 3, 5]})
    data, out = write(tmp_path, "a.csv", frame), str(tmp_path / "scores.csv")
    # held out: what is later than 9 - 2, so the last value is the 1 at time 7
    assert main(["evaluate", data, "--model", "last-value", "--horizon", "2", "--out", out]) == 0
    row = pd.read_csv(out).set_index("model").loc["last-value"]
    assert (row["n"], row["mae"]) == (2, pytest.approx(3.0))
    assert row["rmse"] == pytest.approx(np.sqrt(10.0))


def test_several_cutoffs_are_each_forecast_from_their_own_beginning(tmp_path, capsys):
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(10.0), "x": [0, 1, 0, 1, 0, 9, 9, 1, 3, 5]})
    data, out = write(tmp_path, "a.csv", frame), str(tmp_path / "scores.csv")
    asked = ["evaluate", data, "--model", "last-value", "--horizon", "2", "--cutoffs", "2"]
    # from time 5, where it is 9: 9 and 1 come; from time 7, where it is 1: 3 and 5
    assert main([*asked, "--out", out]) == 0
    row = pd.read_csv(out).set_index("model").loc["last-value"]
    assert (row["n"], row["mae"]) == (4, pytest.approx((0 + 8 + 2 + 4) / 4))
    assert main(asked) == 0
    assert capsys.readouterr().out.startswith("last-value: 1 series, each forecast from 2 times, 2 ahead.\n")


@pytest.mark.slow
def test_a_kept_model_is_scored_as_it_is_on_what_came_after_its_history(tmp_path):
    frame, model = panel(), str(tmp_path / "model")
    cut = pd.Timestamp("2024-03-31 12:00")
    assert (
        main(["fit", write(tmp_path, "old.csv", frame[frame["ds"] <= cut]), "--out", model, "--horizon", "6h", *QUICK])
        == 0
    )
    before = Path(model, "model.safetensors").read_bytes()
    scores = []
    for name, rows in (("all", frame), ("new", frame[frame["ds"] > cut])):  # what it has seen is left out by itself
        out = str(tmp_path / f"scores_{name}.csv")
        assert main(["evaluate", write(tmp_path, f"{name}.csv", rows), "--model", model, "--out", out]) == 0
        scores.append(pd.read_csv(out))
    pd.testing.assert_frame_equal(*scores)
    assert Path(model, "model.safetensors").read_bytes() == before
    made = JumpODEForecaster.load(Path(model, "model.safetensors"))
    errors = []
    for key, own in frame[frame["ds"] > cut].groupby("unique_id"):
        begin = pd.Timestamp(made.last_times_[key])
        n_steps = min(5, int(np.ceil((own["ds"].max() - begin) / pd.Timedelta("6h"))))
        step = max(pd.Timedelta("6h"), (own["ds"].max() - begin) / n_steps)
        for k in range(n_steps):
            asked = own[(own["ds"] > begin + k * step) & (own["ds"] <= begin + k * step + pd.Timedelta("6h"))]
            asked = asked.dropna(subset="hr")
            if len(asked):
                context = frame[(frame["unique_id"] == key) & (frame["ds"] <= begin + k * step)]
                errors += list(made.predict(asked, context=context)["hr"] - asked["hr"])
    row = scores[0].set_index(["model", "channel"]).loc[("model", "hr")]
    assert (row["n"], row["mae"]) == (len(errors), pytest.approx(np.abs(errors).mean()))
    assert scores[0]["model"].unique().tolist() == ["model", "last-value", "constant", "drift"]


@pytest.mark.slow
def test_a_kept_model_of_one_series_is_reported_on_and_new_series_are_forecast_from_their_own_past(tmp_path, capsys):
    one = panel("float").query("unique_id == 'p0'").drop(columns="unique_id")
    model, out = str(tmp_path / "model"), tmp_path / "report.html"
    old, data = (write(tmp_path, f"{k}.csv", rows) for k, rows in enumerate((one[one["ds"] < 30.0], one)))
    assert main(["fit", old, "--out", model, "--horizon", "6", *QUICK]) == 0
    assert main(["report", data, "--model", model, "--out", str(out)]) == 0
    assert "model: 1 series, each forecast from" in out.read_text()
    many = str(tmp_path / "many")
    frame = panel("float")
    assert main(["fit", write(tmp_path, "m.csv", frame[frame["unique_id"] < "p2"]), "--out", many, *QUICK]) == 0
    capsys.readouterr()
    assert main(["evaluate", write(tmp_path, "n.csv", frame), "--model", many, "--horizon", "12"]) == 0
    assert capsys.readouterr().out.startswith("many: 2 series, each forecast from one time, 12 ahead.")
    assert main(["evaluate", str(tmp_path / "m.csv"), "--model", many]) == 1
    assert "no row that is later than the history of the model" in capsys.readouterr().err


def test_values_at_the_same_time_are_averaged_where_asked(tmp_path, capsys):
    frame = panel()
    data = write(tmp_path, "a.csv", pd.concat([frame, frame]))
    assert main(["evaluate", data, "--model", "drift", "--horizon", "12h"]) == 1
    assert "--set duplicates=mean" in capsys.readouterr().err
    assert main(["evaluate", data, "--model", "drift", "--horizon", "12h", "--set", "duplicates=mean"]) == 0
    twice = capsys.readouterr().out
    assert main(["evaluate", write(tmp_path, "b.csv", frame), "--model", "drift", "--horizon", "12h"]) == 0
    assert capsys.readouterr().out == twice


@pytest.mark.slow
def test_the_report_is_one_page_without_other_files(tmp_path):
    frame = panel()
    end = frame["ds"] > frame.groupby("unique_id")["ds"].transform("max") - pd.Timedelta("12h")
    frame.loc[end & (frame["unique_id"] != "p3"), "bp"] = np.nan  # then there is nothing to compare with
    data, out = write(tmp_path, "a <b>.csv", frame), tmp_path / "report.html"
    assert main(["report", data, "--horizon", "12h", "--out", str(out), *QUICK]) == 0
    page = out.read_text()
    for heading in ("Data", "Skill against the baselines", "Calibration", "Examples", "Training"):
        assert f"<h2>{heading}</h2>" in page
    pictures = re.findall(r'src="([^"]*)"', page)
    assert len(pictures) >= 6
    assert all(source.startswith("data:image/png;base64,") for source in pictures)
    assert "href=" not in page
    assert "<script" not in page
    assert "a &lt;b&gt;.csv" in page
    assert "last-value" in page
    assert "jump-ode: 4 series, each forecast from one time, 0 days 12:00:00 ahead." in page
    assert "There is only one" in page  # cutoff, that is: coverage from it says little
    assert "<th>forecast from</th><th>n</th><th>hr</th><th>bp</th>" in page


AUTO = ["--budget", "none", "--set", 'members=["LastValueForecaster", "DirectForecaster"]']


@pytest.mark.slow
def test_fit_tries_forecasters_and_prints_what_came_of_it(tmp_path, capsys):
    data, model = write(tmp_path, "a.csv", panel()), str(tmp_path / "model")
    assert main(["fit", data, "--horizon", "12h", "--out", model, *AUTO]) == 0
    board, told = capsys.readouterr().out.split("\n\n")
    made = AutoForecaster.load(Path(model, "model.safetensors"))
    assert [line.split()[0] for line in board.splitlines()] == ["model", *made.leaderboard_["model"]]
    assert " ".join(told.split()) == made.explain()
    assert made.budget is None
    assert main(["fit", data, "--horizon", "12h", "--out", model, *AUTO, "--budget", "7"]) == 0
    assert AutoForecaster.load(Path(model, "model.safetensors")).budget == 7.0


@pytest.mark.slow
def test_the_report_of_an_automatic_choice_has_its_leaderboard_with_picture_and_explanation(tmp_path):
    data, out = write(tmp_path, "a.csv", panel()), tmp_path / "report.html"
    assert main(["report", data, "--horizon", "12h", "--out", str(out), *AUTO]) == 0
    section = out.read_text().split("<h2>Leaderboard</h2>")[1].split("<h2>")[0]
    assert "On " in section
    assert "values that were held out" in section
    assert section.count("<img") == 1
    assert '<tr class="strong"><td class="text">combination</td>' in section
    assert '<td class="text">Direct</td>' in section
    assert main(["report", data, "--horizon", "12h", "--out", str(out), "--model", "last-value"]) == 0
    assert "Leaderboard" not in out.read_text()


def test_bundled_data_are_listed_and_written(tmp_path, capsys):
    assert main(["datasets"]) == 0
    assert "theophylline " in capsys.readouterr().out
    out = str(tmp_path / "t.parquet")
    assert main(["datasets", "theophylline", "--out", out]) == 0
    assert pd.read_parquet(out).columns.tolist() == ["unique_id", "ds", "theophylline_mg_l"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fit", "no.csv", "--out", "m"], "No such file"),
        (["fit", "a.txt", "--out", "m"], "give a file that ends in .csv or .parquet"),
        (["fit", "a.csv", "--time-col", "when", "--out", "m"], "has no column 'when' of times"),
        (["fit", "a.csv", "--target", "hrr", "--out", "m"], "Did you mean 'hr'"),
        (["fit", "a.csv", "--model", "jump-ode", "--set", "n_mods=3", "--out", "m"], "Did you mean 'n_modes'"),
        (
            ["fit", "a.csv", "--set", "n_modes=3", "--out", "m"],
            "not a known parameter of AutoForecaster (--model auto)",
        ),
        (
            ["fit", "a.csv", "--max-epochs", "3", "--out", "m"],
            "--max-epochs is no option of --model auto: leave it out",
        ),
        (["fit", "a.csv", "--model", "direct", "--budget", "3", "--out", "m"], "name another --model (auto)"),
        (["fit", "a.csv", "--set", "n_modes", "--out", "m"], "NAME=VALUE"),
        (["evaluate", "a.csv", "--hold-out", "0.01"], "leaves none to score"),
        (["evaluate", "a.csv", "--horizon", "1000h"], "No series is longer than --horizon"),
        (["evaluate", "a.csv", "--horizon", "12"], "has no unit"),
        (["predict", "--model", "a.csv"], "is not an undamaged tsode model file"),
        (["predict", "--model", "none"], "There is no model file"),
        (["evaluate", "a.csv", "--model", "jump-odd"], "Did you mean 'jump-ode'"),
        (
            ["evaluate", "a.csv", "--model", ".", "--max-epochs", "3"],
            "fitted already, so --max-epochs cannot change it",
        ),
        (["evaluate", "a.csv", "--model", ".", "--budget", "3"], "fitted already, so --budget cannot change it"),
        (["evaluate", "a.csv", "--model", "."], "There is no model file"),
        (["evaluate", "a.csv", "--cutoffs", "0"], "--cutoffs is how often a series is forecast"),
        (["datasets", "theophyline"], "Did you mean 'theophylline'"),
    ],
)
def test_an_error_has_its_message_on_standard_error_and_code_1(tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    panel().to_csv("a.csv", index=False)
    assert main(argv) == 1
    both = capsys.readouterr()
    assert message in both.err
    assert "Traceback" not in both.err
    assert not both.out


@pytest.mark.parametrize("argv", [[], ["fit"], ["fit", "a.csv"], ["fit", "a.csv", "--out", "m", "--model", "arima"],
                                  ["fit", "a.csv", "--out", "m", "--budget", "-3"],
                                  ["fit", "a.csv", "--out", "m", "--budget", "long"],
                                  ["predict", "--model", "m", "--times", "1", "--horizon", "2"]])  # fmt: skip
def test_wrong_usage_has_code_2(argv, capsys):
    with pytest.raises(SystemExit) as raised:
        main(argv)
    assert raised.value.code == 2
    assert "usage: tsode" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "fit", "predict", "evaluate", "report", "datasets"])
def test_help_says_what_there_is(command, capsys):
    with pytest.raises(SystemExit) as raised:
        main([*command.split(), "--help"])
    assert raised.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"usage: tsode {command}".strip())
    if command == "":
        assert all(name in text for name in ("fit", "predict", "evaluate", "report", "datasets"))
    if command in ("fit", "evaluate", "report"):
        assert all(name in text for name in models())


def test_times_are_parsed_only_where_they_can_be_read_in_one_way(tmp_path):
    def read(*times):
        return read_table(write(tmp_path, "t.csv", pd.DataFrame({"ds": times, "x": 1.0})), "ds")["ds"]

    assert read("2024-03-31 14:30", "2024-04-01")[1] == pd.Timestamp("2024-04-01")
    assert str(read("2024-03-31T01:30+01:00", "2024-03-31T03:30+02:00").dt.tz) == "UTC"
    assert read("2h", "90min")[1] == pd.Timedelta("90min")
    assert read(1.5, 2.0)[0] == 1.5
    for wrong in ("31/03/2024", "noon"):
        with pytest.raises(DataError, match="neither numbers, dates like"):
            read(wrong, wrong)


@pytest.mark.slow
def test_a_fit_in_a_pipe_is_quiet_and_a_reader_that_stops_is_no_error(tmp_path):
    data, model = write(tmp_path, "a.csv", panel()), str(tmp_path / "model")
    run = [sys.executable, "-m", "tsode.cli"]
    done = subprocess.run([*run, "fit", data, "--out", model, *QUICK], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr.count("\n")) == ("", 2)  # what was read, and where the model is; no progress line
    command = f"{' '.join(run)} datasets cgm | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("unique_id,ds,glucose_mg_dl\n", "")


def test_held_out_data_are_read_for_one_channel_that_is_named_by_itself():
    frame = example_panel().rename(columns={"a": "hr"})  # more than one letter
    held = hold_out(LastValueForecaster(target="hr"), "last-value", frame)
    assert held.scores["channel"].unique().tolist() == ["hr"]


def test_a_support_is_set_by_name_or_for_each_channel(tmp_path, capsys):
    frame = panel("float")
    frame = frame.assign(hr=np.exp(frame["hr"] - 60.0), bp=np.exp(frame["bp"] - 100.0))
    data, model, out = write(tmp_path, "a.csv", frame), str(tmp_path / "model"), str(tmp_path / "out.csv")
    for support in ("positive", '{"hr": "positive", "bp": [0, null]}'):
        assert main(["fit", data, "--out", model, "--horizon", "6", *QUICK, f"support={support}"]) == 0
        assert main(["predict", "--model", model, "--horizon", "6", "--level", "95", "--out", out]) == 0
        answer = pd.read_csv(out)
        assert (answer[[name for name in answer if "-lo-" in name]] > 0.0).all(axis=None)
    below = write(tmp_path, "b.csv", frame.assign(hr=-frame["hr"]))
    capsys.readouterr()
    assert main(["fit", below, "--out", model, "--horizon", "6", *QUICK, "support=positive"]) == 1
    assert "lies outside of its support, from 0 to inf. Mend it, set it to NaN, or fit with --set support=real" in (
        capsys.readouterr().err
    )
