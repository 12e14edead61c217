"""Start the page: the same as `vit-explorer app`, with the same options."""

import sys

from vit_explorer.cli import main

if __name__ == "__main__":
    main(["app", *sys.argv[1:]])
