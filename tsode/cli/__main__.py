"""Command ``tsode`` by ``python -m tsode.cli``."""

import sys

from tsode.cli.main import main

sys.exit(main())
