"""Fitted forecasters that go on from new rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from tsode._threads import one_thread
from tsode.errors import DataError
from tsode.estimators.forecasters.array_inputs import join_values
from tsode.estimators.forecasters.history import append_inputs, append_rows, checkpoints
from tsode.frames.times import check_kind

if TYPE_CHECKING:
    from tsode.estimators.forecasters.fitted import FittedForecaster

__all__ = ["go_on"]


def go_on(forecaster: FittedForecaster, X: Any, y: Any, events: Any, static: Any, known: Any, refit: bool) -> None:
    """What `FittedForecaster.update` does: read all that is new, and only then change the forecaster."""
    forecaster._check_fitted()
    forecaster._check_width(X)
    new = forecaster._read_context(X if y is None else join_values(X, y, forecaster.id_col, forecaster.time_col))
    if new.layout.has_ids != forecaster._panel.layout.has_ids:
        this, those = ("have", "has none") if new.layout.has_ids else ("have no", "has some")
        raise DataError(f"The new rows {this} ids, but the data in fit {those}: give them in the same form.")
    for times in new.times:
        check_kind(times, new.layout.time_dtype, forecaster._panel, "update")
    panel, first = append_rows(forecaster._panel, new, forecaster.duplicates)
    began = {key: [time] for key, time in first.items()}
    if events is not None:
        coded = forecaster._known_inputs().encode(forecaster._read_events(events, panel))
        inputs, first = append_inputs(panel.inputs, coded)
        panel = replace(panel, inputs=inputs)
        for key, time in first.items():
            began.setdefault(key, []).append(time)
    panel = forecaster._with_known(panel, static, known)
    if refit:
        forecaster._continue(panel)
    elif forecaster.module_.can_resume:
        with one_thread(), torch.no_grad():
            forecaster._checkpoints = checkpoints(
                forecaster.module_,
                panel,
                forecaster._translator(),
                getattr(forecaster, "_checkpoints", {}),
                began,
                *forecaster._place(),
            )
    forecaster._panel = panel
    touched = panel.select([row for row, key in enumerate(panel.ids) if key in began])
    forecaster.last_times_ = forecaster.last_times_ | dict(zip(touched.ids, touched.last_times))
