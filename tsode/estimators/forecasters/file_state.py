"""State of a fitted forecaster in a model file: its reader, its weights, and the histories that are forecast from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.core.timeline import Timeline
from tsode.estimators.files.checks import check_ends, check_panel, check_scales, load_weights, split_by_lengths
from tsode.estimators.files.model_file import Header, Tensors, decode_labels, view_times, weights_of
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.covariates import CovariateCoder
from tsode.frames.ends import Ends
from tsode.frames.inputs import DosingInputs, EventEncoder
from tsode.frames.labels import decode_label, encode_label
from tsode.frames.panel import CovariateRecord, Layout, Panel
from tsode.frames.supports import SupportScaler

__all__ = ["describe_forecaster", "restore_forecaster"]


def describe_forecaster(forecaster: Any) -> tuple[Header, Tensors]:
    """Header and tensors of a fitted forecaster, without its class and parameters; `restore_forecaster` undoes it."""
    panel: Panel = forecaster._panel
    reader: DataReader = forecaster.reader_
    header = {
        "timeline": reader.timeline.to_dict(),
        "scaler": reader.scaler.to_dict(),
        "horizon": _encode_span(reader.horizon),
        "time_unit": _encode_span(reader.time_unit),
        "channels": [encode_label(name) for name in reader.channels],
        "n_features_in": reader.n_features_in,
        "is_array": reader.is_array,
        "is_squeezed": reader.is_squeezed,
        "ends": None if reader.ends is None else reader.ends.to_dict(),
        "inputs": None if reader.events is None else reader.events.to_dict(),
        "covariates": None if reader.covariates is None else reader.covariates.to_dict(),
        "layout": panel.layout.to_dict(),
        "ids": [encode_label(key) for key in panel.ids],
        "ids_of_inputs": [encode_label(key) for key in panel.inputs],
        "time_dtype": str(panel.times[0].dtype),
        "history": forecaster.history_.to_dict(orient="list"),
        "n_iter": forecaster.n_iter_,
    }
    tensors = weights_of(forecaster.module_)
    plain = [t.view(np.int64) if t.dtype.kind in "mM" else t for t in panel.times]
    tensors["panel.times"] = torch.from_numpy(np.concatenate(plain).copy())
    tensors["panel.values"] = torch.from_numpy(np.concatenate(panel.values).copy())
    tensors["panel.lengths"] = torch.tensor([len(t) for t in panel.times])
    if panel.inputs:
        inputs = list(panel.inputs.values())
        kind = np.result_type(*(series.times.dtype for series in inputs))
        times = np.concatenate([series.times.astype(kind) for series in inputs])
        tensors["inputs.times"] = torch.from_numpy(times.view(np.int64))
        tensors["inputs.values"] = torch.from_numpy(
            np.concatenate([series.values for series in inputs], dtype=np.float64).copy(order="C")
        )
        tensors["inputs.lengths"] = torch.tensor([len(series.times) for series in inputs])
        header["time_dtype_of_inputs"] = str(kind)
    if reader.covariates is not None:
        tensors |= _covariate_tensors(panel, header)
    return header, tensors


def restore_forecaster(forecaster: Any, header: Header, tensors: Tensors, device: torch.device) -> None:
    """Set what fit has set, on a forecaster that has its parameters."""
    events, covariates, ends = (header.get(name) for name in ("inputs", "covariates", "ends"))
    settings = forecaster.reader_settings()
    reader = DataReader(
        settings=settings,
        channels=decode_labels(header["channels"]),
        timeline=Timeline.from_dict(header["timeline"]),
        scaler=SupportScaler.from_dict(header["scaler"]),
        horizon=_decode_span(header["horizon"]),
        time_unit=_decode_span(header["time_unit"]),
        events=None if events is None else settings.restore_events(events),
        covariates=None if covariates is None else CovariateCoder.from_dict(covariates),
        ends=None if ends is None else Ends.from_dict(ends),
        is_array=header["is_array"],
        is_squeezed=header["is_squeezed"],
        n_features_in=header["n_features_in"],
    )
    _check_reader(reader, header["n_iter"])
    ids, lengths = decode_labels(header["ids"]), tensors["panel.lengths"]
    times = view_times(tensors["panel.times"], header["time_dtype"])
    panel = Panel(
        ids=ids,
        times=split_by_lengths(times, lengths, len(ids), "its times"),
        values=split_by_lengths(tensors["panel.values"].numpy(), lengths, len(ids), "its values"),
        channels=reader.channels,
        layout=Layout.from_dict(header["layout"]),
        inputs=_restore_inputs(header, tensors, reader.events),
        covariates=_restore_covariates(header, tensors, reader.covariates),
    )
    check_scales(reader.scaler, panel.n_channels)
    check_ends(reader.ends, panel.n_channels)
    check_panel(panel, reader.timeline)
    widths = (panel.n_channels, reader.n_inputs, reader.n_features)
    module = load_weights(
        lambda: forecaster._build_like(tensors, *widths, **reader.rates), tensors, forecaster._torch_dtype()
    )
    forecaster._keep(reader, panel, module.to(device), header["history"], header["n_iter"])


def _check_reader(reader: DataReader, n_iter: Any) -> None:
    """Raise a ValueError unless spans are positive, and what counts or is true or false does."""
    for name, span in (("horizon", reader.horizon), ("time_unit", reader.time_unit)):
        if not reader.timeline.duration(span, name) > 0.0:
            raise ValueError(f"its {name} {span} is not positive")
    counts, flags = (reader.n_features_in, n_iter), (reader.is_array, reader.is_squeezed)
    if not all(type(n) is int and n >= 1 for n in counts) or not all(type(flag) is bool for flag in flags):
        raise ValueError("it counts features or epochs in other than whole numbers")
    if reader.covariates is not None:
        check_scales(reader.covariates.scaler, len(reader.covariates.known), "covariates")
        if reader.covariates.cycles and reader.timeline.kind != "datetime":
            raise ValueError("it has cycles of the calendar, but no datetimes")


def _restore_inputs(header: Header, tensors: Tensors, coder: EventEncoder | None) -> dict[Hashable, DosingInputs]:
    ids = decode_labels(header.get("ids_of_inputs", []))
    if not ids or coder is None:
        return {}
    lengths, native = tensors["inputs.lengths"], view_times(tensors["inputs.times"], header["time_dtype_of_inputs"])
    values = tensors["inputs.values"].numpy()
    if values.dtype != np.float64 or values.shape != (len(native), len(coder.columns)) or not np.isfinite(values).all():
        raise ValueError(
            f"its events are {values.dtype} of shape {values.shape}, not finite ones of its kinds of event"
        )
    parts = [split_by_lengths(part, lengths, len(ids), "its events") for part in (native, values)]
    return dict(zip(ids, map(DosingInputs, *parts)))


def _covariate_tensors(panel: Panel, header: Header) -> Tensors:
    """Covariates of all series, end to end; what is needed to take them apart goes into the header."""
    header["ids_of_known"] = [encode_label(key) for key in panel.covariates]
    every = list(panel.covariates.values())
    tensors: Tensors = {}
    static = [record.static for record in every if record.static is not None]
    if static:
        tensors["known.static"] = torch.from_numpy(np.stack(static))
        header["has_static"] = [record.static is not None for record in every]
    times = [record.times for record in every if record.times is not None]
    if times:
        kind = np.result_type(*(t.dtype for t in times))
        tensors["known.times"] = torch.from_numpy(np.concatenate([t.astype(kind) for t in times]).view(np.int64))
        tensors["known.values"] = torch.from_numpy(
            np.concatenate([record.values for record in every if record.values is not None])
        )
        tensors["known.lengths"] = torch.tensor([-1 if record.times is None else len(record.times) for record in every])
        header["time_dtype_of_known"] = str(kind)
    return tensors


def _restore_covariates(
    header: Header, tensors: Tensors, coder: CovariateCoder | None
) -> dict[Hashable, CovariateRecord]:
    ids = decode_labels(header.get("ids_of_known", []))
    if coder is None:
        return {}
    records = dict.fromkeys(ids, CovariateRecord(None, None, None))
    if coder.static:
        having = [key for key, has in zip(ids, header["has_static"]) if has]
        static = tensors["known.static"].numpy()
        _check_numbers(static, (len(having), coder.n_static), "its static covariates")
        records |= {key: replace(records[key], static=row) for key, row in zip(having, static)}
    if coder.known:
        lengths = tensors["known.lengths"]
        having = [key for key, length in zip(ids, lengths.tolist()) if length >= 0]
        times, values = (
            view_times(tensors["known.times"], header["time_dtype_of_known"]),
            tensors["known.values"].numpy(),
        )
        _check_numbers(values, (len(times), len(coder.known)), "its covariates along time", may_lack=True)
        parts = [
            split_by_lengths(part, lengths[lengths >= 0], len(having), "its covariates") for part in (times, values)
        ]
        records |= {key: replace(records[key], times=t, values=x) for key, t, x in zip(having, *parts)}
    return records


def _check_numbers(numbers: np.ndarray, shape: tuple[int, ...], what: str, may_lack: bool = False) -> None:
    is_sound = numbers.dtype == np.float64 and numbers.shape == shape
    if not is_sound or not (np.isfinite(numbers) | (may_lack & np.isnan(numbers))).all():
        raise ValueError(f"{what} are {numbers.dtype} of shape {numbers.shape}, not finite ones of shape {shape}")


def _encode_span(span: Any) -> Any:
    return encode_label(pd.Timedelta(span)) if isinstance(span, np.timedelta64) else float(span)


def _decode_span(state: Any) -> Any:
    span: Any = decode_label(state)
    return span if isinstance(span, float) else span.to_timedelta64()
