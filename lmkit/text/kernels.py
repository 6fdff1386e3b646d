"""Compiled loops over bytes: splitting lines and looking up words. Imported only where they are used.

Each has a plain twin: `WordTokenizer.encode` for the words, a few lines in the tests for the hash.
"""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)


@compiled
def mix(value):
    """Spread every bit of a 64-bit number over all others (the finaliser of MurmurHash3)."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@compiled
def hash_lines(data, hashes, ends):
    """Hash each line of `data` (FNV-1a, mixed) into `hashes`, its end (exclusive) into `ends`; give their number."""
    count = 0
    value = FNV_OFFSET
    for i in range(len(data)):
        byte = data[i]
        if byte == 10:
            hashes[count] = mix(value)
            ends[count] = i + 1
            count += 1
            value = FNV_OFFSET
        else:
            value = (value ^ np.uint64(byte)) * FNV_PRIME
    return count


@compiled
def insert_words(table, hashes, first, last):
    """Put the words `first` to `last` (exclusive), known by their hashes, into an open-addressing table."""
    mask = np.uint64(len(table) - 1)
    for word in range(first, last):
        slot = hashes[word] & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = word


@compiled
def hash_words(data, offsets, hashes, first):
    """Hash the words `first` and later of a vocabulary: word i is data[offsets[i] : offsets[i + 1] - 1]."""
    for word in range(first, len(offsets) - 1):
        value = FNV_OFFSET
        for i in range(offsets[word], offsets[word + 1] - 1):
            value = (value ^ np.uint64(data[i])) * FNV_PRIME
        hashes[word] = mix(value)


@compiled
def encode_words(data, position, out, table, hashes, words, offsets, counts, size, special):
    """Turn bytes into word ids, from `position` on, one `</s>` (2) at each line end.

    NUL, TAB, LF, CR and SPACE separate words. A word not in the table gets the next id. A literal <s> or </s> stops
    the loop (special = 0), is dropped (1), unknown (2) or kept (3).

    Args:
        data: (n,) uint8, whole lines.
        position: where to begin.
        out: (n,) int32, receives the ids.
        table: (2^k,) int32, slots of word numbers, -1 where free.
        hashes: (capacity,) uint64, the hash of each word.
        words: (bytes,) uint8, the words, each followed by one byte that separates it.
        offsets: (capacity + 1,) int64, word i is words[offsets[i] : offsets[i + 1] - 1].
        counts: (capacity,) int64, how often each was met.
        size: how many words there are.
        special: what to do with a literal <s> or </s>.

    Returns:
        (position reached, ids written, words known, stopped): stopped is 0 at the end of the data, 1 where the
        arrays must grow first, 2 at a literal special.
    """
    mask = np.uint64(len(table) - 1)
    written = 0
    i = position
    n = len(data)
    while i < n:
        byte = data[i]
        if byte == 10:
            out[written] = 2
            written += 1
            counts[2] += 1
            i += 1
            continue
        if byte == 32 or byte == 9 or byte == 13 or byte == 0:
            i += 1
            continue
        start = i
        value = FNV_OFFSET
        while not (byte == 32 or byte == 10 or byte == 9 or byte == 13 or byte == 0):
            value = (value ^ np.uint64(byte)) * FNV_PRIME
            i += 1
            if i == n:
                break
            byte = data[i]
        value = mix(value)
        slot = value & mask
        word = table[slot]
        while word >= 0:
            if hashes[word] == value and offsets[word + 1] - 1 - offsets[word] == i - start:
                base = offsets[word]
                same = True
                for k in range(i - start):
                    if words[base + k] != data[start + k]:
                        same = False
                        break
                if same:
                    break
            slot = (slot + np.uint64(1)) & mask
            word = table[slot]
        if (word == 1 or word == 2) and special < 3:
            if special == 0:
                return start, written, size, 2
            if special == 2:
                out[written] = 0
                written += 1
                counts[0] += 1
            continue
        if word < 0:
            begin = offsets[size]
            if 2 * size >= len(table) or size + 1 >= len(hashes) or begin + i - start + 1 > len(words):
                return start, written, size, 1
            for k in range(i - start):
                words[begin + k] = data[start + k]
            words[begin + i - start] = 10
            offsets[size + 1] = begin + i - start + 1
            hashes[size] = value
            table[slot] = size
            word = size
            size += 1
        counts[word] += 1
        out[written] = word
        written += 1
    return i, written, size, 0


@compiled
def count_text(data):
    """Count the lines, words and characters of UTF-8 text (n,) that ends in a line end.

    Here every white space of ASCII separates words, as in `wc -w`.
    """
    lines = words = characters = 0
    before = True
    for byte in data:
        space = (
            (byte == 32) | (np.uint8(byte - np.uint8(9)) <= 4) | (byte == 0)
        )  # no branch: many bytes at a time
        words += space & (not before)
        before = space
        lines += byte == 10
        characters += byte & 0xC0 != 0x80
    return lines, words, characters


@compiled
def tally_lines(ids, logprobs, known, unknown, tokens, oov):
    """Add up each line (L,) of whole lines (T,): log p of known tokens and of unknown (ids below 0), and counts."""
    known[:], unknown[:], tokens[:], oov[:] = 0.0, 0.0, 0, 0
    line = 0
    for t in range(len(ids)):
        tokens[line] += 1
        if ids[t] < 0:
            unknown[line] += logprobs[t]
            oov[line] += 1
        else:
            known[line] += logprobs[t]
        line += ids[t] == 2


@compiled
def part_lines(data, chosen, kept, others):
    """Write each line of a text (n,) into `kept` where `chosen` (L,) is true, else into `others`; give both sizes."""
    line = in_kept = in_others = 0
    for byte in data:
        if chosen[line]:
            kept[in_kept] = byte
            in_kept += 1
        else:
            others[in_others] = byte
            in_others += 1
        line += byte == 10
    return in_kept, in_others
