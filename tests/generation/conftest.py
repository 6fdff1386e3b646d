"""Small models of every kind that text is generated with."""

from __future__ import annotations

import pytest

import lmkit
from lmkit.model import LanguageModel
from tests.conftest import STORY

TINY = {"backend": "rnn", "hidden_size": 8, "epochs": 2, "device": "cpu", "threads": 1}


@pytest.fixture(scope="session")
def words() -> LanguageModel:
    """A 4-gram model of words."""
    return lmkit.train(STORY * 3, order=4, tokenizer="word", holdout=0)


@pytest.fixture(scope="session")
def network() -> LanguageModel:
    """A recurrent model of the same words."""
    return lmkit.train(STORY * 3, tokenizer="word", holdout=0, **TINY)


@pytest.fixture(scope="session")
def mixture(words: LanguageModel, network: LanguageModel) -> LanguageModel:
    """Both of them."""
    return lmkit.mix([words, network], weights=[0.6, 0.4])


@pytest.fixture(scope="session")
def characters() -> LanguageModel:
    """A 6-gram model of characters."""
    return lmkit.train(STORY * 3, order=6, tokenizer="char", holdout=0)


@pytest.fixture(scope="session")
def octets() -> LanguageModel:
    """A 5-gram model of bytes, with characters of several of them."""
    return lmkit.train("señor José 走了 über\n" * 9 + STORY, order=5, tokenizer="byte", holdout=0)


@pytest.fixture(scope="session")
def subwords() -> LanguageModel:
    """A trigram model of subwords."""
    pytest.importorskip("tokenizers", reason="needs the extra: subword")
    return lmkit.train(
        STORY * 9 + "señor José 走了\n" * 5, order=3, tokenizer="bpe", vocab_size=330, holdout=0
    )
