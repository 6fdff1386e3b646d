"""Looking up the words of a text in a fixed vocabulary, eight bytes at a time.

Plain twin: `WordTokenizer.encode`.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled, eight_bytes
from lmkit.text.kernels import FNV_OFFSET, FNV_PRIME, mix
from lmkit.text.vocabulary import BOS, EOS, Vocabulary

_EACH = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_ERROR, _SKIP = 0, 1


class WordLookup:
    """A hash table from words to ids that does not grow.

    Args:
        vocab: The words.
        literal_unk: Whether `<unk>` in a text is that word; if not, it is unknown like any other.
        special: What a literal `<s>` or `</s>` is: an error (0), dropped (1), unknown (2).
    """

    def __init__(self, vocab: Vocabulary, *, literal_unk: bool, special: int) -> None:
        self.special = special
        self.words = np.frombuffer(vocab.data, np.uint8)
        self.offsets = vocab.offsets
        self.hashes = np.empty(len(vocab), np.uint64)
        self.table = np.full(1 << max(12, (2 * len(vocab)).bit_length()), -1, np.int32)
        insert(self.words, self.offsets, self.hashes, self.table, 0 if literal_unk else 1)

    def ids(self, block: bytes, oov: int) -> tuple[np.ndarray, int]:
        """Give the ids of whole lines, and where a special word is refused, or -1."""
        data = np.frombuffer(block, np.uint8)
        ids = np.empty(len(data), np.int32)  # a token has at least one byte
        written, refused = find_words(
            data, ids, self.table, self.hashes, self.words, self.offsets, oov, self.special
        )
        return ids[:written].copy(), refused


@compiled
def zeros(x):
    """Mark the highest bit of the lowest byte that is zero, and perhaps of some above it."""
    return (x - _EACH) & ~x & _HIGH


@compiled
def chunk(data, i):
    """Give the eight bytes from i on as one number, those behind the end as zero."""
    if i + 8 <= len(data):
        return eight_bytes(data, i)
    x = np.uint64(0)
    for k in range(len(data) - i):
        x |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return x


@compiled
def word_from(data, i):
    """Read the word that begins at i: give its end and its hash.

    The hash of a word of at most eight bytes is no other's of the same length: each of its steps can be undone.
    """
    value = FNV_OFFSET
    while True:
        x = chunk(data, i)
        ends = zeros(x) | zeros(x ^ (_EACH * np.uint64(32))) | zeros(x ^ (_EACH * np.uint64(10)))
        ends |= zeros(x ^ (_EACH * np.uint64(9))) | zeros(x ^ (_EACH * np.uint64(13)))
        lowest = ends & (~ends + np.uint64(1))
        # All bits below the separator, and so all eight bytes where there is none.
        x &= (lowest >> np.uint64(7)) - np.uint64(1)
        value = (value ^ x) * FNV_PRIME
        value ^= value >> np.uint64(32)
        if lowest:
            length = ((lowest >> np.uint64(7)) * np.uint64(0x0001020304050607)) >> np.uint64(56)
            return i + np.int64(length), mix(value)
        i += 8


@compiled
def insert(words, offsets, hashes, table, begin):
    """Put the words from `begin` on into an open-addressing table."""
    mask = np.uint64(len(table) - 1)
    for word in range(len(hashes)):
        end, hashes[word] = word_from(words, offsets[word])
        if word < begin or end != offsets[word + 1] - 1:  # no text has a word with a separator in it
            continue
        slot = hashes[word] & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = word


@compiled
def find_words(data, out, table, hashes, words, offsets, oov, special):
    """Turn whole lines (n,) into word ids, one `</s>` at each line end; NUL, TAB, LF, CR and SPACE separate words.

    Returns:
        (ids written, where a special word stopped it or -1).
    """
    mask = np.uint64(len(table) - 1)
    written = 0
    i = 0
    while i < len(data):
        byte = data[i]
        if byte == 10:
            out[written] = EOS
            written += 1
            i += 1
            continue
        if byte == 32 or byte == 9 or byte == 13 or byte == 0:
            i += 1
            continue
        end, value = word_from(data, i)
        slot = value & mask
        word = table[slot]
        while word >= 0:
            if hashes[word] == value and offsets[word + 1] - 1 - offsets[word] == end - i:
                k = np.int64(0)
                while k + 8 < end - i and chunk(words, offsets[word] + k) == chunk(data, i + k):
                    k += 8
                if k + 8 >= end - i:  # the rest is at most eight bytes
                    break
            slot = (slot + np.uint64(1)) & mask
            word = table[slot]
        if word == BOS or word == EOS:  # noqa: SIM109
            if special == _ERROR:
                return written, i
            if special == _SKIP:
                i = end
                continue
            word = np.int32(-1)
        out[written] = word if word >= 0 else oov
        written += 1
        i = end
    return written, -1
