"""sktime's own suite with a learned forecaster inside the adapter.

    python tests/benchmarks/sktime_suite.py [--forecaster jump-ode linear-sde]

Prints how many checks ran and passed, and in what CPU time; ends with 1 if any failed. It takes some minutes.
"""

from __future__ import annotations

import argparse
import time
import warnings

from tsode import JumpODEForecaster, LinearSDEForecaster

TINY = {
    "jump-ode": JumpODEForecaster(n_modes=2, n_static=1, n_hidden=4, n_members=1, max_epochs=1, random_state=0),
    "linear-sde": LinearSDEForecaster(n_state=1, max_epochs=1, random_state=0),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--forecaster", nargs="+", default=["jump-ode"], choices=list(TINY))
    arguments = parser.parse_args()
    try:
        from sktime.utils.estimator_checks import check_estimator

        from tsode.integrations.sktime import TsodeForecaster
    except ImportError as error:
        print(f"{error}: `make sktime` installs what is needed.")
        return 2
    warnings.simplefilter("ignore")
    n_failed = 0
    for name in arguments.forecaster:
        started = time.process_time()
        results = check_estimator(TsodeForecaster(TINY[name]), raise_exceptions=False, verbose=False)
        failed = {check: result for check, result in results.items() if result != "PASSED"}
        spent = time.process_time() - started
        print(f"{name}: {len(results) - len(failed)} of {len(results)} passed, {spent:.0f} CPU-s")
        for check, result in failed.items():
            print(f"  {check}: {result}")
        n_failed += len(failed)
    return int(n_failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
