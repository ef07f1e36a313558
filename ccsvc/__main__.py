"""`python -m ccsvc`: the same as the `ccsvc` command."""

import sys

from ccsvc.cli import main

sys.exit(main())
