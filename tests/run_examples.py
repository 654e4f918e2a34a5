"""Runner of scripts, two at a time, each in a fork of one process that has imported the library for all of them.

Run ``python -W error tests/run_examples.py SCRIPT ...``. What a script prints comes in one piece, when it has ended.
The exit code is 1 if any failed.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from typing import IO

import matplotlib.pyplot as plt  # noqa: F401

import tsode.cli.main
import tsode.plots
import tsode.stability  # noqa: F401

AT_ONCE = 2


def _start(script: str, output: IO[bytes]) -> int:
    """Run a script in a fork, whose output goes into a file; the number of its process."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    sys.argv, code = [script], 0
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the parent's own business at exit is not the script's


def run(scripts: Sequence[str]) -> int:
    """Run all of them; how many failed."""
    waiting, running, n_failed = list(scripts)[::-1], {}, 0
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            script, output = waiting.pop(), tempfile.TemporaryFile()  # noqa: SIM115 -- closed when its script has ended
            running[_start(script, output)] = script, output, time.monotonic()
        pid, status = os.wait()
        script, output, begun = running.pop(pid)
        output.seek(0)
        text = output.read().decode(errors="replace")
        output.close()
        code = os.waitstatus_to_exitcode(status)
        n_failed += code != 0
        ended = f"exit code {code}, " if code else ""
        sys.stdout.write(f"== {script} ({ended}{time.monotonic() - begun:.0f} s)\n{text}\n")
    return n_failed


if __name__ == "__main__":
    raise SystemExit(1 if run(sys.argv[1:]) else 0)
