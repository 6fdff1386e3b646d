"""Compiled loops of `rows`, and of a step of an LSTM: products in one order, functions of one number at a time."""

from __future__ import annotations

import numpy as np
from numba import prange

from lmkit.compiled import compiled


def _products(x, weight, out):
    """Write x W^T (B, O), of x (B, I) and W (O, I)."""
    for o in range(len(weight)):
        for b in range(len(x)):
            total = np.float32(0)
            for i in range(x.shape[1]):
                total += x[b, i] * weight[o, i]
            out[b, o] = total


def _products_in_parallel(x, weight, out):
    """Write the same, the words shared out among threads."""
    for o in prange(len(weight)):
        for b in range(len(x)):
            total = np.float32(0)
            for i in range(x.shape[1]):
                total += x[b, i] * weight[o, i]
            out[b, o] = total


products = compiled(_products, fastmath={"reassoc", "nsz", "contract"})
products_in_parallel = compiled(_products_in_parallel, fastmath={"reassoc", "nsz", "contract"}, parallel=True)


@compiled
def sigmoid(x):
    """Replace each number of x (N,) by 1 / (1 + exp(-x))."""
    for i in range(len(x)):
        x[i] = np.float32(1) / (np.float32(1) + np.exp(-x[i]))


@compiled
def tanh(x):
    """Replace each number of x (N,) by its hyperbolic tangent."""
    for i in range(len(x)):
        x[i] = np.tanh(x[i])


@compiled
def lstm(gates, c, next_h, next_c):
    """Write the next state of an LSTM (B, H) twice, from I, F, G and O side by side (B, 4H), and c."""
    size = c.shape[1]
    for b in range(len(c)):
        for i in range(size):
            write = np.float32(1) / (np.float32(1) + np.exp(-gates[b, i]))
            keep = np.float32(1) / (np.float32(1) + np.exp(-gates[b, size + i]))
            show = np.float32(1) / (np.float32(1) + np.exp(-gates[b, 3 * size + i]))
            next_c[b, i] = keep * c[b, i] + write * np.tanh(gates[b, 2 * size + i])
            next_h[b, i] = show * np.tanh(next_c[b, i])
