"""Tasks of the first hour by name."""

from __future__ import annotations

from tests.benchmarks.first_hour_parts import panels, single_series
from tests.benchmarks.first_hour_parts.tables import is_bundled, needs
from tests.benchmarks.first_hour_parts.trials import Task
from tests.benchmarks.structural_parts.classic_series import FILE

__all__ = ["TASKS"]

TASKS = {
    task.name: task
    for task in (
        Task("co2", single_series.co2, is_bundled),
        Task("classics", single_series.textbook, needs(FILE), is_geometric=True),
        Task("classics_thinned", single_series.thinned, needs(FILE), is_geometric=True),
        Task("weather", single_series.weather, is_bundled),
        Task("glucose", panels.glucose, is_bundled),
        Task("theophylline", panels.theophylline, is_bundled),
        Task("indomethacin", panels.indomethacin, is_bundled),
        Task(
            "phenobarbital",
            panels.phenobarbital,
            needs("pk_phenobarb", "pk_phenobarb_doses", "pk_phenobarb_static"),
        ),
        Task("pbc", panels.pbc, needs("pbcseq", "pbcseq_static")),
        Task("ushcn", panels.ushcn, is_bundled),
        Task("physionet", panels.physionet, is_bundled),
        Task("rrlyrae", panels.light_curves, needs("rrlyrae_sdss_s82")),
        Task("lr04", single_series.lr04, is_bundled),
    )
}
