"""What a result is asked beyond its one pass, without a browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

import vit_explorer as vx
from tests.packed import unpack
from vit_explorer.analysis.faithfulness import PROTOCOLS, RANDOM_MAPS, Protocol
from vit_explorer.errors import OptionError
from vit_explorer.methods.attention import rollout_by_layer
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.payloads.maps import describe_methods, layered, shown_of
from vit_explorer.page.state.extra_maps import Analyses, Named
from vit_explorer.page.state.results import Result

JSON = {"content-type": "application/json"}


def asked(client: TestClient, result: Result, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of an answer."""
    path = f"/explorer/results/{result.key}/analyses"
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_map_is_what_explain_gives(
    client: TestClient, result: Result, small: vx.LoadedModel
) -> None:
    *_, last = asked(client, result, {"ask": "map", "name": "occlusion"})
    expected = vx.explain(small, "assets/cat.png", methods=("occlusion",)).heatmaps["occlusion"]
    np.testing.assert_allclose(last["map"]["values"], expected.values.ravel(), atol=1e-6)
    assert last["map"]["id"] == "occlusion"
    assert last["map"]["signed"] is True


def test_each_layer_s_maps_are_those_of_the_option(
    client: TestClient, result: Result, small: vx.LoadedModel
) -> None:
    lines = asked(client, result, {"ask": "layers"})
    assert [line["layers"] for line in lines if "layers" in line] == layered()
    for name in ("attention", "grad_cam", "eigen_cam"):
        base = f"/explorer/results/{result.key}/methods/{name}/layers"
        facts, arrays = unpack(client.get(base).content)
        assert facts["name"] == name and len(facts["layers"]) == small.card.depth
        for layer, values in enumerate(arrays["values"].reshape(small.card.depth, -1)):
            options = {name: {"layer": layer}}
            explained = vx.explain(small, "assets/cat.png", methods=(name,), options=options)
            expected = explained.heatmaps[name].values
            np.testing.assert_allclose(values.reshape(expected.shape), expected, atol=1e-5)


@contextmanager
def counted(model: vx.LoadedModel) -> Iterator[list[int]]:
    """How many pictures each pass of a model is over."""
    passes: list[int] = []
    hook = model.module.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    try:
        yield passes
    finally:
        hook.remove()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_trust_is_faithfulness_and_measures_no_copy_twice(
    client: TestClient, result: Result, small: vx.LoadedModel, protocol: Protocol
) -> None:
    def ask_for(*names: str) -> list[dict[str, Any]]:
        body = {"ask": "trust", "names": names, "protocol": protocol}
        return asked(client, result, body)

    with counted(small) as passes:
        ask_for("rollout")
        first = sum(passes)
        second = ask_for("rollout", "grad_cam@1")
        further = sum(passes) - first
        again = ask_for("grad_cam@1")
        assert sum(passes) == first + further
    explained = vx.explain(
        small,
        "assets/cat.png",
        methods=("rollout", "grad_cam"),
        options={"grad_cam": {"layer": 1}},
    )
    target = result.explanation.target
    assert target is not None
    maps = {"rollout": "rollout", "grad_cam@1": "grad_cam"}
    expected = vx.faithfulness(
        small,
        "assets/cat.png",
        {name: explained.heatmaps[own] for name, own in maps.items()},
        target=target.index,
        protocol=protocol,
    )
    assert further < first / 4
    assert expected.copies <= first + further < 1.25 * expected.copies
    told = second[-1]["trust"]
    for name in maps:
        score = expected.scores[name]
        assert told["maps"][name]["insertion"] == pytest.approx(score.insertion, abs=1e-5)
        assert told["maps"][name]["deletion"] == pytest.approx(score.deletion, abs=1e-5)
        curve = told["maps"][name]["insertion_curve"]
        np.testing.assert_allclose(curve, score.insertion_curve, atol=1e-5)
        assert told["maps"][name]["beats"] == expected.beaten(name)
        assert told["maps"][name]["near"] is (name in expected.unsettled)
        good = expected.beats_chance(name)
        verdict = told["maps"][name]["verdict"]
        assert (verdict in ("chance", "worse")) is not good
        assert (verdict == "worse") is expected.loses_to_chance(name)
    assert (told["of"], told["protocol"]) == (RANDOM_MAPS, protocol)
    mean = np.mean([score.insertion for score in expected.random])
    assert told["random"]["insertion"] == pytest.approx(mean, abs=1e-5)
    assert again[-1]["trust"] == told
    assert not any("total" in line for line in again)


def test_what_takes_long_is_told_and_not_done_unasked(
    client: TestClient, workbench: Workbench, small: vx.LoadedModel
) -> None:
    result = workbench.analyse("coffee.png", workbench.start_name, None)
    body = {"ask": "trust", "names": ["rollout"], "protocol": "tokens", "within": 0.0}
    *_, last = asked(client, result, body)
    assert set(last) == {"trust_seconds"} and last["trust_seconds"]["tokens"] > 0
    with counted(small) as passes:
        *_, last = asked(client, result, {**body, "within": 100.0})
    assert set(last["trust"]["maps"]) == {"rollout"} and passes
    *_, last = asked(client, result, {**body, "within": 0.0})
    assert "trust" in last


