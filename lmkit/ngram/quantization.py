"""Quantisation: an n-gram model in a third of its size, opened by memory map and never unpacked.

Words take as many bits as the vocabulary needs, the tree little more than a bit a node (`kernels.packing`),
probabilities and backoffs a code each, into a codebook of their order (`codebooks`). What belongs to single words is
kept as it is.

Rounded probabilities no longer sum to one. So backoffs are chosen after them, such that each context sums to one, and
then rounded themselves; `deviation` is what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from lmkit.errors import ModelFormatError
from lmkit.ngram.codebooks import SMALLEST, codebook_of
from lmkit.ngram.kernels import packing, quantizing
from lmkit.ngram.kernels.packing import Coded, Packed, Unary
from lmkit.ngram.queries import Queries
from lmkit.ngram.trie import ALWAYS_CHECKED, Trie, checked_level
from lmkit.scratch import release
from lmkit.tensors import check_arrays
from lmkit.text.vocabulary import BOS
from lmkit.threads import chunks, in_threads

Empty = Callable[[int, Any], np.ndarray]
Columns = tuple[Any, Any, Any, Any]
Settle = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]
_CHUNK = 1 << 18  # nodes at a time, a multiple of 64


@dataclass(frozen=True)
class QuantizedTrie(Queries):
    """N-grams as in `Trie`, in fewer bits.

    Attributes:
        level: (order + 1,) int64; order n has the nodes level[n - 1] to level[n].
        word: packed words of all nodes.
        prob, backoff: (V,) float32, log10 of those of single words; no backoffs in a model of order one.
        prob_code, backoff_code: packed codes of all nodes behind.
        prob_codebook, backoff_codebook: (orders, 2^bits) float32, from order two on.
        first: (n + 1,) uint32, where the children of each context of one or two words begin.
        tree, tree_ranks, tree_hints: the same for all others, as in `kernels.packing.Unary`.
    """

    level: np.ndarray
    word: np.ndarray
    prob: np.ndarray
    prob_code: np.ndarray
    prob_codebook: np.ndarray
    backoff: np.ndarray
    backoff_code: np.ndarray
    backoff_codebook: np.ndarray
    first: np.ndarray
    tree: np.ndarray
    tree_ranks: np.ndarray
    tree_hints: np.ndarray

    @property
    def quantize(self) -> int:
        """How many bits a code has."""
        return self.prob_codebook.shape[1].bit_length() - 1

    @cached_property
    def columns(self) -> tuple[Packed, Coded, Coded, Unary]:
        """Give the columns, all read-only, so that kernels are compiled once."""
        a = {name: _read_only(array) for name, array in self.arrays().items()}
        return (
            Packed(a["word"], _width(int(self.level[1]))),
            Coded(a["prob"], a["prob_code"], self.quantize, a["prob_codebook"], a["level"]),
            Coded(a["backoff"], a["backoff_code"], self.quantize, a["backoff_codebook"], a["level"]),
            Unary(a["first"], a["tree"], a["tree_ranks"], a["tree_hints"]),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], vocab_size: int, bits: int) -> QuantizedTrie:
        """Check the arrays of a file, of a large one as far as can be done without reading all of it.

        Raises:
            ModelFormatError: they do not fit together.
        """
        level = checked_level(arrays, vocab_size)
        nodes, contexts, orders = int(level[-1]), int(level[-2]), len(level) - 1
        single = min(contexts, vocab_size)
        exact = _exact(level)
        blocks, hints = _tree_sizes(nodes - int(level[min(3, orders)]), contexts - exact)
        check_arrays(
            "model.safetensors",
            arrays,
            {
                "level": ("int64", level.shape),
                "word": ("uint64", (_words(nodes, _width(vocab_size)),)),
                "prob": ("float32", (vocab_size,)),
                "prob_code": ("uint64", (_words(nodes - vocab_size, bits),)),
                "prob_codebook": ("float32", (orders - 1, 1 << bits)),
                "backoff": ("float32", (single,)),
                "backoff_code": ("uint64", (_words(contexts - single, bits),)),
                "backoff_codebook": ("float32", (max(orders - 2, 0), 1 << bits)),
                "first": ("uint32", (exact + 1,)),
                "tree": ("uint64", (blocks * packing.WORDS,)),
                "tree_ranks": ("uint32", (blocks,)),
                "tree_hints": ("uint32", (hints,)),
            },
        )
        trie = cls(**arrays)
        if not trie._sound(vocab_size):
            raise ModelFormatError("model.safetensors: 'tree' or 'word' points outside the n-grams")
        return trie

    def _sound(self, vocab_size: int) -> bool:
        """Say whether the tree has the orders that `level` says, and all of a small one is in its place.

        In numpy alone, since a model must open before any loop is compiled or read from disk.
        """
        if int(self.tree_hints.max()) >= len(self.tree_ranks):
            return False
        small = int(self.level[-1]) <= ALWAYS_CHECKED
        if small and not (self._tree_is_sound() and int(self._words().max()) < vocab_size):
            return False
        return all(self._begin(context) == begin for context, begin in pairwise(self.level.tolist()))

    def _tree_is_sound(self) -> bool:
        """Count the ones of every block again."""
        ones = np.bitwise_count(self.tree).reshape(-1, packing.WORDS).sum(axis=1, dtype=np.int64)
        ends = np.cumsum(ones)
        hints = np.searchsorted(ends, np.arange(len(self.tree_hints)) * packing.HINT, side="right")
        return (
            int(ends[-1]) == int(self.level[-2]) - len(self.first) + 2
            and bool(self.tree[0] & 1)
            and bool((self.first[1:] >= self.first[:-1]).all())
            and np.array_equal(self.tree_ranks, ends - ones)
            and np.array_equal(self.tree_hints, np.minimum(hints, len(ones) - 1))
        )

    def _words(self) -> np.ndarray:
        """Unpack the words: the plain twin of `packing.unpack`."""
        width = _width(int(self.level[1]))
        bit = np.arange(int(self.level[-1]), dtype=np.uint64) * np.uint64(width)
        word, shift = bit >> np.uint64(6), bit & np.uint64(63)
        high = (self.word[word + np.uint64(1)] << np.uint64(1)) << (np.uint64(63) - shift)
        return ((self.word[word] >> shift) | high) & np.uint64((1 << width) - 1)

    def _begin(self, context: int) -> int:
        """Give where the children of a context begin: the plain twin of `packing.ascending`."""
        g = context - (len(self.first) - 1)
        if g <= 0:
            return int(self.first[context])
        block = int(np.searchsorted(self.tree_ranks, g, side="right")) - 1
        words = self.tree[block * packing.WORDS : (block + 1) * packing.WORDS]
        places = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
        rest = g - int(self.tree_ranks[block])
        if block < 0 or rest >= len(places):
            return -1
        return int(self.first[-1]) + block * packing.BLOCK + int(places[rest]) - g


def quantize(trie: Trie, bits: int, *, empty: Empty = np.empty) -> QuantizedTrie:
    """Give the model with codes of `bits` bits.

    Args:
        trie: The model, whose arrays may be mapped files: they are read piece by piece.
        bits: How many, 2 to 16.
        empty: Makes an array of a length and a type: those of the result, and those for its making.
    """
    level = trie.level
    vocab_size, contexts, nodes = int(level[1]), int(level[-2]), int(level[-1])
    word = _packed(nodes, _width(vocab_size), empty, trie.word)
    exact = _exact(level)
    first = np.array(trie.first[: exact + 1])
    blocks, marks = _tree_sizes(nodes - int(first[-1]), contexts - exact)
    tree = empty(blocks * packing.WORDS, np.uint64)
    tree[:] = 0
    ranks, hints = empty(blocks, np.uint32), empty(marks, np.uint32)
    packing.mark(tree, trie.first[exact:])
    packing.count_ones(tree, ranks, hints)
    release(trie.first, tree, ranks)
    prob, prob_code, prob_codebook = _probabilities(trie, bits, empty)
    backoff, backoff_code, backoff_codebook = _backoffs(trie, prob, prob_code, prob_codebook, bits, empty)
    return QuantizedTrie(
        level=level,
        word=word,
        prob=prob,
        prob_code=prob_code,
        prob_codebook=prob_codebook,
        backoff=backoff,
        backoff_code=backoff_code,
        backoff_codebook=backoff_codebook,
        first=first,
        tree=tree,
        tree_ranks=ranks,
        tree_hints=hints,
    )


def _probabilities(trie: Trie, bits: int, empty: Empty) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give log10 p of single words, the codes of all others, and their codebooks."""
    level = trie.level
    vocab_size, nodes = int(level[1]), int(level[-1])
    codebook = np.zeros((len(level) - 2, 1 << bits), np.float32)
    tables = np.zeros((len(level) - 2, quantizing.BINS), np.uint16)
    for row, (begin, end) in enumerate(pairwise(level[1:].tolist())):
        codebook[row], tables[row] = codebook_of(trie.log10_prob[begin:end], bits, logs=True)

    def codes(begin: int, some: np.ndarray) -> np.ndarray:
        out = np.empty(len(some), np.uint16)
        quantizing.codes_of(vocab_size + begin, some, tables, level, out)
        return out

    packed = _packed(nodes - vocab_size, bits, empty, trie.log10_prob[vocab_size:], codes)
    return np.array(trie.log10_prob[:vocab_size]), packed, codebook


