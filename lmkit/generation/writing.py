"""Tokens to text, one by one: never half a character, never a raw invalid byte."""

from __future__ import annotations

import codecs
from typing import Protocol

from lmkit.generation.detokenizing import Capitals, Detokenizer
from lmkit.generation.prefixes import Prefix
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import EOS


class Writer(Protocol):
    """Takes tokens and gives text."""

    def push(self, token: int) -> str:
        """Take one more token, and give the text that is certain with it."""
        ...

    def close(self) -> str:
        """Give what is left: no more tokens come."""
        ...


class BytesWriter:
    """Joins the bytes of tokens; where they are not UTF-8, U+FFFD stands for them.

    >>> from lmkit.text.byte import ByteTokenizer
    >>> tokenizer = ByteTokenizer()
    >>> writer = BytesWriter(tokenizer)
    >>> [writer.push(token) for token in tokenizer.encode("\u00e9a")]
    ['', '\u00e9', 'a']
    """

    def __init__(self, tokenizer: Tokenizer, typed: bytes = b"") -> None:
        self.tokenizer = tokenizer
        self.typed = typed  # what the prefix has of the first tokens
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Take one more token."""
        data = self.tokenizer.bytes_of(token)
        there = min(len(self.typed), len(data))
        self.typed = self.typed[there:]
        return self.decoder.decode(data[there:])

    def close(self) -> str:
        """Give U+FFFD for a character that was only begun."""
        return self.decoder.decode(b"", final=True)


class WordWriter:
    """Joins words, with spaces where they belong, or between all of them (`raw`)."""

    def __init__(self, tokenizer: Tokenizer, prefix: Prefix, *, raw: bool) -> None:
        self.tokenizer = tokenizer
        self.typed = len(prefix.typed.decode("utf-8", errors="surrogateescape"))
        self.words = None if raw else Detokenizer()
        self.joined = not prefix.text or prefix.text[-1].isspace()
        if self.words is not None:
            self.words.read(prefix.text)

    def push(self, token: int) -> str:
        """Take one more word."""
        word = "\n" if token == EOS else self.tokenizer.vocab[token]
        if self.typed:
            rest, self.typed = word[self.typed :], 0
            if self.words is not None:
                self.words.push(word)
            self.joined = False
            return rest
        if self.words is not None:
            return self.words.push(word)
        space = "" if self.joined or token == EOS else self.tokenizer.joiner
        self.joined = token == EOS
        return space + word

    def close(self) -> str:
        """Nothing is held back."""
        return ""


class CapitalWriter:
    """Begins the sentences of another writer with capital letters."""

    def __init__(self, writer: Writer, prefix: Prefix) -> None:
        self.writer = writer
        self.capitals = Capitals()
        self.capitals.push(prefix.text)

    def push(self, token: int) -> str:
        """Take one more token."""
        return self.capitals.push(self.writer.push(token))

    def close(self) -> str:
        """Give what is left."""
        return self.capitals.push(self.writer.close())


def writer(tokenizer: Tokenizer, prefix: Prefix, *, raw: bool, capitalize: bool) -> Writer:
    """Make the writer that goes on from a prefix."""
    plain: Writer
    if tokenizer.joiner:
        plain = WordWriter(tokenizer, prefix, raw=raw)
    else:
        plain = BytesWriter(tokenizer, prefix.typed)
    return CapitalWriter(plain, prefix) if capitalize else plain
