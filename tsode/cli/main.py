"""Command line of ``tsode``: its options, and what each command calls."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsode import datasets
from tsode._registry import lookup
from tsode.cli.holdout import HeldOut, hold_out, hold_out_after
from tsode.cli.ids import match_ids
from tsode.cli.interruption import Interruption
from tsode.cli.models import models
from tsode.cli.report import write_report
from tsode.cli.tables import check_ending, describe_table, read_table, write_table, write_text
from tsode.errors import DataError, ParameterError, TsodeError, TsodeWarning
from tsode.estimators import AutoForecaster, BaseForecaster
from tsode.frames.standard_errors import columns_beside

__all__ = ["main"]

MODEL_FILE = "model.safetensors"
INTERRUPTED = 130  # by a KeyboardInterrupt that no signal made
TRACEBACK = "TSODE_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        0 = done, 1 = an error whose message is one line on standard error, 128 and the number of the signal =
        interrupted: what `fit` had learned by then is kept. Wrong usage is a SystemExit of 2.
    """
    arguments = build_parser().parse_args(argv)
    with warnings.catch_warnings(), Interruption() as interruption:
        if not sys.warnoptions:
            warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
        if arguments.run is not _fit:  # of half a training there is a model to keep, but nothing to be said
            warnings.filterwarnings("error", "fit was interrupted", TsodeWarning)
        try:
            arguments.run(arguments)
        except BrokenPipeError:  # what reads our output has seen enough; nothing may be written at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (TsodeError, OSError) as error:
            return _fail(_as_options(str(error)))
        except (KeyboardInterrupt, TsodeWarning) as error:
            if isinstance(error, TsodeWarning) and "fit was interrupted" not in str(error):
                return _fail(str(error))  # by python -W error
            _say("interrupted: nothing is kept.")
            return interruption.exit_code or INTERRUPTED
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            return _fail(f"{type(error).__name__}: {error} (not foreseen: set {TRACEBACK}=1 to see where it came up)")
    return interruption.exit_code


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = argparse.ArgumentParser(
        "tsode",
        description="Forecasts for irregular time series, from CSV or parquet files. A file has a column of times, a "
        "column that tells series apart (none where there is one series), and a column for each channel; empty = not "
        "observed.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")

    fit = _command(commands, "fit", _fit, "learn from a file and keep the model in a folder")
    _add_data(fit)
    _add_model(fit)
    fit.add_argument("--out", required=True, metavar="FOLDER", help="where to keep the model; made if it is not there")

    predict = _command(commands, "predict", _predict, "forecast with a model that fit has kept")
    predict.add_argument("data", nargs="?", help="histories to forecast from (default: those of fit)")
    predict.add_argument("--model", required=True, metavar="FOLDER", help="the --out of fit")
    when: Any = predict.add_mutually_exclusive_group()
    when.add_argument("--horizon", help="up to this long after the last observation (default: the horizon of fit)")
    when.add_argument("--times", nargs="+", metavar="TIME", help="at these times, of every series")
    predict.add_argument("--level", nargs="+", type=float, default=[80.0, 95.0], help="of the intervals, per cent")
    _add_given(predict, " of all time, past and to come (default: those of fit)")
    predict.add_argument("--out", metavar="FILE", help="CSV or parquet (default: CSV on standard output)")

    evaluate = _command(commands, "evaluate", _evaluate, "score forecasts of held-out data, beside the baselines")
    report = _command(commands, "report", _report, "evaluate, and write one HTML page with tables and pictures")
    for command, ending in ((evaluate, "CSV or parquet (default: a table on standard output)"), (report, "HTML")):
        _add_data(command)
        _add_model(
            command,
            "; or the --out of fit, which is scored as it is on what came after its history: what options say of data "
            "and training is then that of fit",
        )
        command.add_argument(
            "--cutoffs", type=int, metavar="N",
            help="horizons at the end of each series that are forecast, each from its own beginning (default: as many "
            "as make up a quarter of the median span, 1 to 5)",
        )  # fmt: skip
        command.add_argument(
            "--hold-out", type=float, metavar="SHARE",
            help="score this share of the series, of which fit sees nothing (default: every series, of which fit sees "
            "what came before)",
        )  # fmt: skip
        command.add_argument("--out", required=command is report, metavar="FILE", help=ending)

    bundled = _command(commands, "datasets", _datasets, "list the data that come with tsode, or write one to a file")
    bundled.add_argument("name", nargs="?")
    bundled.add_argument("--out", metavar="FILE", help="CSV or parquet (default: CSV on standard output)")
    return parser


