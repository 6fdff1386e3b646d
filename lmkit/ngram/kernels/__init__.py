"""The compiled loops of the n-gram engine. Each is the plain definition; the tests hold a dictionary version of all.

Conventions: a *stream* (S,) int32 holds `<s>` words `</s>` of every line; nodes of the trie are numbered through,
order after order, each order in lexicographic order, so that the children of node g are the nodes first[g] to
first[g + 1] (exclusive).
"""
