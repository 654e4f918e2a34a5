"""Regression along one path: the value at a time, given what was seen before and after it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.batch import IrregularBatch
from tsode.errors import DataError, ParameterError
from tsode.estimators.files.saved import SavedArrayReader
from tsode.estimators.parameters import check_boolean
from tsode.models.linear.gaussian import Smoother
from tsode.models.linear.matern import fit_matern, matern_system
from tsode.models.linear.sde import LinearSDE

__all__ = ["PathRegressor"]

LARGEST = 1e150  # in a model file, as squares of larger numbers leave the range of float64
# what fit sets, in a model file
_NUMBERS = ("intercept_", "length_scale_", "noise_share_", "scale_", "_origin")
_ARRAYS = {"coef_": np.ndarray, "_shift": np.ndarray, "_spread": np.ndarray} | dict.fromkeys(
    ("_times", "_seen", "_covariance"), Tensor
)


class PathRegressor(RegressorMixin, SavedArrayReader):
    """Regress one path on time and on what else was measured then: a Gaussian process with a linear mean, exactly.

    A row of `X` is one observation: its first column is the time, the others are known quantities at that time
    (temperature, dose rate, a calendar feature). The model is ``y = intercept + columns @ coef + process(time) +
    noise``. The process is a linear stochastic differential equation, a Matérn process, so that fit and predict take
    time in proportion to the number of rows, by a Kalman filter and smoother. Times have any spacing and any order;
    several rows may share one. A prediction uses the rows given to fit and its own row, never its neighbours.

    Between observations the prediction interpolates; after the last, it returns to the linear mean over a length scale.

    Parameters
    ----------
    smoothness : {0.5, 1.5, 2.5}
        How often the process can be differentiated, plus a half: rough, once, or twice.
    length_scale : float or None
        Time over which the process forgets, in units of the first column. None: by maximum likelihood.
    noise_share : float or None
        Share of independent noise in the variance of process and noise together, in (0, 1]; 1 is ridge regression
        without a process. None: by maximum likelihood.
    alpha : float
        Ridge penalty on the coefficients of standardised columns. Small by default: it only settles columns that
        say the same.

    Attributes
    ----------
    coef_ : array[p - 1]
        Of the columns after the first, in the units of the data.
    intercept_ : float
    length_scale_, noise_share_ : float
        Those given, or fit.
    scale_ : float
        Standard deviation of process and noise together.
    module_ : LinearSDE
        The process; times count from the first one seen.
    n_features_in_, feature_names_in_ : int, array

    Examples
    --------
    >>> import numpy as np
    >>> from tsode import PathRegressor
    >>> hours = np.array([0.0, 0.4, 1.1, 3.0, 3.2, 5.5])
    >>> regressor = PathRegressor().fit(hours[:, None], np.sin(hours))
    >>> regressor.predict(np.array([[2.0]])).shape
    (1,)
    """

    def __init__(
        self,
        *,
        smoothness: float = 1.5,
        length_scale: float | None = None,
        noise_share: float | None = None,
        alpha: float = 1.0,
    ) -> None:
        self.smoothness = smoothness
        self.length_scale = length_scale
        self.noise_share = noise_share
        self.alpha = alpha

    @isolated()
    def fit(self, X: Any, y: Any) -> Self:
        """Learn from the observations of one path.

        Parameters
        ----------
        X : array[n p]
            Time, then known columns.
        y : array[n]
            NaN = not observed; such a row is left out.

        Returns
        -------
        self
        """
        self._check_parameters()
        if y is None:
            raise DataError("PathRegressor requires y to be passed, but the target y is None: give one value a row.")
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        y = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan", input_name="y")
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        X, y = X[~np.isnan(y)], y[~np.isnan(y)]
        if len(y) < 2:
            raise DataError(
                f"Input y contains NaN in all rows but {len(y)}: a path needs at least two observed values."
            )
        order = np.argsort(X[:, 0], kind="stable")
        X, y = X[order], y[order]
        self._origin = X[0, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            spreads = np.append(X.std(axis=0), y.std())
        if not np.isfinite(spreads).all():
            wrong = "y" if not np.isfinite(spreads[-1]) else f"column {int(np.isinf(spreads).argmax())} of X"
            raise DataError(
                f"The values of {wrong} are too large for float64 to take their standard deviation: bring them to "
                "another unit, or mend the values that stand out."
            )
        self._shift, spread = X[:, 1:].mean(axis=0), X[:, 1:].std(axis=0)
        self._spread = np.where(spread > 1e-12 * np.abs(self._shift).clip(min=1e-300), spread, 1.0)
        level, unit = y.mean(), y.std()
        unit = unit if unit > 1e-12 * abs(level) else 1.0
        times, columns = self._translate(X)
        values = torch.from_numpy((y - level) / unit)
        penalty = torch.full_like(columns[0], self.alpha)
        penalty[0] = 0.0
        self.length_scale_, self.noise_share_, fit = fit_matern(
            times, values, columns, penalty, self.smoothness, self.length_scale, self.noise_share
        )
        weights = fit.coef[0]
        self.coef_ = unit * weights[1:].numpy() / self._spread
        self.intercept_ = float(level + unit * weights[0] - self._shift @ self.coef_)
        self.scale_ = float(unit * fit.variance[0].sqrt())
        self.module_ = self._process()
        rest = (values - columns @ weights) * unit / self.scale_
        # the smoother is linear in what it is given: it takes what is left of y, and each column, as a series
        self._seen = torch.cat([rest[None], columns.T])
        self._times = times
        self._smoother = self._run()
        self._covariance = torch.linalg.inv(fit.precision[0]).contiguous()
        return self

    @isolated()
    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Mean of an observation at the time and columns of each row, given all rows of fit.

        Parameters
        ----------
        X : array[m p]
        return_std : bool
            Whether to return standard deviations as well, as Gaussian process regression does.

        Returns
        -------
        mean : array[m]
        std : array[m], with `return_std`
            Of a new observation, noise and the doubt about the coefficients included.
        """
        check_is_fitted(self)
        check_boolean("return_std", return_std)
        return self._predict(validate_data(self, X, dtype=np.float64, reset=False), return_std)

    def _predict(self, X: np.ndarray, return_std: bool) -> Any:
        times, columns = self._translate(X)
        with torch.no_grad():
            forecast = self._smoother.interpolate(times.expand(len(self._seen), -1))
            mean = forecast.mean[..., 0]
        linear = X[:, 1:] @ self.coef_ + self.intercept_
        smoothed = linear + self.scale_ * mean[0].numpy()
        if not return_std:
            return smoothed
        unknown = columns - mean[1:].T  # of the columns, what the process does not stand in for
        variance = forecast.variance[0, :, 0] + (unknown @ self._covariance * unknown).sum(1)
        return smoothed, self.scale_ * variance.sqrt().numpy()

    def _process(self) -> LinearSDE:
        """The process with its noise, of variance 1: `scale_` multiplies it."""
        drift, diffusion = matern_system(self.smoothness, self.length_scale_)
        readout = torch.zeros_like(drift[:1])
        readout[0, 0] = (1.0 - self.noise_share_) ** 0.5
        noise = torch.tensor([self.noise_share_**0.5])
        return LinearSDE(drift=drift, diffusion=diffusion, readout=readout, noise=noise)

    def _run(self) -> Smoother:
        """The passes over the rows of fit, so that no prediction repeats them."""
        shape = self._seen.shape
        batch = IrregularBatch(
            self._times.expand(shape),
            self._seen[..., None],
            torch.ones(*shape, 1, dtype=torch.bool),
            torch.full(shape[:1], shape[1]),
        )
        with torch.no_grad():
            return self.module_.smoother(batch)

    def _describe(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        numbers = {name: float(getattr(self, name)) for name in _NUMBERS}
        tensors = {name: torch.as_tensor(getattr(self, name)).clone() for name in _ARRAYS}
        return numbers, tensors

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
        for name in _NUMBERS:
            setattr(self, name, float(header[name]))
        for name, kind in _ARRAYS.items():
            setattr(self, name, tensors[name].numpy() if kind is np.ndarray else tensors[name])
        self._check_restored()
        self.module_ = self._process()
        self._smoother = self._run()
        times, columns = self._times.numpy() + self._origin, self._seen[2:].T.numpy() * self._spread + self._shift
        with np.errstate(all="ignore"):
            answers = self._predict(np.column_stack([times, columns]), return_std=True)
        if not all(np.isfinite(answer).all() for answer in answers):
            raise ValueError("its numbers leave the range of float64")

    def _check_restored(self) -> None:
        """Raise a ValueError unless shapes agree and numbers are finite."""
        n, p = len(self._times), len(self.coef_) + 1
        shapes = {"_times": (n,), "_seen": (p + 1, n), "_covariance": (p, p)}
        shapes |= dict.fromkeys(("coef_", "_shift", "_spread"), (p - 1,))
        for name, shape in shapes.items():
            array = np.asarray(getattr(self, name))
            if array.dtype != np.float64 or array.shape != shape or not (np.abs(array) < LARGEST).all():
                raise ValueError(
                    f"{name} is {array.dtype} of shape {array.shape}, not numbers of shape {shape} in range"
                )
        numbers = np.array([getattr(self, name) for name in _NUMBERS])
        is_sound = np.isfinite(numbers).all() and self.length_scale_ > 0.0 and self.scale_ > 0.0
        if not is_sound or not 0.0 < self.noise_share_ <= 1.0 or not (self._spread > 0.0).all():
            raise ValueError("a scale or a share of it is not in its range")
        if n < 2 or (self._times[1:] < self._times[:-1]).any():
            raise ValueError("its times are not in order")

    def _translate(self, X: np.ndarray) -> tuple[Tensor, Tensor]:
        """Times since the first, and a column of ones beside the standardised ones."""
        columns = np.column_stack([np.ones(len(X)), (X[:, 1:] - self._shift) / self._spread])
        return torch.from_numpy(X[:, 0] - self._origin), torch.from_numpy(columns)

    def _check_parameters(self, but: Collection[str] = ()) -> None:
        super()._check_parameters(but)
        if self.length_scale is not None and not self.length_scale > 0.0:
            raise ParameterError(f"length_scale must be positive or None, but is {self.length_scale!r}.")
        if self.noise_share is not None and not 0.0 < self.noise_share <= 1.0:
            raise ParameterError(f"noise_share is a share, in (0, 1], or None, but is {self.noise_share!r}.")
        if not self.alpha > 0.0:
            raise ParameterError(f"alpha must be positive, but is {self.alpha!r}: try 1.0.")