def _command(commands: Any, name: str, run: Callable[[Any], None], summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=f"tsode {name}: {summary}.")
    command.set_defaults(run=run)
    return command


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", help="CSV (with commas, semicolons, tabs or bars) or parquet; - = standard input")
    command.add_argument("--id-col", default="unique_id", help="column that tells series apart (%(default)s)")
    command.add_argument("--time-col", default="ds", help="column of times (%(default)s)")
    command.add_argument("--target", nargs="+", metavar="COLUMN", help="channels (default: all other columns)")
    _add_given(command)


def _add_given(command: argparse.ArgumentParser, when: str = "") -> None:
    command.add_argument("--events", metavar="FILE", help=f"doses and other events at known times{when}")
    command.add_argument("--static", metavar="FILE", help="constants of the series: one row for each id")
    command.add_argument("--known", metavar="FILE", help=f"covariates that are known ahead{when}")
    command.add_argument("--decimal", choices=[".", ","], default=".", help="sign in the numbers of CSV (%(default)s)")


def _add_model(command: argparse.ArgumentParser, or_a_folder: str = "") -> None:
    names: dict[str, Any] = {"choices": models()}
    if or_a_folder:
        names = {"metavar": f"{{{','.join(models())},FOLDER}}"}
    command.add_argument(
        "--model", default="auto", **names,
        help=f"default: %(default)s, which tries forecasters on the data and averages the best{or_a_folder}",
    )  # fmt: skip
    command.add_argument("--horizon", help="how far ahead to forecast: 6h or 30D, or a number if times are numbers")
    command.add_argument(
        "--budget", type=_budget, metavar="SECONDS",
        help="of --model auto: how long fit may try forecasters, about; none = all of them, as long as it takes "
        "(default: 60)",
    )  # fmt: skip
    command.add_argument("--max-epochs", type=int, help="of a named --model that is trained by epochs")
    command.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    command.add_argument("--device", default="auto", help="cpu, cuda, ... (%(default)s)")
    command.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="other parameters of the forecaster, values as JSON"
    )


def _budget(text: str) -> float:
    """Seconds; infinite = no end."""
    seconds = math.inf if text.lower() in ("none", "0") else float(text)
    if not seconds > 0.0:
        raise argparse.ArgumentTypeError(f"must be positive, or none, but is {text}")
    return seconds


def _fit(arguments: argparse.Namespace) -> None:
    frame, tables = _read(arguments)
    horizon = None if arguments.horizon is None else _span(arguments.horizon, _is_clock(frame, arguments.time_col))
    forecaster = _build_forecaster(arguments, horizon)
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)  # before the work, lest it be for nothing
    forecaster.fit(frame, **tables)
    forecaster.save(folder / MODEL_FILE)
    _say(f"{len(forecaster.last_times_)} series, channels {forecaster.channels_}: {folder / MODEL_FILE}")
    if isinstance(forecaster, AutoForecaster):
        board = forecaster.leaderboard_.to_string(index=False, float_format="{:.3g}".format, na_rep="")
        write_text(f"{board}\n\n{textwrap.fill(forecaster.explain(), 100)}\n")


def _predict(arguments: argparse.Namespace) -> None:
    if arguments.out is not None:
        check_ending(arguments.out)
    forecaster = _load(arguments.model)
    is_clock = isinstance(forecaster.horizon_, np.timedelta64)
    arguments.id_col, arguments.time_col, arguments.target = forecaster.id_col, forecaster.time_col, None
    context = None
    if arguments.data is not None:
        context, tables = _read(arguments, forecaster)
    else:
        tables = _read_tables(arguments, forecaster.last_times_, forecaster)
    query: dict[str, Any] = {"horizon": forecaster.horizon_ if context is not None else None}
    if arguments.times is not None:
        query = {"times": arguments.times if is_clock else [_number(text, "--times") for text in arguments.times]}
    elif arguments.horizon is not None:
        query = {"horizon": _span(arguments.horizon, is_clock)}
    answer = forecaster.predict_interval(**query, level=arguments.level, **_not_none(context=context), **tables)
    write_table(answer.to_frame() if isinstance(answer, pd.Series) else answer, arguments.out)


