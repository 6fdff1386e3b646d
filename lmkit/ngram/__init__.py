"""The n-gram model: interpolated modified Kneser-Ney, from sorted suffixes to a trie.

Read in the order of the work: `suffix_sort`, `counting`, `discounts`, `pruning`, `kneser_ney`, `trie`, `model`;
`train` does one after the other, `kernels` holds the compiled loops, `arpa` the exchange format.
"""