def _backoffs(
    trie: Trie, prob: np.ndarray, prob_code: np.ndarray, prob_codebook: np.ndarray, bits: int, empty: Empty
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give log10 of the backoffs of single words, the codes of all others, and their codebooks."""
    level = trie.level
    vocab_size, contexts = int(level[1]), int(level[-2])
    backoff = np.empty(min(vocab_size, contexts), np.float32)
    codebook = np.zeros((max(len(level) - 3, 0), 1 << bits), np.float32)
    codes = empty(contexts - len(backoff), np.uint16)

    def settle(n: int, share: np.ndarray, rest: np.ndarray, mass: np.ndarray) -> None:
        """Round the backoffs of one order, and replace P by what is over: P + b (S - Q) - 1."""
        if n == 1:
            backoff[:] = np.log10(np.maximum(share, SMALLEST))
        else:
            codebook[n - 2], table = codebook_of(share, bits, logs=False)

        def piece(bounds: tuple[int, int]) -> None:
            part = slice(*bounds)
            if n == 1:
                rounded = backoff[part]
            else:
                here = slice(*(int(level[n - 1]) - vocab_size + bound for bound in bounds))
                quantizing.codes_of(0, share[part], table[None], level[:2], codes[here])
                rounded = codebook[n - 2, codes[here]]
            mass[part] += 10.0**rounded * rest[part] - 1
            release(mass[part], rest[part], share[part], codes)

        in_threads(piece, chunks(0, len(share), _CHUNK))

    coded = Coded(_read_only(prob), _read_only(prob_code), bits, _read_only(prob_codebook), _read_only(level))
    _each_order((trie.word, coded, trie.log10_backoff, trie.first), level, settle, empty)
    packed = _packed(len(codes), bits, empty, codes)
    return backoff, packed, codebook


def deviation(trie: QuantizedTrie) -> float:
    """Give how far from one the probabilities after a context sum, at most, over all contexts of a model."""
    most = 0.0

    def settle(n: int, share: np.ndarray, rest: np.ndarray, mass: np.ndarray) -> None:
        nonlocal most
        begin, end = trie.level[n - 1 : n + 1].tolist()
        backoff = np.empty(end - begin)
        packing.entries(trie.columns[2], begin, backoff)
        mass += 10.0**backoff * rest - 1
        most = max(most, float(np.abs(mass).max(initial=0)))

    _each_order(trie.columns, trie.level, settle, np.empty)
    return most


def _each_order(columns: Columns, level: np.ndarray, settle: Settle, empty: Empty) -> None:
    """Call `settle` with the sums of the contexts of each order, the shortest first: see `sum_contexts`."""
    word, coded, backoff, first = columns
    exact, codebook = (10.0 ** numbers.astype(np.float64) for numbers in (coded.exact, coded.codebook))
    prob = Coded(exact, _read_only(coded.bits), coded.width, codebook, _read_only(level))
    suffix = np.empty(0, np.uint32)
    excess = np.array([exact.sum() - exact[BOS] - 1], np.float32)  # <s> is never predicted
    for n in range(1, len(level) - 1):
        below = np.array([level[n - 2] if n > 1 else 0, level[n - 1], level[n]])
        size = int(level[n] - level[n - 1])
        share, rest, mass = (empty(size, np.float32) for _ in range(3))
        next_suffix = empty(int(level[n + 1] - level[n]) if n + 2 < len(level) else 0, np.uint32)

        def piece(
            bounds: tuple[int, int],
            parts: tuple[np.ndarray, ...] = (suffix, excess, below, share, rest, mass, next_suffix),
        ) -> None:
            quantizing.sum_contexts(*bounds, (word, prob, backoff, first), *parts)
            release(
                *parts,
                *(column for column in (word, prob.bits, backoff, first) if isinstance(column, np.ndarray)),
            )

        in_threads(piece, chunks(0, size, _CHUNK))
        settle(n, share, rest, mass)
        suffix, excess = next_suffix, mass


def _packed(
    size: int,
    width: int,
    empty: Empty,
    values: np.ndarray,
    codes: Callable[[int, np.ndarray], np.ndarray] = lambda begin, some: some,
) -> np.ndarray:
    """Pack numbers, or the codes of some values, piece by piece."""
    bits = empty(_words(size, width), np.uint64)
    bits[-1] = 0

    def pack(piece: tuple[int, int]) -> None:
        some = values[slice(*piece)]
        packing.pack(bits, width, piece[0], codes(piece[0], some))
        release(some, bits)

    in_threads(pack, chunks(0, size, _CHUNK))
    return bits


def _width(vocab_size: int) -> int:
    return max((vocab_size - 1).bit_length(), 1)


def _words(size: int, width: int) -> int:
    return (size * width + 63) // 64 + 1


def _exact(level: np.ndarray) -> int:
    """Give how many contexts say as a number where their children begin: those of one or two words."""
    return int(level[min(2, len(level) - 2)])


def _tree_sizes(children: int, contexts: int) -> tuple[int, int]:
    """Give the number of blocks and of hints of a tree."""
    return (children + contexts + 1) // packing.BLOCK + 1, contexts // packing.HINT + 2


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
