"""Fills pages with what the code knows: `<!-- made: NAME -->` is replaced when the site is built.

So a method, view, command or recipe that is added to the package is on the site without another
edit. Also the Python reference, which lists the public names by the rooms they come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

import typer
import yaml
from mkdocs.exceptions import PluginError

import vit_explorer as vx
from vit_explorer import cli
from vit_explorer.methods import Method
from vit_explorer.models.needs import NEEDS

MADE = re.compile(r"^<!-- made: (\w+) -->$", flags=re.MULTILINE)

# Until the records hold them.
FORMULAS = {
    "attention": "class-token row of one layer's A; heads by mean, max, min, or one",
    "rollout": "class row of Â_L … Â_1, each Â = A + I with its rows divided by their sums",
    "gradient_rollout": "rollout with A replaced by relu(mean over heads of A∘∂y/∂A)",
    "generic_attention": "R ← R + mean over heads of relu(A∘∂y/∂A)·R, from R = I; class row",
    "attention_grad_cam": "last layer's class row of A, each head weighted by its mean ∂y/∂A, relu",
    "legrad": "relu(∂s/∂A), s the class's logit that the head reads off that layer's tokens; mean "
    "over heads, queries and layers",
    "grad_cam": "relu(Σ_D mean over patches(∂y/∂F)·F), F the features at a block's `norm1` or of a "
    "stage",
    "hires_cam": "relu(Σ_D ∂y/∂F∘F)",
    "grad_cam_plus_plus": "Grad-CAM with weights Σ α·relu(g), g = ∂y/∂F, α = g² / (2g² + ΣF·g³)",
    "xgrad_cam": "Grad-CAM with ∂y/∂F weighted by each patch's share of its feature",
    "layer_cam": "relu(Σ_D relu(∂y/∂F)∘F)",
    "eigen_cam": "relu of the first principal component of F; the strongest patch is positive",
    "eigen_grad_cam": "relu of the first principal component of ∂y/∂F∘F",
    "saliency": "Σ over a patch of abs(∂y/∂pixel) (captum)",
    "input_x_gradient": "Σ over a patch of pixel·∂y/∂pixel (captum)",
    "integrated_gradients": "Σ over a patch of (pixel − plain)·mean of ∂y/∂pixel on the line from "
    "a plain picture (captum); the note gives the completeness residual",
    "occlusion": "the logit lost when a patch is covered with the mean colour",
    "rise": "Σ (p(mask) − p̄)·mask over random masks, by how many of them show a patch on average",
    "score_cam": "relu(Σ_D w·F), w the softmax over features of the logit of the picture masked by "
    "each (grad-cam package)",
    "ablation_cam": "relu(Σ_D w·F), w the share of the logit that is lost without each feature "
    "(grad-cam package)",
}
GRADIENTS = {
    "none": "the one forward pass",
    "last": "one backward pass more",
    "all": "one backward pass more",
}


def row(*cells: str) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    return "\n".join([row(*heads), row(*("---" for _ in heads)), *(row(*cells) for cells in rows)])


def needed(name: str) -> str:
    """What a method or view needs of a model, in the words of its refusal."""
    words = NEEDS[name].words
    return words[0].lower() + words[1:]


def methods() -> str:
    """A line a method, then a section each."""
    short = table(
        ("method", "shows", "cost"),
        (
            (f"[`{name}`](#{name})", method.summary, cost(method))
            for name, method in vx.METHODS.items()
        ),
    )
    return "\n\n".join([short, *(method_section(method) for method in vx.METHODS.values())])


def cost(method: Method) -> str:
    """What a method asks of the model, beside the one pass of them all."""
    return "more passes" if method.runs_model else GRADIENTS[method.gradients]


def method_section(method: Method) -> str:
    """All that a method's record says."""
    options = ", ".join(f"`{name}={value}`" for name, value in method.defaults.items()) or "none"
    facts = {
        "Formula": FORMULAS[method.name],
        "Source": method.source,
        "Keep in mind": method.caveat,
        "Needs": ", ".join(needed(need) for need in method.needed) or "any image model",
        "Costs": cost(method),
        "Sign": "for and against the class" if method.signed else "not signed",
        "Class": "another map for another class" if method.class_specific else "one for all",
        "Options": options,
    }
    lines = [f"## {method.title} {{ #{method.name} }}", f"`{method.name}`: {method.summary}"]
    return "\n\n".join([*lines, "\n".join(f"- **{name}**: {fact}" for name, fact in facts.items())])


def views() -> str:
    """A line a view that is no heatmap."""
    return table(
        ("view", "shows", "source", "needs"),
        (
            (f"`{name}`", view.summary, view.source, ", ".join(needed(n) for n in view.requires))
            for name, view in vx.VIEWS.items()
        ),
    )


def commands() -> str:
    """A section a command: what it does, its arguments and its options."""
    group: Any = typer.main.get_command(cli.app)
    return "\n\n".join(command_section(name, command) for name, command in group.commands.items())


def command_section(name: str, command: Any) -> str:
    """A command's help as Markdown."""
    context = command.make_context(name, [], resilient_parsing=True)
    records = (one.get_help_record(context) for one in command.params)
    shown = ((f"`{names}`", text) for names, text in filter(None, records))
    return "\n\n".join(
        [f"### {name} {{ #{name} }}", command.help, table(("argument or option", "does"), shown)]
    )


def recipes() -> str:
    """A line a recipe that ships."""
    folder = resources.files("vit_explorer.training") / "recipes"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    read = {name[:-5]: yaml.safe_load((folder / name).read_text("utf-8")) for name in names}
    rows = ((f"`{name}`", one["description"], str(one["epochs"])) for name, one in read.items())
    return table(("recipe", "trains", "epochs"), rows)


def reference() -> str:
    """Every public name, from its docstring."""
    plain = {name for name in vx.__all__ if not hasattr(getattr(vx, name), "__module__")}
    return "\n\n".join(
        f"::: {getattr(vx, name).__module__}.{name}" for name in sorted(set(vx.__all__) - plain)
    )


PARTS: dict[str, Callable[[], str]] = {
    "methods": methods,
    "views": views,
    "commands": commands,
    "recipes": recipes,
    "reference": reference,
}


def fill(markdown: str) -> str:
    """A page with its parts made.

    Raises:
        PluginError: the page names a part that nothing makes.
    """

    def made(found: re.Match[str]) -> str:
        name = found[1]
        if name not in PARTS:
            raise PluginError(f"Nothing makes {name!r}, expected one of {', '.join(PARTS)}.")
        return PARTS[name]()

    return MADE.sub(made, markdown)


def on_page_markdown(markdown: str, **_: object) -> str:
    """MkDocs calls this for each page."""
    return fill(markdown)
