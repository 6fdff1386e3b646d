"""The models inside a model, as its folder holds them: their configs in a list, their arrays under a number each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lmkit.backends import BACKENDS
from lmkit.errors import ModelFormatError, UsageError
from lmkit.model import LanguageModel
from lmkit.text.tokenizer import Tokenizer


def pack(models: Iterable[LanguageModel]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Give the kind and config of each model, and the arrays of all: `0.weight` is that of the first.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> pack([UniformModel(tokenizer=ByteTokenizer())])
    ([{'backend': 'uniform', 'model': {}}], {})
    """
    configs: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for number, model in enumerate(models):
        configs.append({"backend": model.backend, "model": model.config()})
        arrays |= {f"{number}.{name}": array for name, array in model.arrays().items()}
    return configs, arrays


def unpack(
    configs: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
) -> list[LanguageModel]:
    """Make the models of what `pack` gave, all with one tokenizer.

    Raises:
        ModelFormatError: there is no such kind of model, or one does not fit its arrays.
    """
    models: list[LanguageModel] = []
    for number, config in enumerate(configs):
        prefix = f"{number}."
        own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        try:
            kind: type[LanguageModel] = BACKENDS[config["backend"]].model
            models.append(kind.from_arrays(config["model"], own, tokenizer))
        except (UsageError, KeyError, TypeError) as error:
            raise ModelFormatError(f"config.json: model {number} inside is none: {error}") from None
    return models
