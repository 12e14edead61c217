"""`python -m vit_explorer` is the command line."""

import sys

try:
    from vit_explorer.cli import main
except KeyboardInterrupt:  # loading takes seconds, and may be thought better of
    sys.exit(130)

main()
