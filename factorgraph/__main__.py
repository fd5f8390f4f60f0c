"""`python -m factorgraph`: the same as the command `factorgraph`."""

import sys

from factorgraph.cli import main

sys.exit(main())
