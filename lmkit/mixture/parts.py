"""The models inside a model, as its folder holds them: their configs in a list, their arrays under a number each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lmkit.backends import BACKENDS
from lmkit.errors import ModelFormatError, UsageError
from lmkit.model import LanguageModel
from lmkit.tensors import prefixed, under
from lmkit.text.tokenizer import Tokenizer


def configs_of(models: Iterable[LanguageModel]) -> list[dict[str, Any]]:
    """Give the kind and config of each model.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> from lmkit.uniform import UniformModel
    >>> configs_of([UniformModel(tokenizer=ByteTokenizer())])
    [{'backend': 'uniform', 'model': {}}]
    """
    return [{"backend": model.backend, "model": model.config()} for model in models]


def arrays_of(models: Iterable[LanguageModel]) -> dict[str, np.ndarray]:
    """Give the arrays of all models: `0.weight` is that of the first."""
    return {
        name: array
        for number, model in enumerate(models)
        for name, array in prefixed(str(number), model.arrays()).items()
    }


def unpack(
    configs: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray], tokenizer: Tokenizer
) -> list[LanguageModel]:
    """Make the models of what `configs_of` and `arrays_of` gave, all with one tokenizer.

    Raises:
        ModelFormatError: there is no such kind of model, or one does not fit its arrays.
    """
    models: list[LanguageModel] = []
    for number, config in enumerate(configs):
        try:
            kind: type[LanguageModel] = BACKENDS[config["backend"]].model
            models.append(kind.from_arrays(config["model"], under(str(number), arrays), tokenizer))
        except (UsageError, KeyError, TypeError) as error:
            raise ModelFormatError(f"config.json: model {number} inside is none: {error}") from None
    return models
