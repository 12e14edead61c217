"""How a model was loaded, as plain values: whoever has them loads the same again elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vit_explorer.errors import ModelError, OptionError

if TYPE_CHECKING:
    from vit_explorer.models.loaded import LoadedModel


@dataclass(frozen=True)
class Loading:
    """The name or file of a model with the options of `load_model`, and what it is compared with.

    Paths are absolute. No option is code: a module, transform or tokenizer that was handed in
    can't be loaded again.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    like: tuple[str, ...] = ()

    def load(self, device: str) -> LoadedModel:
        """Load the model on a device. Raises as `load_model`."""
        from vit_explorer.models.compared import with_pictures
        from vit_explorer.models.zoo import load_model

        model = load_model(self.model, device=device, **self.options)
        return with_pictures(model, self.like) if self.like else model

    def in_words(self, words: Sequence[str]) -> Loading:
        """The same model asked in these words."""
        return dataclasses.replace(self, options={**self.options, "words": tuple(words)}, like=())

    def compared_with(self, pictures: Sequence[Any]) -> Loading | None:
        """The same model compared with these pictures; None where one of them is no file."""
        if not all(isinstance(one, (str, Path)) for one in pictures):
            return None
        return dataclasses.replace(self, like=tuple(absolute(one) for one in pictures))


@dataclass(frozen=True)
class Replica:
    """What another process needs to have the very model that this one has.

    `labels` are what its outputs are called here and `print` the fingerprint of its weights, by
    which a file that is another there, and weights that were drawn at random, are found out.
    """

    loading: Loading
    labels: tuple[str, ...]
    print: npt.NDArray[np.float64]

    @classmethod
    def of(cls, model: LoadedModel) -> Replica:
        """Raises OptionError for a model that can't be loaded again."""
        if model.loading is None:
            raise OptionError(
                "error.replica.module",
                "{model} was handed in as a module, or with a transform or tokenizer, which other "
                "processes can't load; give its name or file, or use engine='local'.",
                model=model.card.name,
            )
        return cls(model.loading, model.labels, fingerprint(model.module))

    def load(self, device: str) -> LoadedModel:
        """The model, once more.

        Raises:
            ModelError: it is another, and as `load_model`.
        """
        model = self.loading.load(device)
        found = fingerprint(model.module)
        same = found.shape == self.print.shape and np.allclose(found, self.print, rtol=1e-4)
        if model.labels != self.labels or not same:
            raise ModelError(
                "error.replica.other",
                "{model} is another model here than where the work began (its labels or weights "
                "differ); make the files and versions of all machines alike, and give random "
                "weights a file.",
                model=model.card.name,
            )
        return model

    @property
    def digest(self) -> str:
        """The fingerprint in a word."""
        text = " ".join(f"{number:.5g}" for number in self.print.ravel())
        return hashlib.sha256(text.encode()).hexdigest()


def absolute(place: str | Path) -> str:
    """A path as it is called from any folder."""
    return str(Path(place).absolute())


def fingerprint(module: nn.Module) -> npt.NDArray[np.float64]:
    """Two numbers a tensor of a module's state, by which other weights differ: (tensors, 2).

    The same weights give the same to rounding on any processor, also where positions were
    interpolated.
    """
    sums = []
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                wide = tensor.detach().cpu().double().flatten()
                # The second depends on which number stands where.
                turned = wide * torch.arange(1, len(wide) + 1, dtype=torch.float64).cos()
                sums.append((float(wide.abs().sum()), float(turned.abs().sum())))
    return np.array(sums).reshape(-1, 2)
