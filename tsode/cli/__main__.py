"""``python -m tsode.cli`` is the command ``tsode``."""

import sys

from tsode.cli.main import main

sys.exit(main())
