"""Parts of the benchmark of assimilation, each with ``run(report)``."""
