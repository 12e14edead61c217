"""What handlers are given: the workbench of the page, and the result that an address names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request

from vit_explorer.page.state.results import GONE, Result
from vit_explorer.page.state.session import Workbench
from vit_explorer.sentences import keyed

BYTES = "application/octet-stream"


def workbench_of(request: Request) -> Workbench:
    """The workbench that the application was built for."""
    workbench: Workbench = request.app.state.workbench
    return workbench


Bench = Annotated[Workbench, Depends(workbench_of)]


def held_result(key: str, workbench: Bench) -> Result:
    """The result of a key; raises the answer that it is gone."""
    result = workbench.result(key)
    if result is None:
        raise HTTPException(404, keyed(GONE))
    return result


Held = Annotated[Result, Depends(held_result)]
