"""Loops that read n-grams and numbers from text."""

from __future__ import annotations

from lmkit.compiled import compiled
from lmkit.text.vocabulary import BOS, EOS


@compiled
def split_counts(data, most, lengths, values):
    """Take `TAB count` off the end of every line of `data` (n,) uint8, whole lines, by writing spaces over it.

    Args:
        data: the bytes; changed.
        most: how many words an n-gram can have.
        lengths: (lines,) int64, receives how many words are left on each line.
        values: (lines,) int64, receives the counts.

    Returns:
        The number of the first line that is not like that, or -1.
    """
    line = 0
    begin = 0
    for end in range(len(data)):
        if data[end] != 10:
            continue
        value, scale, k = 0, 1, end - 1
        while k >= begin and (data[k] == 13 or data[k] == 32):
            k -= 1
        while k >= begin and 48 <= data[k] <= 57 and scale < 10**10:
            value += scale * (data[k] - 48)
            scale *= 10
            data[k] = 32
            k -= 1
        if k < begin or data[k] != 9 or scale == 1 or not 1 <= value < 1 << 31:
            return line
        words = 0
        for i in range(begin, k):
            inside = data[i] > 32 or not (data[i] == 32 or data[i] == 9 or data[i] == 13 or data[i] == 0)
            after = (
                i == begin or data[i - 1] == 32 or data[i - 1] == 9 or data[i - 1] == 13 or data[i - 1] == 0
            )
            if inside and after:
                words += 1
        if not 0 < words <= most:
            return line
        lengths[line] = words
        values[line] = value
        line += 1
        begin = end + 1
    return -1


@compiled
def gather_windows(ids, lengths, values, windows, weight):
    """Choose, among counted n-grams, those that are windows: of the full order, or ended by `</s>`.

    Args:
        ids: the words of every line, and `</s>` for its end.
        lengths, values: (lines,) how many words each has, and its count.
        windows, weight: (lines, order) int32 and (lines,) int32, receive the windows, filled up with `</s>`.

    Returns:
        How many there are, and the first line with a special word where it cannot be, or -1.
    """
    rows, i = 0, 0
    for line in range(len(lengths)):
        n = lengths[line]
        for k in range(n):
            if (ids[i + k] == BOS and k > 0) or (ids[i + k] == EOS and k < n - 1):
                return rows, line
        if n == windows.shape[1] or ids[i + n - 1] == EOS:
            for k in range(windows.shape[1]):
                windows[rows, k] = ids[i + k] if k < n else EOS
            weight[rows] = values[line]
            rows += 1
        i += n + 1
    return rows, -1