def _load(path: str) -> Any:
    file = Path(path)
    return BaseForecaster.load(file / MODEL_FILE if file.is_dir() else file)


def _evaluate(arguments: argparse.Namespace) -> None:
    if arguments.out is not None:
        check_ending(arguments.out)
    held = _hold_out(arguments)
    if arguments.out is None:
        table = held.scores.to_string(index=False, float_format="{:.4g}".format)
        write_text(f"{held.summary}\n\n{table}\n")
    else:
        write_table(held.scores, arguments.out)


def _report(arguments: argparse.Namespace) -> None:
    write_report(_hold_out(arguments), arguments.out, title=Path(arguments.data).name)
    _say(f"Page: {arguments.out}")


def _datasets(arguments: argparse.Namespace) -> None:
    loaders = {name.removeprefix("load_"): getattr(datasets, name) for name in datasets.__all__ if name[:5] == "load_"}
    if arguments.name is None:
        for name, load in loaders.items():
            summary = load.__doc__.splitlines()[0].removeprefix("Load ").replace("`load_", "").replace("`", "")
            write_text(f"{name:24}{summary}\n")
    else:
        write_table(lookup(loaders, arguments.name, "data set")(), arguments.out)


def _hold_out(arguments: argparse.Namespace) -> HeldOut:
    if arguments.cutoffs is not None and arguments.cutoffs < 1:
        raise ParameterError(f"--cutoffs is how often a series is forecast, 1 at least, but is {arguments.cutoffs}.")
    is_saved = arguments.model not in models()
    if is_saved:
        if not Path(arguments.model).exists():
            lookup(models(), arguments.model, "model or folder")
        needless = [f"--{name.replace('_', '-')}" for name in ("hold_out", "max_epochs", "budget", "set", "target")
                    if getattr(arguments, name)]  # fmt: skip
        if needless:
            raise ParameterError(f"{arguments.model!r} is fitted already, so {', '.join(needless)} cannot change it.")
    forecaster = _load(arguments.model) if is_saved else None
    if forecaster is not None:
        arguments.id_col, arguments.time_col = forecaster.id_col, forecaster.time_col
    frame, tables = _read(arguments, forecaster)
    horizon = None if arguments.horizon is None else _span(arguments.horizon, _is_clock(frame, arguments.time_col))
    options: dict[str, Any] = {"horizon": horizon, "n_cutoffs": arguments.cutoffs, **tables}
    if forecaster is not None:
        return hold_out_after(forecaster, Path(arguments.model).name, frame, **options)
    forecaster = _build_forecaster(arguments, horizon)
    return hold_out(forecaster, arguments.model, frame, **options, share=arguments.hold_out, seed=arguments.seed)


