"""The Learn view: its numbers are the model's own, and the walk can be walked."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import ResPostBlock
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torchvision.transforms import Compose, Resize, ToTensor

import vit_explorer as vx
from tests.browser import (
    open_explorer,
    running_app,
    saved,
    settle,
    show,
    unexpected,
    wait_quiet,
    watched_page,
    write_checkpoint,
)
from tests.conftest import load_small
from tests.odd_vits import SIZE, OddViT, transform
from tests.packed import unpack
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.page.payloads.learn import filter_bytes, head_bytes, patch_bytes, walk_bytes
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.state.results import Result
from vit_explorer.page.state.session import Workbench

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def tokens(small: vx.LoadedModel, result: Result) -> list[torch.Tensor]:
    """Each block's input, after attention, and output, by the module's own parts."""
    module = small.module
    assert isinstance(module, VisionTransformer)
    with torch.no_grad():
        x = module.embed(result.explanation.prepared.pixels)
        passed = [x]
        for block in module.blocks:
            x = x + block.attn(block.norm1(x))
            passed.append(x)
            x = x + block.mlp(block.norm2(x))
            passed.append(x)
    return [each[0] for each in passed]


def test_pack_keeps_facts_and_arrays() -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float64).reshape(2, 3),
        "b": np.array([-3, 4, 0.25], np.float16),
        "c": np.array([[250]], np.uint8),
        "d": np.array([0.5], np.float32),
    }
    facts, read = unpack(pack({"name": "ü"}, arrays))
    assert facts == {"name": "ü"}
    assert {name: of.dtype.str[1:] for name, of in read.items()} == {
        "a": "f4",
        "b": "f4",
        "c": "u1",
        "d": "f4",
    }
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], values)


def test_walk_is_what_the_module_s_parts_give(result: Result, tokens: list[torch.Tensor]) -> None:
    facts, read = unpack(walk_bytes(result))
    parts = read["parts"]
    assert parts.shape == (3, 13, 3, 7)
    for layer in range(3):
        before, middle, after = tokens[2 * layer : 2 * layer + 3]
        for index, part in enumerate((before, middle - before, after - middle)):
            shown = parts[layer, :, index]
            np.testing.assert_allclose(shown[:, 0], part.norm(dim=1), rtol=1e-4)
            np.testing.assert_allclose(shown[:, 1:], part[:, :6], atol=1e-4)
    np.testing.assert_allclose(read["tokens matrix"], tokens[0], rtol=1e-5, atol=1e-6)
    assert facts["limits"]["tokens"] == np.abs(read["tokens matrix"]).max()
    patches, positions, sums = read["first"]
    np.testing.assert_allclose((patches + positions)[1:], sums[1:], atol=1e-5)
    assert facts["error"] < 1e-5
    shares = np.exp(np.array(facts["logits"]) - facts["total"])
    expected = [each.probability for each in result.explanation.predictions]
    np.testing.assert_allclose(shares, expected, rtol=1e-4)


def test_one_head_is_worked_out_from_what_is_sent(
    small: vx.LoadedModel, result: Result, tokens: list[torch.Tensor]
) -> None:
    layer, head, token = 1, 1, 5
    facts, read = unpack(head_bytes(result, layer, head, token))
    block = small.module.blocks[layer]  # type: ignore[index, union-attr]
    with torch.no_grad():
        qkv = block.attn.qkv(block.norm1(tokens[2 * layer])).reshape(13, 3, 2, 16)
    query, key, value = qkv[:, :, head].unbind(1)
    np.testing.assert_allclose(read["query"], query[token], atol=1e-5)
    np.testing.assert_allclose(read["key"], key, atol=1e-5)
    scores = read["key"] @ read["query"] * facts["scale"]
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    np.testing.assert_allclose(read["attention"], shares, atol=1e-5)
    np.testing.assert_allclose(read["output"], shares @ np.asarray(value), atol=1e-5)
    for wrong in ((3, 0, 0), (0, 2, 0), (0, 0, 13), (-1, 0, 0)):
        with pytest.raises(IndexError):
            head_bytes(result, *wrong)


def test_a_relative_bias_is_sent_with_its_head(cat: Path) -> None:
    torch.manual_seed(1)
    config = ViTConfig(
        image_size=(16, 24), patch_size=(8, 8), dim=16, depth=2, heads=2, position="relative"
    )
    module = VisionTransformer(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    bench = Workbench(load_small(module))
    held = bench.analyse("cat.png", bench.start_name, None)
    facts, read = unpack(head_bytes(held, 1, 1, 4))
    bias = module.blocks[1].attn.rel_pos()[0, 1, 4]
    np.testing.assert_allclose(read["bias"], bias.detach(), atol=1e-6)
    scores = read["key"] @ read["query"] * facts["scale"] + read["bias"]
    shares = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(read["output"], shares @ read["value"], atol=1e-5)
    assert "positions matrix" not in unpack(walk_bytes(held))[1]


PLAIN = {
    "normalised": False,
    "apart": True,
    "biases": ["q", "k", "v", "o"],
    "query_norm": False,
    "rotary": False,
    "scaled": False,
    "bias": False,
    "scale": 0.25,
    "two_heads": False,
}


@pytest.mark.parametrize(
    ("options", "otherwise"),
    [
        ({}, {}),
        ({"pre_norm": True}, {"normalised": True}),
        ({"block_fn": ResPostBlock}, {"apart": False}),
        ({"init_values": 1e-5}, {"scaled": True}),
        ({"qk_norm": True}, {"query_norm": True}),
        ({"qkv_bias": False}, {"biases": ["o"]}),
    ],
)
def test_other_builds_are_said(options: dict[str, object], otherwise: dict[str, object]) -> None:
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    settings: dict[str, Any] = {**shape, "num_classes": 4, **options}
    module = TimmViT(**settings)
    transform = Compose([Resize((32, 32)), ToTensor()])
    bench = Workbench(vx.load_model(module, transform=transform, image_size=(32, 32)))
    facts, read = unpack(walk_bytes(bench.analyse("cat.png", bench.start_name, None)))
    assert {name: facts[name] for name in PLAIN} == {**PLAIN, **otherwise}
    assert facts["error"] < 1e-5
    assert ("parts" in read) is facts["apart"]


@pytest.mark.parametrize(
    ("kind", "otherwise"),
    [
        ("ViTForImageClassification", {}),
        ("DeiTForImageClassificationWithTeacher", {"two_heads": True}),
        ("Dinov2ForImageClassification", {"scaled": True}),
        ("BeitForImageClassification", {"scaled": True, "biases": ["q", "v", "o"]}),
    ],
)
def test_the_parts_of_a_transformers_model_are_found(
    kind: str, otherwise: dict[str, object], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    cls = getattr(transformers, kind)
    torch.manual_seed(0)
    config = cls.config_class(**sizes, intermediate_size=64, image_size=32, patch_size=8)
    cls(config).save_pretrained(tmp_path)
    side = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=side).save_pretrained(tmp_path)
    model = vx.load_model(tmp_path)
    bench = Workbench(model)
    held = bench.analyse("cat.png", bench.start_name, None)
    facts, read = unpack(walk_bytes(held))
    assert {name: facts[name] for name in PLAIN} == {**PLAIN, **otherwise}
    assert facts["error"] < 1e-5
    before, attention, mlp = (read["parts"][:, :, at, 1:] for at in range(3))
    np.testing.assert_allclose((before + attention + mlp)[0], before[1], atol=1e-5)
    facts, read = unpack(patch_bytes(held, 5))
    by_hand = float((read["pixels"] * read["filter"]).sum()) + facts["bias"]
    assert by_hand == pytest.approx(facts["value"], abs=1e-4)
    assert vx.check_patch_embedding(model, "assets/cat.png").error < 1e-5


def test_a_patch_times_a_filter_is_the_convolution(small: vx.LoadedModel, result: Result) -> None:
    facts, read = unpack(patch_bytes(result, 6))
    pixels = result.explanation.prepared.pixels
    np.testing.assert_array_equal(read["pixels"], pixels[0, :, 8:16, 16:24])
    by_hand = float((read["pixels"] * read["filter"]).sum()) + facts["bias"]
    with torch.no_grad():
        own = small.module.patch_embed(pixels)[0, 6, 0]  # type: ignore[operator]
    assert by_hand == pytest.approx(float(own), abs=1e-4)
    assert facts["value"] == pytest.approx(float(own), abs=1e-5)
    assert unpack(filter_bytes(result))[1]["filters"].shape[1:] == (8, 8, 3)
    with pytest.raises(IndexError):
        patch_bytes(result, 12)


def _walked(module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    bench = Workbench(vx.load_model(module.eval(), transform=transform, image_size=SIZE))
    return unpack(walk_bytes(bench.analyse("cat.png", bench.start_name, None)))


def test_biases_are_those_of_the_layers_that_ran() -> None:
    assert _walked(OddViT())[0]["biases"] == ["q", "k", "v", "o"]
    bare = OddViT(way="written")
    for block in bare.layers:
        block.attend.qkv = torch.nn.Linear(32, 96, bias=False)
    assert _walked(bare)[0]["biases"] == ["o"]
    for block in bare.layers:
        block.attend.proj = torch.nn.Identity()
    facts = _walked(bare)[0]
    assert facts["biases"] == []
    assert not facts["mixed"]


class OrderedEmbedding(torch.nn.Module):
    """Cuts and embeds patches, and gives them in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 32, 8, stride=8)
        self.order = torch.randperm(16, generator=torch.Generator().manual_seed(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images).flatten(2).transpose(1, 2)[:, self.order]


class Reordered(OddViT):
    """A ViT whose patch embedding gives tokens in the network's own order."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed, self.blocks, self.conv = OrderedEmbedding(), self.layers, None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        places = self.places.flatten(2).transpose(1, 2)[:, self.patch_embed.order]
        x = self.patch_embed(images) + places
        x = torch.cat([x, self.c.expand(len(x), -1, -1)], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.end(x[:, -1]))


def test_patches_are_shown_in_the_order_of_their_tokens() -> None:
    module = Reordered()
    facts, read = _walked(module)
    assert facts["error"] < 1e-5
    patches, positions, sums = read["first"]
    np.testing.assert_allclose((patches + positions)[1:], sums[1:], atol=1e-5)
    image = Image.open("assets/cat.png")
    with torch.no_grad():
        own = module.patch_embed.conv(transform(image)[None])[0].flatten(1).T
    np.testing.assert_allclose(patches[1:], own[:, :6], atol=1e-5)


def test_the_convolution_runs_while_no_other_pass_has_hooks_on_it(
    small: vx.LoadedModel, result: Result
) -> None:
    free: list[bool] = []
    projection = small.module.patch_embed.proj  # type: ignore[union-attr]
    with ThreadPoolExecutor(1) as other:
        hook = projection.register_forward_hook(
            lambda *_: free.append(other.submit(small.lock.acquire, blocking=False).result())
        )
        try:
            patch_bytes(result, 6)
            vx.check_patch_embedding(small, result.explanation.prepared)
        finally:
            hook.remove()
    assert free == [False, False]


def shown(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


@pytest.mark.browser
def test_the_walk_is_walked_and_its_sums_are_the_model_s(
    page: Page, address: str, small_checkpoint: Path, cat: Path
) -> None:
    page.goto("about:blank")
    open_explorer(page, address, "learn?step=5&patch=2,3&layer=2&head=3")
    page.wait_for_selector("#vx-view-learn .mixed")
    of = vx.trace(vx.load_model(small_checkpoint), cat).layers[1]
    token = 1 + 8 + 2
    own = [shown(float(value)) for value in of.output[2, token, :6]]
    for row in ("mixed", "own"):
        assert page.locator(f"#vx-view-learn .{row} td").all_inner_texts()[:6] == own
    shares = of.attention([token])[2, 0]
    top = page.locator('[data-step="softmax"] tbody tr').first.locator("td").all_inner_texts()
    assert top[2].replace("\xa0", "") == f"{float(shares.max()) * 100:.1f}%"

    page.click("#vx-view-learn .learn-turn .primary")
    settle(page)
    assert page.inner_text(".learn-guide .eyebrow") == "Step 6 of 10"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert page.inner_text(".learn-guide .eyebrow") == "Step 4 of 10"
    top_score = page.locator('[data-step="scores"] tbody tr').nth(1).locator("td").last
    scores = (of.query[2, token] @ of.key[2].T) * of.scale
    assert top_score.inner_text() == shown(float(scores.max()))
    page.wait_for_function("location.hash.includes('step=4')")

    page.click(".learn-dots button:nth-child(2)")
    assert page.locator(".learn-guide munderover > :last-child").text_content() == "48"
    for step in range(1, 11):
        page.click(f".learn-dots button:nth-child({step})")
        settle(page)
        assert page.locator(".learn-figure:visible").count() == 1
        assert page.inner_text(".learn-figure:visible .says, .learn-figure:visible .caption")
    page.get_by_role("button", name="Open Explain").click()
    page.wait_for_selector("#vx-view-explain:visible")


@pytest.mark.browser
def test_a_step_s_numbers_are_saved_as_they_are(
    page: Page, address: str, small_checkpoint: Path, cat: Path
) -> None:
    page.goto("about:blank")
    open_explorer(page, address, "learn?step=5&patch=2,3&layer=2&head=3")
    page.wait_for_selector("#vx-view-learn .mixed")
    of = vx.trace(vx.load_model(small_checkpoint), cat).layers[1]
    token = 1 + 8 + 2
    shares = of.attention([token])[2, 0]
    top = shares.argsort(descending=True)[:4]
    place = '[data-step="softmax"]'
    names, *rows = csv.reader(io.StringIO(saved(page, place, "csv")[1].decode()))
    assert names == ["name", "s", "exp(s - max s)", "a", "v 1", "v 2", "v 3"]
    np.testing.assert_allclose([float(row[3]) for row in rows[:4]], shares[top], rtol=1e-4)
    values = [[float(cell) for cell in row[4:]] for row in rows[:4]]
    np.testing.assert_allclose(values, of.value[2, top, :3], atol=1e-5)
    with np.load(io.BytesIO(saved(page, place, "npz")[1])) as arrays:
        assert list(arrays) == [*names, "metadata"]
        assert {arrays[name].dtype.kind for name in names[1:]} == {"f"}


@pytest.fixture(scope="module")
def odd_address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app whose model has one head, a relative bias, two tokens that are read, and 3 classes."""
    scratch = tmp_path_factory.mktemp("odd")
    checkpoint = write_checkpoint(
        scratch / "odd.safetensors",
        heads=1,
        dim=16,
        depth=2,
        classes=3,
        image_size=(32, 24),
        distillation_token=True,
        position="relative",
    )
    with running_app("--model", str(checkpoint), scratch=scratch) as started:
        yield started


@pytest.fixture
def odd_page(browser: Browser, odd_address: str) -> Iterator[Page]:
    with watched_page(browser, odd_address) as (opened, wrong):
        open_explorer(opened, odd_address, "learn")
        yield opened
        assert unexpected(wrong) == []


def _formula(page: Page, step: int) -> str:
    page.click(f".learn-dots button:nth-child({step})")
    wait_quiet(page)  # a formula follows the model's numbers
    page.wait_for_selector(".learn-formula math")
    return "; ".join(page.locator(".learn-formula math").all_text_contents())


@pytest.mark.browser
def test_formulas_and_sentences_are_of_the_model_at_hand(odd_page: Page) -> None:
    assert _formula(odd_page, 3) == "ti=zi"
    formula = "q=WQLN(x)+bQ; kj=WKLN(xj)+bK; sj=q·kjd+bj; d=16"
    assert _formula(odd_page, 4) == formula
    assert "adds a bias b" in odd_page.inner_text(".learn-text")
    assert _formula(odd_page, 5).endswith("vj=WVLN(xj)+bV")
    assert _formula(odd_page, 6) == "A=WOo1+bO"
    assert _formula(odd_page, 7).startswith("x′=x+A; M=MLP(LN(x′))")
    assert "LN" not in odd_page.inner_text(".learn-text")
    assert _formula(odd_page, 9).startswith("y=yclass token+ydistillation token2")
    assert "each of the 3 classes" in odd_page.inner_text(".learn-text")
    says = odd_page.inner_text('[data-step="prediction"] .says')
    assert says.endswith("times as likely.")
    _, table = saved(odd_page, '[data-step="prediction"]', "csv")
    assert "others" not in table.decode()


BUILDS = """async () => {
  const load = (name) => import(new URL(`explorer/static/${name}`, document.baseURI).href);
  const { STEPS } = await load("views/learn/steps.js");
  const { facts } = await load("controls/model_facts.js");
  const told = (step, model, built) =>
    [STEPS[step].formula(model, built)].flat().map((each) => each?.textContent ?? null);
  const built = { apart: true, mixed: true, biases: [], scale: 0.25, limits: {}, error: 0 };
  const model = { heads: 2, head_width: 16, classes: 4 };
  return {
    turned: told("scores", model, { ...built, rotary: true, query_norm: true, scale: 0.5 }),
    unread: told("scores", model, { ...built, apart: false }),
    scaled: [...told("heads", model, { ...built, scaled: true }),
             ...told("residual", model, { ...built, scaled: true })],
    other: told("residual", model, { ...built, apart: false }),
    headless: [STEPS.prediction.kinds({ classes: 0 }), told("prediction", { classes: 0 }, built)],
  };
}"""


@pytest.mark.browser
def test_formulas_follow_how_a_model_is_built(page: Page) -> None:
    told = page.evaluate(BUILDS)
    assert told["turned"][:3] == ["q=R(N(WQLN(x)))", "kj=Rj(N(WKLN(xj)))", "sj=q·kj×0.5"]
    assert told["unread"][0] == "q=WQu"
    assert told["scaled"][:3] == ["A=λ1∘(WO[o1;o2])", "x′=x+A", "M=λ2∘MLP(LN(x′))"]
    assert told["other"] == [None]
    assert told["headless"] == [{"text": ".none", "try": ".none"}, [None]]


@pytest.mark.browser
def test_a_few_classes_and_no_positions_are_shown_right(odd_page: Page) -> None:
    show(odd_page, "layers")
    odd_page.wait_for_selector(".lens-table tbody tr")
    assert odd_page.locator(".lens-table thead th").count() == 4
    card = ".depth-card:has(.lens-table)"
    names, *rows = csv.reader(io.StringIO(saved(odd_page, card, "csv")[1].decode()))
    assert names == ["depth", "class 1", "p 1", "class 2", "p 2", "class 3", "p 3"]
    assert {len(row) for row in rows} == {7}
    with np.load(io.BytesIO(saved(odd_page, card, "npz")[1])) as arrays:
        assert list(arrays) == [*names, "metadata"]

    show(odd_page, "positions")
    odd_page.wait_for_selector(".without .level-name")
    assert odd_page.text_content(".without .level-name") == "equal attention"
    show(odd_page, "model")
    facts = odd_page.inner_text(".facts")
    assert "32×24 pixels (height × width)" in facts
    assert "the class token and the distillation token, each by a head of its own" in facts
    assert "32×24 pixels (height × width)" in odd_page.inner_text(
        "#vx-view-model figcaption >> nth=0"
    )
