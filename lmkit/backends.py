"""The kinds of model that there are, each with its options and how it is trained, loaded when it is asked for.

An installed package adds one by the entry-point group `lmkit.backends`, whose entries are `Backend` objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lmkit.config import NgramConfig, RnnConfig
from lmkit.errors import UsageError
from lmkit.model import LanguageModel
from lmkit.registry import Registry


@dataclass(frozen=True)
class NoOptions:
    """There is nothing to choose."""


@dataclass(frozen=True)
class Backend:
    """One kind of model: its options, and the places `module:attribute` of its class and its functions.

    `check_place` names a function that refuses a config that cannot be, before any work is done. The training
    function is called as train(ids, tokenizer=, config=, valid=, report=, log=) and gives the model: `ids` and
    `valid` are streams (T,) int32 with `</s>` at line ends (`valid` may be None), `report` takes lines for the user
    (None: say nothing, show no progress) and `log` dictionaries for the learning curve. `tunes` says whether it
    wants `valid` at all. `counts_place` names one that learns from counts, train(parts, options=, config=, report=,
    log=), for a kind of model that can. `begin_place` names one that gives a config in which what the initial model
    settles is settled, begin(config, initial=, given=), for a kind whose training can begin from a model, which its
    training function then takes as `initial=`. `resume_place` names one that gives the config by which a training
    is gone on with, resume(config, folder=, given=), for a kind that keeps checkpoints: its training function then
    takes `checkpoint=`, the folder for them, and `resume=`, whether to go on from what is there, which else it
    takes away. `teachable` says that it takes `teacher=`, a model to learn from beside the text. `dynamic_place`
    names one that lets a model learn while it reads, dynamic(model, tune), fitted to a text, for a kind that can. A
    kind without a training function is made of models that have been trained.
    """

    name: str
    config: type[Any]
    model_place: str
    train_place: str | None = None
    check_place: str | None = None
    tunes: bool = True
    counts_place: str | None = None
    begin_place: str | None = None
    resume_place: str | None = None
    teachable: bool = False
    dynamic_place: str | None = None

    def check(self, config: Any) -> None:
        """Refuse a config that cannot be.

        Raises:
            UsageError, InputError, ResourceError: what cannot be, and why.
        """
        if self.train_place is None:
            raise UsageError(
                f"a model of the backend {self.name} is made of trained models: lmkit mix MODEL MODEL... -o DIR"
            )
        if self.check_place is not None:
            _load(self.check_place)(config)

    @property
    def model(self) -> type[LanguageModel]:
        """The class, imported now."""
        model: type[LanguageModel] = _load(self.model_place)
        return model

    @property
    def train(self) -> Callable[..., LanguageModel]:
        """The training function, imported now."""
        assert self.train_place is not None  # `check` says so to a user
        function: Callable[..., LanguageModel] = _load(self.train_place)
        return function

    @property
    def train_on_counts(self) -> Callable[..., LanguageModel]:
        """The function that learns from counts, imported now.

        Raises:
            UsageError: a model of this kind needs the text itself.
        """
        if self.counts_place is None:
            raise UsageError(f"the backend {self.name} cannot learn from counts, it needs the text itself")
        function: Callable[..., LanguageModel] = _load(self.counts_place)
        return function

    def check_begins(self, where: str) -> None:
        """Refuse to begin from a model of this kind where that cannot be.

        Args:
            where: Its folder, for the message.

        Raises:
            UsageError: such a model is made of its text at one go; and what to do instead.
        """
        if self.begin_place is None:
            instead = (
                "; to add a text, count both (lmkit count TEXT -o COUNTS) and train on both (lmkit train --counts "
                "COUNTS...)"
            )
            raise UsageError(
                f"{where}: is a model of the backend {self.name}, from which no training can begin"
                f"{instead if self.counts_place is not None else ''}"
            )

    def begin(self, config: Any, *, initial: LanguageModel, given: Collection[str]) -> Any:
        """Give the config of a training that begins from a model of this kind, which `check_begins` let pass.

        Args:
            config: The options of this backend.
            initial: The model.
            given: The names of the options that were asked for.

        Raises:
            UsageError: what was asked for contradicts the model.
        """
        assert self.begin_place is not None
        return _load(self.begin_place)(config, initial=initial, given=given)

    def resume(self, config: Any, *, folder: Path, given: Collection[str]) -> Any:
        """Give the config by which a training of this kind is gone on with from a folder of its checkpoints.

        Args:
            config: The options of this backend.
            folder: The folder.
            given: The names of the options that were asked for.

        Raises:
            UsageError: there is no checkpoint, or what was asked for contradicts it.
            ModelFormatError: it is damaged.
        """
        assert self.resume_place is not None
        return _load(self.resume_place)(config, folder=folder, given=given)

    @property
    def dynamic(self) -> Callable[..., LanguageModel]:
        """The function that lets a model learn while it reads, imported now.

        Raises:
            UsageError: a model of this kind cannot.
        """
        if self.dynamic_place is None:
            raise UsageError(f"a model of the backend {self.name} cannot learn while it reads")
        function: Callable[..., LanguageModel] = _load(self.dynamic_place)
        return function


def _load(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(import_module(module), attribute)


NGRAM = Backend(
    "ngram",
    NgramConfig,
    model_place="lmkit.ngram.model:NgramModel",
    train_place="lmkit.ngram.train:train",
    check_place="lmkit.ngram.train:check",
    tunes=False,
    counts_place="lmkit.ngram.train:train_on_counts",
)
RNN = Backend(
    "rnn",
    RnnConfig,
    model_place="lmkit.rnn.model:RnnModel",
    train_place="lmkit.rnn.train:train",
    check_place="lmkit.rnn.train:check",
    begin_place="lmkit.rnn.fine_tune:settled",
    resume_place="lmkit.rnn.resumption:resumed",
    teachable=True,
    dynamic_place="lmkit.rnn.dynamic_tuning:tuned_dynamic",
)
UNIFORM = Backend("uniform", NoOptions, "lmkit.uniform:UniformModel", "lmkit.uniform:train")
MIXTURE = Backend("mixture", NoOptions, "lmkit.mixture.linear:Mixture")
CACHE = Backend("cache", NoOptions, "lmkit.mixture.cache:Cached")
NEURAL_CACHE = Backend("neural_cache", NoOptions, "lmkit.mixture.neural_cache:NeuralCache")
DYNAMIC = Backend("dynamic", NoOptions, "lmkit.rnn.dynamic:DynamicModel")
WIDENED = Backend("widened", NoOptions, "lmkit.mixture.widened:Widened")

BACKENDS = Registry(
    "lmkit.backends",
    "backend",
    {
        name: f"lmkit.backends:{name.upper()}"
        for name in ("ngram", "rnn", "uniform", "mixture", "widened", "cache", "neural_cache", "dynamic")
    },
)