def _read(arguments: argparse.Namespace, fitted: Any = None) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The data and the tables of events and covariates, whose ids are those of the data and of a `fitted` model."""
    id_col, target = arguments.id_col, arguments.target
    if fitted is not None:
        target = fitted.reader_.channels
    elif target is not None:
        target = [*target, *columns_beside(argparse.Namespace(**_settings(arguments.set)))]
    frame = read_table(arguments.data, arguments.time_col, id_col, target=target, decimal=arguments.decimal)
    labels = [] if fitted is None else list(fitted.last_times_)
    frame = match_ids(frame, id_col, labels)
    _say(describe_table(frame, arguments.data, id_col, arguments.time_col, target))
    if id_col in frame.columns:
        labels += frame[id_col].dropna().unique().tolist()
    return frame, _read_tables(arguments, labels, fitted)


def _read_tables(arguments: argparse.Namespace, labels: Iterable[Any], fitted: Any = None) -> dict[str, pd.DataFrame]:
    """The files of events and covariates that are named, as arguments of fit and predict."""
    coder = None if fitted is None else fitted.reader_.covariates
    static = {} if coder is None else {column.name: column.categories or () for column in coder.static}
    known = {} if coder is None else coder.levels
    texts = {"events": ("kind", "target"), "static": _texts_among(static), "known": _texts_among(known)}
    tables: dict[str, pd.DataFrame] = {}
    for name, as_text in texts.items():
        path = getattr(arguments, name)
        if path is not None:
            time_col = None if name == "static" else arguments.time_col
            # numbers of before stay numbers, however they are written
            has_codes = name != "events" and fitted is None
            frame = read_table(
                path, time_col, arguments.id_col, as_text=as_text, has_codes=has_codes, decimal=arguments.decimal
            )
            tables[name] = match_ids(frame, arguments.id_col, labels)
            _say(describe_table(frame, path, arguments.id_col, time_col))
    return tables


def _texts_among(columns: Mapping[Any, Sequence[Any]]) -> list[Any]:
    """The columns of categories whose categories are text."""
    return [name for name, kinds in columns.items() if kinds and all(isinstance(kind, str) for kind in kinds)]


def _build_forecaster(arguments: argparse.Namespace, horizon: Any) -> BaseForecaster:
    forecaster = models()[arguments.model]()
    # what a baseline has no use for is left out, so that one line of options serves every model
    general = _not_none(horizon=horizon, target=arguments.target, max_epochs=arguments.max_epochs)
    if arguments.budget is not None:
        general["budget"] = None if math.isinf(arguments.budget) else arguments.budget
    verbose = int(sys.stderr is not None and sys.stderr.isatty())  # a progress line is for a terminal, not for a pipe
    general |= {
        "id_col": arguments.id_col,
        "time_col": arguments.time_col,
        "device": arguments.device,
        "verbose": verbose,
    }
    params = forecaster.get_params(deep=False)
    needless = [name for name in ("max_epochs", "budget") if name in general and name not in params]
    if needless and not forecaster.is_baseline:
        others = [name for name, made in models().items() if set(needless) <= set(made().get_params(deep=False))]
        raise ParameterError(
            f"--{needless[0].replace('_', '-')} is no option of --model {arguments.model}: leave it out, or name "
            f"another --model ({', '.join(others)})."
        )
    general = {name: value for name, value in general.items() if name in params}
    forecaster.set_params(random_state=arguments.seed, **general)
    for name, value in _settings(arguments.set).items():
        lookup(params, name.partition("__")[0], f"parameter of {type(forecaster).__name__} (--model {arguments.model})")
        forecaster.set_params(**{name: value})
    return forecaster


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """Values by name of ``NAME=VALUE``: JSON, Python's True, False and None, or else text."""
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set takes NAME=VALUE, but came {text!r}.")
        word = {"true": "true", "false": "false", "none": "null"}.get(value.lower(), value)
        try:
            settings[name] = json.loads(word)
        except (ValueError, RecursionError):  # a bare word is text
            settings[name] = value
    return settings


def _not_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _is_clock(frame: pd.DataFrame, time_col: str) -> bool:
    """Whether the times are datetimes or durations."""
    return frame[time_col].dtype.kind in "mM"


def _span(text: str, is_clock: bool) -> Any:
    return text if is_clock else _number(text, "--horizon")


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"The times of the data are numbers, but {what} is {text!r}: give a number.") from None


def _as_options(message: str) -> str:
    """The advice of the library in the words of the command: ``horizon=`` is ``--horizon``."""
    for name, value in (("duplicates", "mean"), ("support", "real")):
        message = message.replace(f"{name}={value!r}", f"--set {name}={value}")
    return re.sub(r"\b(id_col|time_col|horizon|times|events|static|known|target|level|cutoffs)= ?", _as_option, message)


def _as_option(match: re.Match[str]) -> str:
    return f"--{match[1].replace('_', '-')} "


def _fail(message: str) -> int:
    _say(f"error: {' '.join(message.splitlines())}")
    return 1


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody listens
        sys.stderr.write(f"tsode: {text}\n")
