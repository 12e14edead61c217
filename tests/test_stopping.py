"""Work that is called off: where it ends, what it gives back, and who may still wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vit_explorer as vx
from vit_explorer.errors import ModelError
from vit_explorer.models.zoo import load_model
from vit_explorer.page import Workbench
from vit_explorer.page.state import loads, session
from vit_explorer.page.state.cache import Once
from vit_explorer.stopping import Stopped, can_stop, look, stoppable


def after(count: int) -> Callable[[], None]:
    """Calls off at the look of that number."""
    left = iter(range(count))

    def check() -> None:
        if next(left, None) is None:
            raise Stopped

    return check


def test_who_may_call_off_is_asked_in_this_thread_alone() -> None:
    look()
    asked: list[str] = []
    with stoppable(lambda: asked.append("outer")):
        with stoppable(lambda: asked.append("inner")):
            look()
        look()
        other = threading.Thread(target=look)
        other.start()
        other.join()
        assert can_stop()
    look()
    assert asked == ["outer", "inner", "outer"] and not can_stop()


@pytest.mark.parametrize("count", [0, 3, 11, 30])
def test_a_pass_is_called_off_and_the_model_given_back(
    small: vx.LoadedModel, cat: Path, count: int
) -> None:
    whole = vx.explain(small, cat, methods="fast")
    with pytest.raises(Stopped), stoppable(after(count)):
        vx.explain(small, cat, methods="fast")
    for part in small.module.modules():
        assert not part._forward_hooks and not part._forward_pre_hooks
    again = vx.explain(small, cat, methods="fast")
    for name, heatmap in whole.heatmaps.items():
        assert (again.heatmaps[name].values == heatmap.values).all()


def test_loading_is_called_off_before_the_model_is_there(small_checkpoint: Path) -> None:
    with stoppable(lambda: None):
        looked_alike = load_model(small_checkpoint)
    assert looked_alike.sha256 == load_model(small_checkpoint).sha256
    looks = 0

    def count() -> None:
        nonlocal looks
        looks += 1

    with stoppable(count):
        load_model("vit_tiny_patch16_224", pretrained=False)
    assert looks > 300
    made: list[torch.nn.Module] = []
    registered = torch.nn.modules.module.register_module_module_registration_hook(
        lambda whole, name, part: made.append(part)
    )
    try:
        with pytest.raises(Stopped), stoppable(after(20)):
            load_model("vit_large_patch16_224", pretrained=False)
    finally:
        registered.remove()
    assert len(made) < 60  # of 24 blocks with fifteen parts each


@pytest.fixture
def bench(small: vx.LoadedModel) -> Workbench:
    return Workbench(small)


def looking(begun: threading.Event, ended: threading.Event) -> Callable[..., vx.LoadedModel]:
    """A load_model that takes 20 seconds if it is not called off."""

    def load(*_: object, **__: object) -> vx.LoadedModel:
        begun.set()
        try:
            for _ in range(2000):
                look()
                time.sleep(0.01)
        finally:
            ended.set()
        raise ModelError("error.load.nothing", "Nothing.")

    return load


def test_a_loading_that_nobody_waits_for_ends(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(session, "load_model", looking(begun, ended))
    name = "vit_tiny_patch16_224"
    with bench.loads.waiting(name) as first:
        assert begun.wait(10)
        with bench.loads.waiting(name) as second:
            assert second is first
        # One has left and one still waits.
        assert not ended.wait(0.1)
    assert ended.wait(10)
    error = first.exception(10)
    # Frames would hold what was loaded so far.
    assert isinstance(error, Stopped) and error.__traceback__ is None
    begun.clear()
    with bench.loads.waiting(name) as anew:
        assert anew is not first and begun.wait(10)


def test_a_loading_has_a_limit(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "LONGEST", 0.0)
    with pytest.raises(ModelError, match="after 0 seconds of computing"):
        bench.model("vit_tiny_patch16_224")


def test_who_waits_for_another_s_work_takes_it_over() -> None:
    once: Once[int] = Once()
    begun, leave = threading.Event(), threading.Event()

    def first() -> int:
        begun.set()
        assert leave.wait(10)
        raise Stopped

    def begin() -> None:
        with pytest.raises(Stopped):
            once.do("key", first)

    other = threading.Thread(target=begin)
    other.start()
    assert begun.wait(10)
    threading.Timer(0.1, leave.set).start()
    assert once.do("key", lambda: 7) == 7
    other.join()
