"""One tool for hooks: what it registers is seen, may change what runs, and is always taken back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vit_explorer.models.capture import Functions, capture

PACKAGE = Path(__file__).parents[1] / "vit_explorer"


def hooks_of(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def test_what_enters_and_leaves_is_told_and_may_be_changed() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    x, (first, second) = torch.ones(1, 2), module
    seen: list[Any] = []
    with capture() as hooks, torch.no_grad():
        hooks.leaving(first, lambda part, args, output: seen.append((part, args, output)))
        hooks.entering(second, lambda part, args, kwargs: ((args[0] * 2,), kwargs))
        hooks.leaving(second, lambda part, args, output: output + 1)
        found = module(x)
        assert seen[0][0] is first and seen[0][1][0] is x
        torch.testing.assert_close(seen[0][2], x @ first.weight.T + first.bias)
    assert hooks_of(module) == 0
    with torch.no_grad():
        torch.testing.assert_close(found, second(first(x) * 2) + 1)


@pytest.mark.parametrize("when", ["before", "inside"])
def test_hooks_are_taken_back_where_something_fails(when: str) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))

    def fail(*_: Any) -> None:
        raise RuntimeError(when)

    def run() -> None:
        with capture() as hooks:
            hooks.leaving(module[0], lambda *_: None)
            hooks.entering(module[1], fail)
            if when == "before":
                fail()
            module(torch.ones(1, 2))

    with pytest.raises(RuntimeError, match=when):
        run()
    assert hooks_of(module) == 0
    module(torch.ones(1, 2))


def test_calls_of_functions_are_told_until_the_end_of_the_block() -> None:
    class Doubled(Functions):
        def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = super().called(function, args, kwargs)
            return output * 2 if function is torch.relu else output

    x = torch.tensor([-1.0, 3.0])
    with Doubled():
        assert torch.relu(x).tolist() == [0, 6]
        assert torch.clamp(x, min=2).tolist() == [2, 3]
    with pytest.raises(ZeroDivisionError), Doubled():
        raise ZeroDivisionError
    assert torch.relu(x).tolist() == [0, 3]


def test_nothing_else_registers_hooks_or_modes() -> None:
    # A hook that stays with a module it belongs to is none that is lent.
    allowed = {"models/capture.py", "models/checkpoints/folders.py"}
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if re.search(
            r"\.register_forward|\.register_full|\(TorchFunctionMode\)|import TorchFunctionMode",
            file.read_text(encoding="utf-8"),
        )
    }
    assert found == allowed
