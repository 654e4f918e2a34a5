"""Model files of point processes."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from tsode.core.timeline import Timeline
from tsode.errors import FileFormatError
from tsode.estimators.files.checks import UNREADABLE, damaged, load_weights, split_by_lengths
from tsode.estimators.files.model_file import (
    decode_labels,
    decode_parameter,
    encode_parameters,
    read_model_file,
    view_times,
    write_model_file,
)
from tsode.estimators.settings import find_device, find_dtype
from tsode.frames.labels import encode_label
from tsode.frames.panel import Layout
from tsode.frames.streams import Streams
from tsode.models.intensities import build_intensity

__all__ = ["load_point_process", "save_point_process"]

T = TypeVar("T")


def save_point_process(estimator: Any, path: Any) -> None:
    """Write a fitted `PointProcessForecaster` with the streams that it goes on from."""
    streams: Streams = estimator._streams
    times = np.concatenate([*streams.times, np.array(streams.start), np.array(streams.end)])
    header = {
        "class": "PointProcessForecaster",
        "params": encode_parameters(estimator),
        "timeline": estimator._timeline.to_dict(),
        "layout": streams.layout.to_dict(),
        "ids": [encode_label(key) for key in streams.ids],
        "marks": [encode_label(label) for label in streams.marks],
        "is_window_given": streams.is_window_given,
        "history": estimator.history_.to_dict(orient="list"),
        "time_dtype": str(times.dtype),
    }
    tensors = {f"module.{name}": value.detach().cpu().clone() for name, value in estimator.module_.state_dict().items()}
    tensors["streams.times"] = torch.from_numpy((times.view(np.int64) if times.dtype.kind in "mM" else times).copy())
    tensors["streams.codes"] = torch.from_numpy(np.concatenate(streams.codes))
    tensors["streams.lengths"] = torch.tensor([len(t) for t in streams.times])
    write_model_file(path, header, tensors)


def load_point_process(cls: type[T], path: Any, device: str) -> T:
    """Read an estimator written by `save_point_process`."""
    place = find_device(device)
    header, tensors = read_model_file(path)
    if header["class"] != "PointProcessForecaster":
        raise FileFormatError(f"{str(path)!r} holds a {header['class']}: load it with {header['class']}.load(path).")
    try:
        return _restore(cls, header, tensors, place)
    except UNREADABLE as error:
        raise damaged(path, error) from error


def _restore(cls: Any, header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    estimator = cls(**{name: decode_parameter(value) for name, value in header["params"].items()})
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
        is_window_given=bool(header["is_window_given"]),
    )
    estimator._streams, estimator._timeline = streams, Timeline.from_dict(header["timeline"])
    module = load_weights(
        lambda: build_intensity(
            estimator.intensity, len(streams.marks), n_hidden=estimator.n_hidden, n_modes=estimator.n_modes,
            n_static=estimator.n_static,
        ),
        tensors,
        find_dtype(estimator.dtype),
    )  # fmt: skip
    estimator.module_ = module.to(device).eval()
    estimator.marks_ = streams.marks
    estimator.time_unit_ = estimator._timeline.span(np.ones(1))[0]
    estimator.history_ = pd.DataFrame(header["history"])
    estimator.n_iter_ = len(estimator.history_)
    return estimator
