"""Compiled loops of `rows` and `screening`: products in one order, functions of one number at a time."""

from __future__ import annotations

import numpy as np
from numba import prange

from lmkit.compiled import compiled


def _products(x, weight, out):
    """Write x W^T (B, O), of x (B, I) float32 and W (O, I) float32 or int8."""
    for o in range(len(weight)):
        for b in range(len(x)):
            total = np.float32(0)
            for i in range(x.shape[1]):
                total += x[b, i] * np.float32(weight[o, i])
            out[b, o] = total


def _products_in_parallel(x, weight, out):
    """Write the same, the words shared out among threads."""
    for o in prange(len(weight)):
        for b in range(len(x)):
            total = np.float32(0)
            for i in range(x.shape[1]):
                total += x[b, i] * np.float32(weight[o, i])
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


def _lstm(x, h, c, by_input, by_state, bias, next_h, next_c):
    """Write the next state of an LSTM (B, H) twice, from x (B, I), the state, and weights (4H, I), (4H, H), (4H,)."""
    size = h.shape[1]
    gates = np.empty(4 * size, np.float32)  # I, F, G, O
    for b in range(len(x)):
        for o in range(4 * size):
            total = np.float32(0)
            for i in range(x.shape[1]):
                total += x[b, i] * by_input[o, i]
            more = np.float32(0)
            for i in range(size):
                more += h[b, i] * by_state[o, i]
            gates[o] = total + more + bias[o]
        for i in range(size):
            write = np.float32(1) / (np.float32(1) + np.exp(-gates[i]))
            keep = np.float32(1) / (np.float32(1) + np.exp(-gates[size + i]))
            show = np.float32(1) / (np.float32(1) + np.exp(-gates[3 * size + i]))
            next_c[b, i] = keep * c[b, i] + write * np.tanh(gates[2 * size + i])
            next_h[b, i] = show * np.tanh(next_c[b, i])


lstm = compiled(_lstm, fastmath={"reassoc", "nsz", "contract"})
