"""Command ``tsode``: fit, predict, evaluate and report from CSV or parquet files."""

from tsode.cli.main import main

__all__ = ["main"]
