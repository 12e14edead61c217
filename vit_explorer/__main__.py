"""`python -m vit_explorer`, `vit-explorer` and `app.py`: the command line as a program."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vit_explorer import ending


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process, also where it is asked to end before it has begun."""
    code = 0
    try:
        ending.listen()
        from vit_explorer.cli import main
        from vit_explorer.failures import keep_log

        keep_log()
        main(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        pass
    ending.leave(ending.asked() or code)


if __name__ == "__main__":
    run()
