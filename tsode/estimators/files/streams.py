"""Point processes in model files: parameters, weights, and the streams that are forecast from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.core.timeline import Timeline
from tsode.estimators.files.checks import check_layout, load_weights, split_by_lengths
from tsode.estimators.files.model_file import Header, Tensors, decode_labels, view_times, weights_of
from tsode.estimators.settings import find_dtype
from tsode.frames.labels import encode_label
from tsode.frames.panel import Layout
from tsode.frames.streams import Streams

__all__ = ["describe_point_process", "restore_point_process"]


def describe_point_process(forecaster: Any) -> tuple[Header, Tensors]:
    """Header and tensors of a fitted `PointProcessForecaster`; `restore_point_process` undoes it."""
    streams: Streams = forecaster._streams
    times = np.concatenate([*streams.times, np.array(streams.start), np.array(streams.end)])
    header = {
        "timeline": forecaster._timeline.to_dict(),
        "layout": streams.layout.to_dict(),
        "ids": [encode_label(key) for key in streams.ids],
        "marks": [encode_label(label) for label in streams.marks],
        "is_window_given": streams.is_window_given,
        "history": forecaster.history_.to_dict(orient="list"),
        "time_dtype": str(times.dtype),
    }
    tensors = weights_of(forecaster.module_)
    tensors["streams.times"] = torch.from_numpy((times.view(np.int64) if times.dtype.kind in "mM" else times).copy())
    tensors["streams.codes"] = torch.from_numpy(np.concatenate(streams.codes))
    tensors["streams.lengths"] = torch.tensor([len(t) for t in streams.times])
    return header, tensors


def restore_point_process(forecaster: Any, header: Header, tensors: Tensors, device: torch.device) -> None:
    """Set what fit has set, on a forecaster that has its parameters."""
    if not isinstance(header["is_window_given"], bool):
        raise ValueError("whether its windows were given is not said")
    ids, lengths, codes = decode_labels(header["ids"]), tensors["streams.lengths"], tensors["streams.codes"].numpy()
    times, marks = view_times(tensors["streams.times"], header["time_dtype"]), decode_labels(header["marks"])
    n = len(ids)
    events, start, end = np.split(times, [len(times) - 2 * n, len(times) - n])
    if codes.dtype != np.int64 or codes.ndim != 1 or ((codes < 0) | (codes >= len(marks))).any():
        raise ValueError(f"the marks of its events are not numbers of its {len(marks)} marks")
    streams = Streams(
        ids=ids,
        times=split_by_lengths(events, lengths, n, "its streams"),
        codes=split_by_lengths(codes, lengths, n, "the marks of its events"),
        start=list(start),
        end=list(end),
        marks=marks,
        layout=Layout.from_dict(header["layout"]),
        is_window_given=header["is_window_given"],
    )
    forecaster._streams, forecaster._timeline = streams, Timeline.from_dict(header["timeline"])
    _check_streams(streams, forecaster._timeline)
    module = load_weights(lambda: forecaster._build(len(marks)), tensors, find_dtype(forecaster.dtype))
    forecaster.module_ = module.to(device).eval()
    forecaster.marks_ = streams.marks
    forecaster.time_unit_ = forecaster._timeline.span(np.ones(1))[0]
    forecaster.history_ = pd.DataFrame(header["history"])
    forecaster.n_iter_ = len(forecaster.history_)


def _check_streams(streams: Streams, timeline: Timeline) -> None:
    """Raise a ValueError unless these are streams of events in their windows, at times that `timeline` can place."""
    if not streams.ids or len(set(streams.ids)) < len(streams.ids) or len(set(streams.marks)) < len(streams.marks):
        raise ValueError("its ids or marks are not distinct")
    check_layout(streams.layout, streams.ids, timeline.kind)
    for times, start, end in zip(streams.times, streams.start, streams.end):
        whole = timeline.to_model(np.concatenate([[start], times, [end]]))
        if not np.isfinite(whole).all() or (np.diff(whole) < 0.0).any():
            raise ValueError("its events are not in the order of their times, or outside of their window")
