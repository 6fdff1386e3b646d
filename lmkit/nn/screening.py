"""Words drawn from a softmax without computing it: from an upper bound of every score, and a few exact ones.

    a_w = (u x) . (s_w c_w) + b_w                    the score of word w of rounded features and weights: a product of
                                                     integers, codes x of 16 bits and c_w of 8
    d_w = |h| |W_w - s_w c_w| + |h - u x| |s_w c_w|  how far that can be from the exact score l_w = h . W_w + b_w
                                                     (Cauchy-Schwarz)

A word drawn by weights q_w of at least exp(a_w + d_w) is kept with probability exp(l_w) / q_w, else another one is
drawn. What is kept has exactly the distribution exp(l_w) / sum exp(l_w), since q_w is never below exp(l_w) (von Neumann
1951). A quarter of the memory is read for the codes, and with weights of the usual sizes most draws are kept.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lmkit.nn.devices import follow_torch
from lmkit.nn.inversion import inverted, tempered
from lmkit.nn.rows import worth_threads
from lmkit.nn.screening_kernels import BLOCK, bounds, bounds_in_parallel, coded, kept

_MOST = 2**15 - 1  # of a code of a feature
_ROUNDING = 2.0**-22  # of each number that is summed in float32
_COLDEST, _HOTTEST = 0.02, 1e6  # temperatures beyond which bounds are no help
_LARGEST = 1e30  # score that float32 holds with room
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
        size = -(-len(self.weight) // BLOCK) * BLOCK  # with words at the end that never come
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
        self.longest = float((self.size + self.error).max())

    def draw(self, features: Tensor, points: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
        """Draw a word (B,) after each row of features (B, E), from one uniform number (B,) in [0, 1) each.

        By a temperature T, all scores are divided by it.
        """
        rows, points = features.detach().numpy().astype(np.float64), points.astype(np.float64)
        words = np.full(len(rows), -1, np.int64)
        if _COLDEST <= temperature <= _HOTTEST:
            scaled, hotter = rows / temperature, 1 / temperature
            sound = np.linalg.norm(scaled, axis=1) * self.longest < _LARGEST  # which no NaN is
            scaled[~sound] = 0.0
            kept(self.bounds(scaled, hotter), scaled, self.weight, self.bias, hotter, _TRIES, points, words)
            words[~sound] = -1
        for row in np.flatnonzero(words < 0):
            words[row] = self._exact(rows[row], points[row], temperature)
        return words

    def bounds(self, rows: np.ndarray, hotter: float = 1.0) -> np.ndarray:
        """Give a bound of the score of each word (B, V'), those at the end included, after exact features (B, E).

        Where the features are over a temperature, `hotter` says what the biases are to be multiplied by.
        """
        count, size = rows.shape
        most = min(_MOST, (2**31 - 1) // (127 * max(size, 1)))  # that a sum can hold
        codes, out = np.empty((count, size), np.int16), np.empty((count, len(self.codes)), np.float32)
        unit, length, lost = np.empty((3, count), np.float32)
        coded(rows, most, codes, unit, length, lost)
        loop = follow_torch(bounds_in_parallel) if worth_threads(rows, self.codes) else bounds
        of_words = (self.codes, self.scale, self.error, self.size, self.highest)
        loop(codes, unit, length, lost, *of_words, np.float32(hotter), out)
        return out

    def _exact(self, row: np.ndarray, point: float, temperature: float) -> int:
        """Draw a word from all exact scores."""
        scores = self.bias[: len(self.weight)] + self.weight @ row.astype(np.float32)
        return int(inverted(np.exp(tempered(scores, temperature))[None], np.array([point]))[0])
