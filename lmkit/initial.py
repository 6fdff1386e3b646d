"""The model that a training begins from, and what it settles: how the new text is cut into tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.backends import BACKENDS, Backend
from lmkit.bundle import load
from lmkit.config import TextConfig
from lmkit.errors import UsageError
from lmkit.json_text import read_json
from lmkit.model import LanguageModel
from lmkit.scratch import Scratch
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import Tokenizer, check_options
from lmkit.text.vocabulary import SPECIALS, UNK


@dataclass(frozen=True)
class Initial:
    """A trained model, and whether words are added to those that it knows.

    Attributes:
        path: Its folder.
        model: What was in it.
        extend_vocab: Whether to add the words of the new text.
        lineage: What it and the models before it were trained on, the first one first.
    """

    path: Path
    model: LanguageModel
    extend_vocab: bool
    lineage: list[dict[str, Any]]

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, backend: Backend, extend_vocab: bool) -> Initial:
        """Open a model folder.

        Raises:
            UsageError: there is none, a training of this backend cannot begin from it, or no words can be added.
            ModelFormatError: it is damaged.
        """
        folder = Path(path)
        model = load(folder)
        BACKENDS[model.backend].check_begins(str(folder))
        if model.backend != backend.name:
            raise UsageError(
                f"{folder}: is a model of the backend {model.backend}; train on with --backend {model.backend}"
            )
        tokenizer = model.tokenizer
        if extend_vocab and not tokenizer.extends:
            why = "which can write every text" if tokenizer.unk == "none" else "whose vocabulary is fixed"
            raise UsageError(
                f"{folder}: reads {tokenizer.kind}s, {why}: no words can be added; leave out --extend-vocab"
            )
        splits = read_json(folder / "splits.json")
        here = {"model": str(folder), **{key: splits[key] for key in ("sources", "lines") if key in splits}}
        return cls(folder, model, extend_vocab, [*splits.get("lineage", []), here])

    def text_config(self, config: TextConfig, options: Mapping[str, Any]) -> TextConfig:
        """Give the options of the text, with those that the model settles.

        Args:
            config: The options.
            options: Those that were asked for.

        Raises:
            UsageError: one contradicts the model.
        """
        tokenizer = self.model.tokenizer
        if config.tokenizer not in ("auto", tokenizer.kind):
            raise UsageError(
                f"{self.path}: reads {tokenizer.kind}s, and --tokenizer {config.tokenizer} was asked for; a model "
                "keeps its tokenizer, so leave it out"
            )
        if config.vocab is not None:
            raise UsageError(
                f"{self.path}: has its words, and --vocab names others; leave it out (--extend-vocab adds the words "
                "of the text)"
            )
        if not self.extend_vocab and (config.min_count > 1 or config.vocab_size is not None):
            raise UsageError(
                f"{self.path}: keeps its words as they are; --min-count and --vocab-size choose among new ones, which "
                "only --extend-vocab adds"
            )
        known = len(tokenizer.vocab) - len(SPECIALS)
        if config.vocab_size is not None and config.vocab_size < known:
            raise UsageError(
                f"{self.path}: knows {known:,} words, all of which are kept; --vocab-size counts them too, so give "
                "more, or leave it out"
            )
        specials = config.specials if "specials" in options else tokenizer.specials
        config = replace(config, tokenizer=tokenizer.kind, specials=specials)
        check_options(type(tokenizer), config)
        return config

    def read(self, corpus: Corpus, *, options: TextConfig, scratch: Scratch) -> tuple[Tokenizer, np.ndarray]:
        """Read a text with the model's tokenizer, or with what it becomes by the words of that text.

        Gives the tokenizer and the text's ids (T,) int32, as `Tokenizer.learn` does.
        """
        tokenizer = self.model.tokenizer
        if options.specials != tokenizer.specials:
            settings = {**tokenizer.settings(), "specials": options.specials}
            tokenizer = type(tokenizer).from_settings(settings, tokenizer.vocab)
        if self.extend_vocab:
            return tokenizer.extended(corpus, options=options, scratch=scratch)
        return tokenizer, tokenizer.encode_corpus(corpus, scratch=scratch)

    def remark(self, tokenizer: Tokenizer, ids: np.ndarray, *, scratch: Scratch) -> str:
        """Say how well the model knows the text (T,): who fine-tunes must see when most of it is `<unk>`."""
        known = len(self.model.tokenizer.vocab)
        added = len(tokenizer.vocab) - known
        unknown = sum(int((piece == UNK).sum()) for piece in scratch.pieces(ids))
        advice = (
            " (--extend-vocab adds words)" if unknown and tokenizer.extends and not self.extend_vocab else ""
        )
        return (
            f"{len(ids):,} tokens, read as {tokenizer.kind}s of {self.path}: {known:,} known, {added:,} added; "
            f"{unknown / len(ids):.1%} of the text is <unk>{advice}"
        )
