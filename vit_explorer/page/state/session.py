"""What the page works with: pictures it was given, models it loaded, results it made.

Nothing here knows Gradio or HTTP; every refusal is an `ExplorerError`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

from vit_explorer.errors import ModelError, PictureError, closest, did_you_mean
from vit_explorer.explaining.explain import explain
from vit_explorer.models.checkpoints.labels import read_labels
from vit_explorer.models.compared import with_words
from vit_explorer.models.finishing import with_outputs
from vit_explorer.models.gallery import BY_NAME
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import check_outputs
from vit_explorer.models.provenance import Provenance
from vit_explorer.models.shipped import SHIPPED, asset
from vit_explorer.models.targets import Target
from vit_explorer.models.zoo import NoArchitectureError, available_models, is_model_name, load_model
from vit_explorer.page.state.cache import PATIENCE, ByteCache, Once
from vit_explorer.page.state.examples import EXAMPLES, judge_examples
from vit_explorer.page.state.extra_maps import Analyses
from vit_explorer.page.state.labelled_sets import LabelledSets
from vit_explorer.page.state.loads import Loads, in_time
from vit_explorer.page.state.recipe_changes import RUN
from vit_explorer.page.state.results import Result, Results, picture_bytes
from vit_explorer.page.state.trainings import Trainings
from vit_explorer.page.state.turns import Turns
from vit_explorer.page.state.uploads import Given, Uploads, cut_name
from vit_explorer.pictures.decode import Picture, open_picture
from vit_explorer.sentences import Sentence
from vit_explorer.stopping import look, stoppable
from vit_explorer.training.film import find_film

MAX_UPLOAD_BYTES = 20 * 10**6
PICTURE_CACHE_BYTES = 400 * 2**20
PICTURES_KEPT = 300
MODELS_KEPT = 2
# Further ones wait: each takes its memory before any is let go.
LOADS_AT_ONCE = 4
ANSWERS_AT_ONCE = 16
ANSWERS_OF_ONE = 4
FILE = "file:"


class Workbench:
    """Pictures, models and results behind one page; safe under threads."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str = "auto",
        film: Path | None = None,
        trainings: Trainings | None = None,
    ) -> None:
        self.start_model = model
        self.start_name = Path(model.card.name).name
        self.start_film = film
        self.device = device
        self.trainings = trainings
        # Whoever may train here may name folders of this machine.
        self.sets = None if trainings is None else LabelledSets(trainings)
        self._pictures: ByteCache[Picture] = ByteCache(
            PICTURE_CACHE_BYTES,
            lambda held: max(picture_bytes(held), PICTURE_CACHE_BYTES // PICTURES_KEPT),
        )
        self._results = Results()
        self._models: ByteCache[LoadedModel] = ByteCache(MODELS_KEPT, lambda _: 1)
        self._loading: Once[LoadedModel] = Once()
        self._judged: dict[str, dict[str, dict[str, Any]]] = {}
        self._reads = threading.BoundedSemaphore(LOADS_AT_ONCE)
        self.loads = Loads(lambda name: self.model(name))  # noqa: PLW0108 - whatever it is by then
        self._pass = threading.Lock()
        self._naming = threading.Lock()
        self._given: dict[str, tuple[Given, str]] = {}
        self.uploads = Uploads()
        self.analyses = Analyses()
        # Two analyses at once would only slow each other. Most answers wait, for a download or for
        # their turn.
        self.analysing = Turns(1, each=1)
        # Minutes of a whole data set keep nobody's map waiting.
        self.measuring = Turns(1, each=1)
        self.answering = Turns(ANSWERS_AT_ONCE, each=ANSWERS_OF_ONE)

    def add_picture(self, data: bytes, name: str) -> str:
        """Hold a sent picture and return its key.

        Raises:
            PictureError: the bytes are no picture that can be opened.
        """
        # The name becomes a folder of the download, so it may be no path and no "..".
        shown = cut_name(re.sub(r"[^\w .()+-]", "_", Path(name).name).strip(" .")) or "picture"
        picture = open_picture(data, name=shown)
        self._pictures.put(picture.sha256, picture)
        return picture.sha256

    def choose_values(self, key: str, bands: list[int] | None = None, stretch: Any = "auto") -> str:
        """Hold a picture with other bands shown or another stretch, and return its key.

        Raises:
            PictureError: the picture is no longer held, or has values outside what is asked for.
            OptionError: bands or a stretch that it can't have.
        """
        picture = self.picture(key).opened(bands=bands, stretch=stretch)
        own, sent = picture.chosen(), picture.sha256
        chosen = hashlib.sha256(f"{sent} {own}".encode()).hexdigest() if own else sent
        self._pictures.put(chosen, picture)
        return chosen

    def picture(self, key: str) -> Picture:
        """A picture by its key, or an example by its name.

        Raises:
            PictureError: the picture is no longer held.
        """
        held = self._pictures.get(key)
        if held is None and key in EXAMPLES:
            held = open_picture(asset(key))
            self._pictures.put(key, held)
        if held is None:
            raise PictureError(
                "error.picture.gone", "The page no longer holds this picture; send it again."
            )
        return held

    def judged_examples(self, model_name: str) -> dict[str, dict[str, Any]]:
        """What a shipped model says of each example; nothing of others, which may take long."""
        if model_name not in SHIPPED:
            return {}
        if model_name not in self._judged:
            self._judged[model_name] = judge_examples(self.model(model_name))
        return self._judged[model_name]

    def result(self, key: str) -> Result | None:
        return self._results.get(key)

    def model(self, name: str) -> LoadedModel:
        """The model the page started with, a timm model by name, or the weights of "run:NAME".

        Raises:
            ModelError: no such name, or weights that can't be had.
        """
        if name == self.start_name:
            return self.start_model
        key = self._version(name)
        # A slow download keeps nobody waiting but those who want that model.
        return self._models.get(key) or self._loading.do(key, partial(self._keep, key, name))

    def _keep(self, key: str, name: str) -> LoadedModel:
        held = self._models.get(key)
        if held is None:
            held = self._load(name)
            self._models.put(key, held)
        return held

    def add_model(
        self,
        architecture: str,
        weights: str | None,
        labels: str | None,
        outputs: str | None = None,
        *,
        words: tuple[str, ...] = (),
    ) -> str:
        """Load a model of files that were sent, by their keys; returns its name on the page.

        `outputs` says what its numbers are, as in `load_model`; alone, those of `architecture`.
        `words` are what `architecture` is asked, which then needs a text tower.

        Raises:
            ModelError: no such file or architecture, or files that don't fit.
            OptionError: outputs that are not known, or none that the model can have.
        """
        asked = self._given.get(architecture)
        if words and asked is not None and asked[0].words:
            architecture = asked[0].architecture  # other words take nothing from those before
        given = Given(
            architecture,
            self.uploads.path("weights", weights),
            self.uploads.path("labels", labels),
            check_outputs(outputs or None),
            words,
        )
        if not (given.weights or given.labels or given.outputs or given.words):
            raise ModelError(
                "error.load.nothing",
                "No file was given; choose a checkpoint, class names, or what the numbers mean.",
            )
        model = self._load_given(given)
        name = f"{FILE}{given.name}"
        identity = _identity(model)
        others = (f"{name} ({number})" for number in itertools.count(2))
        with self._naming:
            for free in itertools.chain((name,), others):
                if free not in self._given or self._given[free][1] == identity:
                    break
            self._given[free] = given, identity
            self._models.put(free, model)
        return free

    def _load_given(self, given: Given) -> LoadedModel:
        given.check()
        name = given.architecture
        if given.words:
            return with_words(self.model(name), given.words)
        if given.weights is None:
            shown = self.model(name)
            meant = shown if given.outputs is None else with_outputs(shown, given.outputs)
            return relabelled(meant, given.labels)
        if name:
            self._check_name(name)
        model = name or given.weights
        weights = given.weights if name else None
        try:
            return self._read(model, weights=weights, labels=given.labels, outputs=given.outputs)
        except NoArchitectureError:
            raise ModelError(
                "error.load.architecture",
                "The file {file} doesn't say its architecture; fill in Architecture with the "
                "timm name it was trained with.",
                file=Path(model).name,
            ) from None

    @property
    def kept_bytes(self) -> int:
        """What the pictures and results held take, a picture that several share counted once."""
        results = self._results.values()
        pictures = [*self._pictures.values(), *(result.picture for result in results)]
        alone = sum(result.bytes - picture_bytes(result.picture) for result in results)
        return alone + sum(map(picture_bytes, {id(one): one for one in pictures}.values()))

    def _run_weights(self, name: str) -> Path | None:
        if self.trainings is None or not name.startswith(RUN):
            return None
        return self.trainings.weights(name.removeprefix(RUN))

    def _version(self, name: str) -> str:
        """A run's weights change while it trains, so they are held by their time."""
        weights = self._run_weights(name)
        return name if weights is None else f"{name} {weights.stat().st_mtime_ns}"

    def _load(self, name: str) -> LoadedModel:
        weights = self._run_weights(name)
        if weights is not None:
            return self._read(weights)
        if name in self._given:
            return self._load_given(self._given[name][0])
        self._check_name(name)
        exhibit = BY_NAME.get(name)
        if exhibit is not None and exhibit.words:
            return self._read(name, words=exhibit.words)
        return self._read(name)

    def _read(self, model: str | Path, **options: Any) -> LoadedModel:
        while not self._reads.acquire(timeout=PATIENCE):
            look()
        try:
            with stoppable(in_time(Path(model).name)):
                return load_model(model, **options, device=self.device)
        finally:
            self._reads.release()

    @staticmethod
    def _check_name(name: str) -> None:
        # load_model also takes files, folders and addresses, which a page must not be able to name.
        # Those of the gallery are this program's own choice.
        if name not in BY_NAME and not is_model_name(name):
            close = closest(name, available_models())
            near = did_you_mean(close) or Sentence("part.choose", "; choose one of the list.")
            raise ModelError(
                "error.load.unknown", "There is no model {name!r}{near}", name=name, near=near
            ).offering(*close)

    def is_loaded(self, name: str) -> bool:
        return name == self.start_name or self._models.get(self._version(name)) is not None

    def film(self, model: str) -> Path | None:
        """The training film that belongs to a model of the page, None if it has none."""
        if model == self.start_name:
            return self.start_film
        weights = self._run_weights(model)
        return find_film(model if weights is None else str(weights))

    def analyse(self, picture_key: str, model_name: str, target: Target) -> Result:
        """Explain a picture, or return the result that is still held.

        Raises:
            ExplorerError: a picture, model or target that can't be used.
        """
        picture = self.picture(picture_key)
        model = self.model(model_name)
        told = picture.told()
        pass_key = _digest(picture.sha256, picture.name, told, model_name, _identity(model))
        asked = _digest(pass_key, target)
        held = self._results.find(asked)
        if held is not None:
            return held
        # One at a time: several models' passes need the memory of all and are no sooner done. The
        # model first, or a long analysis of it would keep the passes of the others waiting.
        with model.lock, self._pass:
            held = self._results.find(asked)
            if held is not None:
                return held
            explanation = explain(model, picture, methods="fast", target=target)
            aim = explanation.trace.aim
            chosen = None if aim is None else aim.name
            result = Result(
                _digest(pass_key, chosen),
                pass_key,
                model_name,
                model,
                explanation,
                self.film(model_name),
                self._run_weights(model_name),
            )
            self._results.put(asked, result, (self.start_model, *self._models.values()))
            return result

    def close(self) -> None:
        """Remove the files that were sent, and let a training keep what it learned."""
        self.uploads.close()
        if self.trainings is not None:
            self.trainings.close()


def relabelled(model: LoadedModel, labels: Path | None) -> LoadedModel:
    """The same model with the class names of a file.

    Raises:
        ModelError: the file can't be read, or doesn't name each class.
    """
    if labels is None:
        return model
    names = read_labels(labels, model.card.classes, model.card.name)
    card = dataclasses.replace(model.card, labels_source=Provenance("file", file=labels.name))
    return dataclasses.replace(model, labels=names, card=card)


def _identity(model: LoadedModel) -> str:
    """The same for models that explain alike and say the same of themselves."""
    return _digest(model.sha256, model.card, model.labels, model.preprocess)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
