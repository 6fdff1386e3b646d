"""Words drawn from a softmax without computing it: from an upper bound of every score, and a few exact ones.

    a_w = (u x) . (s_w c_w) + b_w                    the score of word w of rounded features and weights: a product of
                                                     integers, codes x of 16 bits and c_w of 8
    d_w = |h| |W_w - s_w c_w| + |h - u x| |s_w c_w|  how far that can be from the exact score l_w = h . W_w + b_w
                                                     (Cauchy-Schwarz)

A word drawn from exp(a_w + d_w) is kept with probability exp(l_w - a_w - d_w), else another one is drawn. What is kept
has exactly the distribution exp(l_w) / sum exp(l_w), since exp(a_w + d_w) is never below exp(l_w) (von Neumann 1951). A
quarter of the memory is read for the codes, and with weights of the usual sizes most draws are kept.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lmkit.nn.inversion import place, tempered
from lmkit.nn.rows import worth_threads

_BLOCK = 128  # words whose probabilities are summed before they are looked at one by one
_MOST = 2**15 - 1  # of a code of a feature
_ROUNDING = 2.0**-22  # of each number that is summed in float32
_COLDEST, _HOTTEST = 0.02, 1e6  # temperatures beyond which bounds are no help
_TRIES = 32  # after which all exact scores are computed: the weights are too large for codes of 8 bits


class Screen:
    """The codes of a table of weights (V, E) with biases (V,), to draw words with.

    >>> import torch
    >>> screen = Screen(torch.eye(3), torch.tensor([0.0, 0.0, -torch.inf]))
    >>> screen.draw(torch.tensor([[9.0, -9.0, 0.0], [-9.0, 9.0, 0.0]]), np.array([0.3, 0.6])).tolist()
    [0, 1]
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight = weight.detach().numpy()
        size = -(-len(self.weight) // _BLOCK) * _BLOCK  # with words at the end that never come
        self.bias = np.full(size, -np.inf, np.float32)
        self.bias[: len(self.weight)] = bias.detach().numpy()
        self.highest = self.bias + 2 * _ROUNDING * np.abs(np.nan_to_num(self.bias, neginf=0.0))  # rounded up
        self.scale = np.ones(size, np.float32)
        self.codes = np.zeros((size, self.weight.shape[1]), np.int8)
        self.error = np.zeros(size, np.float32)  # how long what is lost of a word's weights is
        self.size = np.zeros(size, np.float32)  # how long what is left of them is
        for begin in range(0, len(self.weight), 1 << 12):  # some words at a time, to take less memory
            exact = self.weight[begin : begin + (1 << 12)].astype(np.float64)
            part = slice(begin, begin + len(exact))
            largest = np.abs(exact).max(axis=1, initial=0.0)
            self.scale[part] = np.where(largest > 0, largest / 127, 1)
            self.codes[part] = np.clip(np.rint(exact / self.scale[part, None]), -127, 127)
            rounded = self.codes[part] * self.scale[part, None].astype(np.float64)
            self.size[part] = np.linalg.norm(rounded, axis=1) * 1.0001
            slack = _ROUNDING * exact.shape[1] * np.linalg.norm(exact, axis=1)
            self.error[part] = np.linalg.norm(exact - rounded, axis=1) * 1.0001 + slack

    def draw(self, features: Tensor, points: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E), from one uniform number (B,) in [0, 1) each.

        By a temperature T, all scores are divided by it.
        """
        rows = features.detach().numpy().astype(np.float64)
        if not _COLDEST <= temperature <= _HOTTEST:
            of_rows = zip(rows, points.tolist(), strict=True)
            return np.array([self._exact(row, point, temperature) for row, point in of_rows], np.int64)
        bounds = self.bounds(rows, temperature)
        bounded = zip(bounds, rows, points.tolist(), strict=True)
        return np.array(
            [self._kept(bound, row, point, temperature) for bound, row, point in bounded], np.int64
        )

    def bounds(self, rows: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Give a bound of the score of each word (B, V'), those at the end included, after exact features (B, E)."""
        from lmkit.nn import row_kernels

        rows = rows / temperature
        bias = self.highest if temperature == 1 else self.highest / np.float32(temperature)
        most = min(_MOST, (2**31 - 1) // (127 * max(rows.shape[1], 1)))  # that a sum can hold
        largest = np.abs(rows).max(axis=1, initial=0.0)
        unit = np.where(largest > 0, largest / most, 1)
        codes = np.rint(rows / unit[:, None])
        lengths = [np.linalg.norm(part, axis=1) for part in (rows, rows - codes * unit[:, None])]
        out = np.empty((len(rows), len(self.codes)), np.float32)
        threads = worth_threads(rows, self.codes)
        (row_kernels.bounds_in_parallel if threads else row_kernels.bounds)(
            codes.astype(np.int16),
            *(part.astype(np.float32) for part in (unit, *lengths)),
            self.codes,
            self.scale,
            self.error,
            self.size,
            bias,
            out,
        )
        return out

    def _kept(self, bounds: np.ndarray, row: np.ndarray, point: float, temperature: float) -> int:
        """Draw words until one is kept, from upper bounds of the scores (V',) and exact features (E,)."""
        proposal = _Inversion(bounds)
        for _ in range(_TRIES):
            word = proposal.at(point)
            point = _next(point)
            score = float(self.weight[word].astype(np.float64) @ row) + float(self.bias[word])
            if point < np.exp(score / temperature - float(bounds[word])):
                return word
            point = _next(point)
        return self._exact(row, point, temperature)

    def _exact(self, row: np.ndarray, point: float, temperature: float) -> int:
        """Draw a word from all exact scores."""
        scores = self.bias.astype(np.float64)
        scores[: len(self.weight)] += self.weight @ row.astype(np.float32)
        return _Inversion(tempered(scores, temperature)).at(point)


class _Inversion:
    """Words at points of the distribution that is proportional to exp of some scores (V,)."""

    def __init__(self, scores: np.ndarray) -> None:
        self.p = np.exp(scores - scores.max()).reshape(-1, _BLOCK)
        self.sums = np.cumsum(self.p.sum(axis=1), dtype=np.float64)

    def at(self, point: float) -> int:
        """Give the word at a point in [0, 1): first its block, then the word."""
        goal = point * self.sums[-1]
        block = place(self.sums, goal)
        inside = np.cumsum(self.p[block], dtype=np.float64)
        return block * _BLOCK + place(inside, goal - (self.sums[block - 1] if block else 0.0))


def _next(point: float) -> float:
    """Give the uniform number that follows another one (Steele et al. 2014, SplitMix64)."""
    x = (int(point * (1 << 53)) + 0x9E3779B97F4A7C15) % (1 << 64)
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % (1 << 64)
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)
