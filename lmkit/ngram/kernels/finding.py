"""A loop that finds whole n-grams in a trie, many at a time."""

from __future__ import annotations

import numpy as np

from lmkit.compiled import compiled
from lmkit.ngram.kernels.lookup import find_child


@compiled
def find_ngrams(rows, begin, end, word, first, nodes):
    """Give the node of each n-gram rows[i, begin:end], or -1 where the trie has none.

    What a row has in common with the one before is not looked for again: in most files neighbours share their context.

    Args:
        rows: (R, n) int32 tokens.
        begin, end: which of them are meant; at least one.
        word, first: columns of the trie.
        nodes: (R,) int64, receives the nodes.
    """
    path = np.empty(end - begin, np.int64)  # the nodes of the first 1, 2, ... tokens of the row before
    for i in range(len(rows)):
        same = 0
        while i and same < end - begin and rows[i, begin + same] == rows[i - 1, begin + same]:
            same += 1
        for k in range(same, end - begin):
            token = rows[i, begin + k]
            if k == 0:
                path[0] = token
            elif path[k - 1] < 0:
                path[k] = -1
            else:
                path[k] = find_child(word, first, path[k - 1], token)
        nodes[i] = path[-1]
