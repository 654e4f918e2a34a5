"""Growing a fitted forecaster: more units, the same forecasts."""

from __future__ import annotations

import copy
from typing import Any, Self

from tsode._isolation import isolated
from tsode._random import OwnDraws, new_generator
from tsode.estimators.forecasters.windowed import WindowedForecaster
from tsode.models.filters.base import MarginalModel
from tsode.training.growth import grow

__all__ = ["GrowingForecaster"]


class GrowingForecaster(WindowedForecaster):
    """Part of the forecasters by filters that makes them larger after fit."""

    n_hidden: int

    @isolated()
    def grow(self, **sizes: Any) -> Self:
        """Make the fitted model larger; its forecasts stay what they are.

        The next `fit` goes on from there, for `warm_start` is set: what a small model has learned quickly is the start
        of a large one. See `tsode.training.growth.grow`.

        Parameters
        ----------
        **sizes
            Parameters of this forecaster with new, larger values: `n_modes`, `n_static`, `n_state`, `n_hidden`, or
            ``evolution__width`` of an evolution that is given as ``part("mlp", width=...)``.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            If a size would fall, or there is a part that cannot grow. Nothing has changed then.

        Examples
        --------
        >>> from tsode import JumpODEForecaster
        >>> from tsode.datasets import load_theophylline
        >>> frame = load_theophylline()
        >>> forecaster = JumpODEForecaster(max_epochs=2, n_modes=8, n_static=4, random_state=0).fit(frame)
        >>> forecaster = forecaster.grow(n_modes=16).fit(frame)
        """
        self._check_fitted()
        grown: Self = copy.copy(self).set_params(**sizes, warm_start=True)
        grown._check_parameters()
        old, reader = self.module_, self.reader_
        assert isinstance(old, MarginalModel)
        weights = old.state_dict()
        widths = (len(reader.channels), reader.n_inputs, reader.n_features)
        with OwnDraws(new_generator(self.random_state)):
            new = grown._build_like(weights, *widths, **reader.rates)
            assert isinstance(new, MarginalModel)
            new.resize_like({name: x for name, x in weights.items() if name.startswith("members.")})
        new = new.to(self._torch_device(), self._torch_dtype())
        new.expert = copy.deepcopy(old.expert)
        # what is not known of readouts is told by their hidden units: of more of them the next fit finds it anew
        new.posterior = copy.deepcopy(old.posterior) if grown.n_hidden == self.n_hidden else None
        grow(old, new)
        self.set_params(**sizes, warm_start=True)
        self._checkpoints = None  # states were of another width
        self.module_ = new.eval()
        return self
