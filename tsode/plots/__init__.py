"""Pictures of forecasts. matplotlib is imported when one is drawn: ``pip install "tsode[plot]"``."""

from tsode.plots.fan import plot_fan
from tsode.plots.intensity import plot_intensity
from tsode.plots.what_if import plot_what_if

__all__ = ["plot_fan", "plot_intensity", "plot_what_if"]
