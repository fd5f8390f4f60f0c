"""`python -m nets`: the same as the command `nets`."""

import sys

from nets.cli import main

sys.exit(main())
