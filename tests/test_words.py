"""Asking in words: CLIP and SigLIP of transformers and open_clip, and pictures as targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastapi.testclient import TestClient

import vit_explorer as vx
from tests.browser import open_explorer, running_app, unexpected, watched_page
from tests.text_towers import (
    PATCH,
    ROOM,
    SIZE,
    open_clip_model,
    save_transformers,
    tokenizer,
    transformers_model,
)
from vit_explorer.errors import ModelError, TargetError
from vit_explorer.models.checkpoints import text_towers
from vit_explorer.models.compared import Compared
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.payloads.result import describe_result

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("transformers", reason="the extra vit-explorer[transformers] is not installed")
WORDS = ("a photo of a cat", "a red cup", "dog")
KINDS = ("clip", "siglip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind) / f"tiny-{kind}"
        made[kind] = (folder, save_transformers(kind, folder))
    return made


@pytest.fixture(scope="module")
def loaded(folders: dict[str, tuple[Path, Any]]) -> dict[str, vx.LoadedModel]:
    return {kind: vx.load_model(folder, words=WORDS) for kind, (folder, _) in folders.items()}


def own_logits(module: Any, kind: str, pixels: torch.Tensor, words: Any = WORDS) -> torch.Tensor:
    """What transformers' own model says, its sentences tokenised as its processor does."""
    padding: Any = "max_length" if kind == "siglip" else True
    tokens = tokenizer()(list(words), return_tensors="pt", padding=padding, max_length=ROOM)
    found: torch.Tensor = module(
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        pixel_values=pixels,
    ).logits_per_image[0]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_transformers(
    kind: str,
    folders: dict[str, tuple[Path, Any]],
    loaded: dict[str, vx.LoadedModel],
    cat: Path,
) -> None:
    module, model = folders[kind][1], loaded[kind]
    assert model.card.tier == 1 and model.labels == WORDS
    assert model.card.outputs == {"clip": "classes", "siglip": "labels"}[kind]
    result = vx.explain(model, cat, ("rollout", "input_x_gradient"), target=WORDS[1])
    pixels = result.prepared.pixels.clone().requires_grad_(True)
    expected = own_logits(module, kind, pixels)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(result.trace.logits, expected.detach(), rtol=1e-4, atol=1e-4)
    shares = expected.softmax(0) if kind == "clip" else expected.sigmoid()
    for prediction in result.predictions:
        own = float(shares[prediction.index])
        assert prediction.probability == pytest.approx(own, abs=1e-5)
    (slope,) = torch.autograd.grad(expected[1], pixels)
    worth = (slope * pixels).detach()[0].sum(0)  # (H, W)
    rows, columns = model.card.grid
    cells = worth.unflatten(0, (rows, PATCH)).unflatten(2, (columns, PATCH)).sum((1, 3))
    np.testing.assert_allclose(
        result.heatmaps["input_x_gradient"].values, cells, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_patch_is_compared_as_the_whole_picture_is(
    kind: str,
    folders: dict[str, tuple[Path, Any]],
    loaded: dict[str, vx.LoadedModel],
    cat: Path,
) -> None:
    module, model = folders[kind][1], loaded[kind]
    traced = vx.trace(model, cat)
    states = module.vision_model.post_layernorm(traced.blocks[-1])[model.card.prefix_tokens :]
    with torch.no_grad():
        if kind == "clip":
            embedded = module.visual_projection(states)
        else:
            embedded = module.vision_model.head(states[:, None])
        padding: Any = "max_length" if kind == "siglip" else True
        tokens = tokenizer()(list(WORDS), return_tensors="pt", padding=padding, max_length=ROOM)
        names = ("input_ids", "attention_mask")
        texts = module.get_text_features(**{name: tokens[name] for name in names})
        texts = getattr(texts, "pooler_output", texts)
    expected = F.normalize(embedded, dim=-1) @ F.normalize(texts, dim=-1).T
    found = vx.patch_words(traced)
    assert found.shape == (3, *model.card.grid)
    np.testing.assert_allclose(found.reshape(3, -1), expected.T.detach(), atol=1e-5)
    lens = vx.patch_lens(traced)
    assert lens.classes is not None
    np.testing.assert_array_equal(lens.classes[-1], found.argmax(0))


def test_other_words_need_the_text_tower_alone(
    folders: dict[str, tuple[Path, Any]], loaded: dict[str, vx.LoadedModel], cat: Path
) -> None:
    model, module = loaded["clip"], folders["clip"][1]
    others = ("a dog", "a photo of a red cat")
    turned = vx.with_words(model, others)
    assert turned.labels == others and turned.card.classes == 2
    assert turned.blocks[0] is model.blocks[0] and turned.lock is model.lock
    assert turned.sha256 != model.sha256
    found = vx.trace(turned, cat)
    with torch.no_grad():
        expected = own_logits(module, "clip", found.prepared.pixels, others)
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-4)
    assert model.labels == WORDS and len(vx.trace(model, cat).logits) == 3


