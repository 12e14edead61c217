"""`python -m vit_explorer` is the command line."""

from vit_explorer.cli import main

main()