def test_where_protocols_differ_is_told(
    client: TestClient, workbench: Workbench, small: vx.LoadedModel
) -> None:
    result = workbench.analyse("rocket.jpg", workbench.start_name, None)
    names = [name for name in shown_of(1) if name in result.explanation.heatmaps]
    body = {"ask": "trust", "names": names}
    *_, one = asked(client, result, {**body, "protocol": "pixels"})
    assert one["differ"] == {}
    *_, both = asked(client, result, {**body, "protocol": "tokens"})
    target = result.explanation.trace.aim
    maps = {name: result.explanation.heatmaps[name] for name in names}
    trusts = [
        vx.faithfulness(small, result.picture, maps, target=target, protocol=protocol)
        for protocol in PROTOCOLS
    ]
    expected = vx.disagreements(*trusts)
    assert {name: said["text"] for name, said in both["differ"].items()} == expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"ask": "map", "name": "rolout"}, "did you mean 'rollout'"),
        ({"ask": "map", "name": "rollout@1"}, "reads all layers"),
        ({"ask": "map", "name": "grad_cam@3"}, "0 to 2"),
        ({"ask": "map", "name": "grad_cam@-1"}, "0 to 2"),
        ({"ask": "trust", "names": ["../x"]}, "no method"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    client: TestClient, result: Result, body: dict[str, Any], words: str
) -> None:
    [line] = asked(client, result, body)
    assert words in line["error"]["text"]
    assert line["error"]["text"][-1] in ".?"


def test_bad_orders_are_refused(client: TestClient, result: Result) -> None:
    path = f"/explorer/results/{result.key}/analyses"
    for body in ("{}", '{"ask": "all"}', '{"ask": "trust", "names": []}', "x"):
        assert client.post(path, content=body, headers=JSON).status_code == 422
    form = {"content-type": "text/plain"}
    assert client.post(path, content='{"ask": "layers"}', headers=form).status_code == 415
    gone = client.post("/explorer/results/0123/analyses", content='{"ask": "layers"}', headers=JSON)
    assert gone.status_code == 404


def test_names_of_maps_are_read_back() -> None:
    for text in ("rollout", "grad_cam@2"):
        assert str(Named.parse(text, 3)) == text
    with pytest.raises(OptionError, match="0 to 2"):
        Named.parse("grad_cam@", 3)


def test_progress_stops_a_method_and_frees_the_model(result: Result) -> None:
    analyses = Analyses()

    def stop(done: int, _: int) -> None:
        if done:
            raise KeyError(done)

    with pytest.raises(KeyError):
        analyses.heatmap(result, "rise", stop)
    assert result.model.lock.acquire(timeout=1)
    result.model.lock.release()
    assert analyses.heatmap(result, "rise").values.shape == result.model.card.grid


@contextmanager
def served(workbench: Workbench) -> Iterator[str]:
    """A real server, as only that notices when a listener hangs up."""
    server = uvicorn.Server(
        uvicorn.Config(build_app(workbench), port=0, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def test_hanging_up_stops_the_work(
    workbench: Workbench, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def endless(_: Any, __: Any, name: str, progress: Any) -> None:
        assert name == "rise"
        for step in range(100_000):
            steps.append(step)
            progress(step, 100_000)
            time.sleep(0.02)

    monkeypatch.setattr(Analyses, "heatmap", endless)
    body = json.dumps({"ask": "map", "name": "rise"})
    with served(workbench) as address:
        path = f"{address}/explorer/results/{result.key}/analyses"
        with (
            httpx.Client(trust_env=False) as caller,
            caller.stream("POST", path, content=body, headers=JSON) as answer,
        ):
            lines = answer.iter_lines()
            assert json.loads(next(lines))["total"] == 100_000
        deadline = time.monotonic() + 10
        count = -1
        while count != len(steps) and time.monotonic() < deadline:
            count = len(steps)
            time.sleep(0.5)
        assert count == len(steps) < 100_000


def test_what_can_be_chosen_is_every_method() -> None:
    offered = {method["name"]: method for method in describe_methods()}
    assert set(offered) == set(vx.METHODS)
    first = [method["name"] for method in offered.values() if method["shown"]]
    assert first == shown_of(1) and 6 <= len(first) <= 8
    assert [offered[name]["place"] for name in list(offered)[:3]] == [1, 2, 3]
    assert all(offered[name]["slow"] == vx.METHODS[name].runs_model for name in offered)
    assert {name for name in offered if offered[name]["brief"]} == {
        "legrad", "saliency", "input_x_gradient", "libra_input_x_gradient",
        "libra_generic_attention", "finer_cam",
    }  # fmt: skip
    assert not any(offered[name]["slow"] for name in layered())


def test_rollout_by_layer_is_the_product_and_ends_in_rollout(small: vx.LoadedModel) -> None:
    trace = vx.trace(small, "assets/cat.png")
    rows = rollout_by_layer(trace, 0).numpy()
    product = np.eye(small.card.tokens)
    for layer in range(small.card.depth):
        attention = trace.attention(layer).mean(dim=0).numpy()
        product = (0.5 * attention + 0.5 * np.eye(len(attention))) @ product
        np.testing.assert_allclose(rows[layer], product[0], atol=1e-6)
    whole = vx.explain(small, "assets/cat.png", methods=("rollout",)).heatmaps["rollout"]
    grid = rows[-1][small.card.prefix_tokens :].reshape(small.card.grid)
    np.testing.assert_allclose(grid, whole.values, atol=1e-6)
    with pytest.raises(OptionError, match="token indices"):
        rollout_by_layer(trace, small.card.tokens)


def test_numbers_of_the_attention_view(client: TestClient, result: Result) -> None:
    base = f"/explorer/results/{result.key}"
    trace = result.explanation.trace
    for path, name, expected in (
        ("heads", "distance", vx.attention_distance(trace, renormalise=True)),
        ("rollouts/5", "rollout", rollout_by_layer(trace, 5).numpy()),
    ):
        _, arrays = unpack(client.get(f"{base}/{path}").content)
        assert arrays[name].dtype == np.float32
        np.testing.assert_allclose(arrays[name], expected, atol=1e-6)
    assert client.get(f"{base}/rollouts/99").status_code == 404