def test_a_target_may_be_words_that_are_no_class(
    loaded: dict[str, vx.LoadedModel], cat: Path
) -> None:
    model = loaded["clip"]
    result = vx.explain(model, cat, "grad_cam", target="a red dog")
    assert result.target is not None and result.target.label == "a red dog"
    alone = vx.with_words(model, (*WORDS, "a red dog"))
    expected = vx.explain(alone, cat, "grad_cam", target=3)
    np.testing.assert_allclose(
        result.heatmaps["grad_cam"].values, expected.heatmaps["grad_cam"].values
    )
    against = vx.trace(model, cat, target="not a red dog")
    assert against.aim is not None and against.aim.negated
    assert against.model.labels == (*WORDS, "a red dog")
    with pytest.raises(TargetError):
        vx.explain(vx.load_model("bundled"), cat, (), target="a red dog of clay")


@pytest.mark.parametrize("sigmoid", [False, True])
def test_logits_are_those_of_open_clip(sigmoid: bool, cat: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    module = open_clip_model(sigmoid=sigmoid)
    read = open_clip.get_tokenizer("ViT-B-32")
    model = vx.load_model(module, words=WORDS, tokenizer=read)
    assert model.card.outputs == ("labels" if sigmoid else "classes")
    assert model.card.image_size == (SIZE, SIZE) and model.card.std == (0.25,) * 3
    result = vx.explain(model, cat, "rollout")
    with torch.no_grad():
        tokens = read(list(WORDS), context_length=ROOM)
        expected = module.get_logits(result.prepared.pixels, tokens)[0][0]
    torch.testing.assert_close(result.trace.logits, expected, rtol=1e-4, atol=1e-4)
    assert float(expected.std()) > 0.05


def test_a_folder_of_open_clip_and_the_hub_s_are_opened(
    folders: dict[str, tuple[Path, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: Path
) -> None:
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    from safetensors.torch import save_file

    module = open_clip_model(sigmoid=False)
    save_file(module.state_dict(), tmp_path / "open_clip_model.safetensors")
    cut = {"layers": 2, "width": 32}
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {**cut, "head_width": 16, "patch_size": PATCH, "image_size": SIZE},
            "text_cfg": {**cut, "context_length": ROOM, "vocab_size": 49408, "heads": 2},
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    own = vx.load_model(module, words=WORDS, tokenizer=_open_clip_tokenizer())
    asked: list[Any] = []

    def fetch(name: str, patterns: tuple[str, ...], called: str) -> Path:
        asked.append((name, patterns))
        assert called == f"hf-hub:{name}"
        return {"org/open": tmp_path, "org/clip": folders["clip"][0]}[name]

    monkeypatch.setattr(text_towers, "fetch_repository", fetch)
    for name in (str(tmp_path), "hf-hub:org/open"):
        found = vx.load_model(name, words=WORDS)
        logits = [vx.trace(model, cat).logits for model in (found, own)]
        torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    clip = vx.load_model("hf-hub:org/clip", words=WORDS)
    assert clip.card.source.kind == "transformers_folder"
    assert [name for name, _ in asked] == ["org/open", "org/clip"]
    assert all("*.safetensors" in patterns for _, patterns in asked)


def _open_clip_tokenizer() -> Any:
    import open_clip

    return open_clip.get_tokenizer("ViT-B-32")


def test_another_picture_is_a_target(
    loaded: dict[str, vx.LoadedModel], cat: Path, coffee: Path
) -> None:
    for model in (loaded["clip"], _embedding()):
        like = vx.with_pictures(model, [coffee, cat])
        assert like.labels == ("coffee.png", "cat.png") and like.card.outputs == "value"
        module = model.module
        encoder = module.encoder if isinstance(module, Compared) else module
        with torch.no_grad():
            one, other = (encoder(model.prepare(each).pixels) for each in (cat, coffee))
        result = vx.explain(like, cat, ("grad_cam", "occlusion"), target="coffee.png")
        scores = [each.score for each in result.predictions]
        assert scores == pytest.approx([float(F.cosine_similarity(one, other)), 1.0], abs=1e-5)
        assert float(np.abs(result.heatmaps["occlusion"].values).max()) > 1e-5
    twice = vx.with_pictures(loaded["clip"], [cat, cat])
    assert twice.labels == ("cat.png", "cat.png (2)")
    with pytest.raises(ModelError, match="load it with outputs='embedding'"):
        vx.with_pictures(vx.load_model("bundled"), [cat])


def _embedding() -> vx.LoadedModel:
    import timm

    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=0)
    return vx.load_model(module.eval(), outputs="embedding")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "expected one or more sentences"),
        (("a cat", " "), "expected one or more sentences"),
        (("a cat", "dog", "a cat "), "'a cat' were given twice"),
        (("dog " * 30,), "are 32 tokens, and the model reads 12 at most"),
    ],
)
def test_words_that_can_t_be_read_are_told(
    words: tuple[str, ...], sentence: str, loaded: dict[str, vx.LoadedModel]
) -> None:
    for model in loaded.values():
        with pytest.raises(ModelError, match=sentence):
            vx.with_words(model, words)


