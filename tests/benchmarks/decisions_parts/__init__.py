"""Parts of the benchmark of decisions, each with ``run(report)``."""
