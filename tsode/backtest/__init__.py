"""Backtests: splits by time, forecasts from the past as they would have been made then, and tables of scores."""

from tsode.backtest.forecasts import backtest
from tsode.backtest.scores import score_table
from tsode.backtest.splits import CutoffSplit, end_cutoffs

__all__ = ["CutoffSplit", "backtest", "end_cutoffs", "score_table"]
