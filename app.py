"""Start the page: the same as `vit-explorer app`, with the same options."""

import sys

from vit_explorer.__main__ import run

if __name__ == "__main__":
    run(["app", *sys.argv[1:]])
