"""Direct regression as a forecaster: one regression on lags, gaps, averages and the clock for all lead times."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from tsode.core.series import Series
from tsode.errors import DataError
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.forecasters.boosted_quantiles import fit_trees
from tsode.estimators.forecasters.covariate_parameters import ReadsCovariates
from tsode.estimators.forecasters.dosed_scales import choose_scales
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.supports import HasSupport
from tsode.estimators.parameters import Check, at_least, one_of
from tsode.frames.panel import Panel
from tsode.frames.supports import SupportScaler
from tsode.models.direct.model import DirectModel
from tsode.training.calibration import calibrate
from tsode.training.direct_ridge import fit_ridge
from tsode.training.direct_scales import set_time_scales
from tsode.training.direct_windows import DirectRows, draw_rows
from tsode.training.windows import Split, validation_windows

__all__ = ["DirectForecaster"]

ROUNDING = 1e-9  # of the mean of a constant: below that it has no logarithm
REGRESSIONS: dict[str, None] = dict.fromkeys(("ridge", "boosting"))


@dataclass(kw_only=True, eq=False, repr=False)
class DirectForecaster(HasSupport, ReadsCovariates, BaseForecaster):
    """Forecast irregular series by one regression of what comes on what was, for all lead times.

    What is read of each channel, at any query time: the last value and the one before, their age, averages with
    exponential weights at a sixteenth, a quarter, one and four horizons, the slopes between these, the mean so far, how
    much values change; the last values of other channels; the lead, as exponentials that all of it is multiplied with;
    doses, all of them and those after the last value, each fading at the same four scales; how long ago the series
    began, likewise; covariates and cycles of the calendar. On a logarithmic scale also logarithms of positive constants
    and of what is left of doses, at six times of residence from a gap to a whole series. It learns in seconds, from
    random cuts of the series. The difference from the last value is learned, so that a random walk costs nothing; it
    goes to zero with the lead, and the spread to that of noise.

    Parameters
    ----------
    regression : {"ridge", "boosting"}
        "ridge": a linear location with penalties chosen, channel by channel, by the error on parts of the data that are
        left out (a tenth of the series each, or with few series a fifth of the time of each), one for the last
        value, the level and covariates and one for all else; a log-linear spread, by the lead and by how much the
        channel has moved; and the quantiles of what is left over of errors on those parts.
        "boosting": these quantiles, at nine levels, are functions of all that is read, each a sum of trees by
        scikit-learn's gradient boosting with quantile loss.
    horizon : "auto", duration or float
        Longest lead to learn, and the scale of all averages; "auto" is half the median span.
    max_context : int
        Most observations before a cut that are learned from. Forecasts always use the whole history.
    max_rows : int
        Most values to learn from, about: of each channel, and for trees of all channels together.
    max_trees : int
        Of each level; as many are kept as forecast data best that they have not learned from.
    scale, support, past_covariates, known_path, calendar
        As in `JumpODEForecaster`; a positive channel that is learned as its logarithm is forecast by its ratio to the
        last value. Where there are doses, "auto" and "positive" take the logarithm if this regression forecasts parts
        of the data that are left out better on it.
    device, dtype, time_unit, random_state, verbose
        As in `JumpODEForecaster`; double precision by default.
    id_col, time_col, target, duplicates
        How to read frames, as in `JumpODEForecaster`.

    Attributes
    ----------
    module_ : DirectModel
        The fitted model, in scaled units and model time.
    channels_, horizon_, time_unit_, last_times_, history_, n_iter_ : see `BaseForecaster`.

    Examples
    --------
    >>> from tsode import DirectForecaster
    >>> from tsode.datasets import load_theophylline
    >>> forecaster = DirectForecaster(random_state=0).fit(load_theophylline())
    >>> forecaster.predict_interval(horizon=2.0, level=80).columns.tolist()[2:]
    ['theophylline_mg_l', 'theophylline_mg_l-lo-80', 'theophylline_mg_l-hi-80']
    """

    regression: str = field(default="ridge", kw_only=False)
    max_context: int = 256
    max_rows: int = 20_000
    max_trees: int = 100
    dtype: str = "float64"

    reads_events = True
    has_linear_inputs = True
    checks: ClassVar[dict[str, Check]] = {
        "regression": one_of(REGRESSIONS),
        **dict.fromkeys(("max_context", "max_rows", "max_trees"), at_least(1)),
    }

    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> DirectModel:
        return DirectModel(n_channels, n_features, n_inputs, has_trees=self.regression == "boosting")

    def _split(self, series: list[Series], horizon: float, generator: torch.Generator) -> Split:
        # Errors are those on parts that are left out, so all series serve; parts and draws go by places.
        return Split(sorted(series, key=_content), [], None)

    def _tell(self, module: torch.nn.Module, panel: Panel, reader: DataReader) -> None:
        """What is a logarithm, and what has one."""
        assert isinstance(module, DirectModel)
        if isinstance(reader.scaler, SupportScaler):
            maps = reader.scaler.maps
            module.is_log.copy_(torch.tensor([maps[c].name == "log" for c in range(len(module.is_log))]))
        if reader.covariates is None:
            return
        records = [panel.covariates[key].static for key in panel.ids if key in panel.covariates]
        rows = np.stack([row for row in records if row is not None] or [np.zeros(reader.covariates.n_static)])
        place = 0  # constants are the first features
        for column in reader.covariates.static:
            if column.categories is None and column.shift > 0.0:
                per_unit = column.scale / column.shift
                least = 1.0 + per_unit * float(rows[:, place].min())
                if least > ROUNDING:
                    module.per_unit[place], module.least[place] = per_unit, least
            place += column.width

    def _learn_from(self, panel: Panel, reader: DataReader, held_out: Panel | None, goes_on: bool) -> None:
        if not goes_on:
            reader = choose_scales(reader, panel, partial(self._fit_once, panel))
        super()._learn_from(panel, reader, held_out, goes_on)

    def _fit_once(self, panel: Panel, reader: DataReader) -> tuple[DirectModel, DirectRows, torch.Tensor] | None:
        """A ridge regression on the scales of a reader, what it has learned from, and its errors."""
        module = DirectModel(len(reader.channels), reader.n_features, reader.n_inputs).double()
        self._tell(module, panel, reader)
        generator = torch.Generator().manual_seed(0)  # the same rows on any scale, and later draws stay as they are
        series = self._split(reader.series(panel), reader.reach, generator).train
        set_time_scales(module, series, reader.reach)
        rows = draw_rows(series, module.scales, self.max_context, self.max_rows, generator)
        return (module, rows, fit_ridge(module, rows)) if rows is not None and len(rows.time) else None

    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        assert isinstance(module, DirectModel)
        set_time_scales(module, split.train, horizon)
        rows = draw_rows(split.train, module.scales, self.max_context, self.max_rows, generator)
        if rows is None or not len(rows.time):
            raise DataError(
                "There is no series with two observation times on either side of a cut, so nothing can be learned "
                "about change in time. Give longer series, or use LastValueForecaster or ConstantForecaster."
            )
        module.spread.reset()
        errors, history = fit_ridge(module, rows), []
        if self.regression == "boosting":
            history = fit_trees(module, rows, errors, self.max_trees, self.max_rows, generator)
        if split.valid:
            windows = validation_windows(split.valid, split.valid_from, horizon, self.max_context, self._torch_dtype())
            device = self._torch_device()
            calibrate(module, [(module, [window.to(device) for window in windows])])
        return history


def _content(series: Series) -> tuple[list[float], ...]:
    """What a series holds, to sort by: then nothing depends on the order in which series came."""
    parts = series.times, series.values, series.input_times, series.inputs
    return tuple(np.nan_to_num(part).ravel().tolist() for part in parts)