def test_models_without_a_text_tower_are_told(
    folders: dict[str, tuple[Path, Any]], cat: Path
) -> None:
    with pytest.raises(ModelError, match="has no text tower"):
        vx.with_words(vx.load_model("bundled"), WORDS)
    with pytest.raises(ModelError, match="Words need a model with a text tower"):
        vx.load_model("bundled", words=WORDS)
    with pytest.raises(ModelError, match="pass tokenizer="):
        vx.load_model(transformers_model("clip"), words=WORDS)
    with pytest.raises(ModelError, match="the words are its labels"):
        vx.load_model(folders["clip"][0], words=WORDS, labels=["x"])
    with pytest.raises(ModelError, match="The classes of .* are no words"):
        vx.patch_words(vx.trace(vx.load_model("bundled"), cat))


def test_the_command_takes_words(
    folders: dict[str, tuple[Path, Any]], loaded: dict[str, vx.LoadedModel],
    cat: Path, coffee: Path, tmp_path: Path,
) -> None:  # fmt: skip
    from vit_explorer.cli import main

    def run(arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0

    folder, chosen = str(folders["siglip"][0]), ("--method", "rollout", "--out")
    asked = ["explain", str(cat), "--words", *WORDS, "--model", folder, *chosen]
    run([*asked, str(tmp_path / "words")])
    told = json.loads((tmp_path / "words/cat/explanation.json").read_text())
    own = vx.explain(loaded["siglip"], cat, ())
    for one, other in zip(told["predictions"], own.predictions, strict=True):
        assert one["label"] == other.label
        assert one["probability"] == pytest.approx(other.probability, rel=1e-4)
    asked = ["explain", str(cat), "--model", folder, "--words", "dog", "--like", str(coffee)]
    run([*asked, str(cat), *chosen, str(tmp_path / "like")])
    told = json.loads((tmp_path / "like/cat/explanation.json").read_text())
    assert [one["label"] for one in told["predictions"]] == ["coffee.png", "cat.png"]


def test_copied_code_loads_the_same_words(loaded: dict[str, vx.LoadedModel]) -> None:
    from vit_explorer.page.payloads.code.script import command
    from vit_explorer.page.payloads.load_arguments import load_arguments

    load = load_arguments(loaded["clip"])
    assert load["words"] == list(WORDS) and load["model"] == "tiny-clip"
    line = command(load, "assets/cat.png", {}, ["--method", "rollout"])
    assert line is not None and "--words 'a photo of a cat' 'a red cup' dog --method" in line


def test_the_page_asks_in_words(
    folders: dict[str, tuple[Path, Any]], loaded: dict[str, vx.LoadedModel], small: vx.LoadedModel
) -> None:
    workbench = Workbench(loaded["clip"])
    client = TestClient(build_app(workbench), base_url="http://localhost")

    def ask(model: str, *words: str) -> dict[str, Any]:
        order = {"architecture": model, "words": words}
        told = client.post("/explorer/models", json=order).text.splitlines()
        answer: dict[str, Any] = json.loads(told[-1])
        return answer

    first = ask("tiny-clip", "dog", "a red cup")["model"]
    second = ask(first, "cat")["model"]
    for name, words in ((first, ("dog", "a red cup")), (second, ("cat",))):
        result = workbench.analyse("cat.png", name, None)
        described = describe_result(result)["model"]
        assert described["reads_words"] and described["few_labels"] == list(words)
        with torch.no_grad():
            pixels = result.explanation.prepared.pixels
            expected = own_logits(folders["clip"][1], "clip", pixels, words)
        torch.testing.assert_close(result.explanation.trace.logits, expected, rtol=1e-4, atol=1e-4)
    assert ask("tiny-clip", "dog", "dog")["error"]["key"] == "error.words.twice"
    plain = Workbench(small)
    assert not describe_result(plain.analyse("cat.png", plain.start_name, None))["model"][
        "reads_words"
    ]
    with pytest.raises(ModelError, match="has no text tower"):
        plain.add_model(plain.start_name, None, None, words=("dog",))


@pytest.mark.browser
def test_words_are_typed_on_the_page(
    browser: Browser, folders: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    options = ("--model", str(folders["clip"][0]), "--words", *WORDS)
    with (
        running_app(*options, scratch=tmp_path) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        open_explorer(page, address)
        assert page.input_value("#vx-words") == "\n".join(WORDS)
        page.fill("#vx-words", "a dog\na red dog\n")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.locator(".predictions .label", has_text="a red dog").wait_for()
        shown = page.locator(".predictions .label").all_inner_texts()
        assert sorted(shown) == ["a dog", "a red dog"]
        page.locator(".predictions button", has_text="a red dog").click()
        chosen = '.predictions button[aria-pressed="true"]'
        page.locator(chosen, has_text="a red dog").wait_for()
        assert unexpected(wrong) == []
