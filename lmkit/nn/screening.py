"""Words drawn from a softmax without computing it: from an upper bound of every score, and a few exact ones.

    a_w = c_w s_w . h + b_w          the score of word w with its weights rounded to codes c_w of 8 bits
    d_w = |W_w - c_w s_w| |h|        how far that can be from the exact score l_w = W_w . h + b_w (Cauchy-Schwarz)

A word drawn from exp(a_w + d_w) is kept with probability exp(l_w - a_w - d_w), else another one is drawn. What is kept
has exactly the distribution exp(l_w) / sum exp(l_w), since exp(a_w + d_w) is never below exp(l_w) (von Neumann 1951). A
quarter of the memory is read for the codes, and with weights of the usual sizes most draws are kept.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lmkit.nn.rows import products

_BLOCK = 128  # words whose probabilities are summed before they are looked at one by one
_ROUNDING = 2.0**-22  # of each number that is summed in float32
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
        self.scale = np.ones(size, np.float32)
        self.codes = np.zeros((size, self.weight.shape[1]), np.int8)
        self.error = np.zeros(size, np.float32)
        for begin in range(0, len(self.weight), 1 << 12):  # some words at a time, to take less memory
            exact = self.weight[begin : begin + (1 << 12)].astype(np.float64)
            part = slice(begin, begin + len(exact))
            largest = np.abs(exact).max(axis=1, initial=0.0)
            self.scale[part] = np.where(largest > 0, largest / 127, 1)
            self.codes[part] = np.clip(np.rint(exact / self.scale[part, None]), -127, 127)
            error = np.linalg.norm(
                exact - self.codes[part] * self.scale[part, None].astype(np.float64), axis=1
            )
            self.error[part] = error * 1.0001 + _ROUNDING * exact.shape[1] * np.linalg.norm(exact, axis=1)

    def draw(self, features: Tensor, points: np.ndarray) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E), from one uniform number (B,) in [0, 1) each."""
        rows = np.ascontiguousarray(features.detach().numpy())
        bounds = products(rows, self.codes)  # (B, V), as yet without scales
        words = np.empty(len(rows), np.int64)
        for b, row in enumerate(rows):
            exact = row.astype(np.float64)
            bounds[b] *= self.scale
            bounds[b] += self.error * np.float32(np.linalg.norm(exact))
            bounds[b] += self.bias
            words[b] = self._kept(bounds[b], exact, float(points[b]))
        return words

    def _kept(self, bounds: np.ndarray, row: np.ndarray, point: float) -> int:
        """Draw words until one is kept, from upper bounds of the scores (V,) and exact features (E,)."""
        proposal = _Inversion(bounds)
        for _ in range(_TRIES):
            word = proposal.at(point)
            point = _next(point)
            score = float(self.weight[word].astype(np.float64) @ row) + float(self.bias[word])
            if point < np.exp(score - float(bounds[word])):
                return word
            point = _next(point)
        scores = self.bias.copy()
        scores[: len(self.weight)] += self.weight @ row
        return _Inversion(scores).at(point)


class _Inversion:
    """Words at points of the distribution that is proportional to exp of some scores (V,)."""

    def __init__(self, scores: np.ndarray) -> None:
        self.p = np.exp(scores - scores.max()).reshape(-1, _BLOCK)
        self.sums = np.cumsum(self.p.sum(axis=1), dtype=np.float64)

    def at(self, point: float) -> int:
        """Give the word at a point in [0, 1): first its block, then the word."""
        goal = point * self.sums[-1]
        block = min(int(self.sums.searchsorted(goal, "right")), int(self.sums.searchsorted(self.sums[-1])))
        inside = np.cumsum(self.p[block], dtype=np.float64)
        left = goal - (self.sums[block - 1] if block else 0.0)
        return block * _BLOCK + min(
            int(inside.searchsorted(left, "right")), int(inside.searchsorted(inside[-1]))
        )


def _next(point: float) -> float:
    """Give the uniform number that follows another one (Steele et al. 2014, SplitMix64)."""
    x = (int(point * (1 << 53)) + 0x9E3779B97F4A7C15) % (1 << 64)
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % (1 << 64)
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)
