"""Compiled loops of `rows` and `screening`: products in one order, functions of one number at a time."""

from __future__ import annotations

import numpy as np
from numba import prange

from lmkit.compiled import compiled, in_parallel, inlined


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


@inlined
def _bound(w, x, unit, length, lost, codes, scale, error, size, bias, out):
    """Write those of one word (B,): products of x (B, E) int16 and codes (V, E) int8, below 2^31, and what is lost."""
    for b in range(len(x)):
        total = np.int32(0)
        for i in range(x.shape[1]):
            total = np.int32(total + np.int32(x[b, i]) * np.int32(codes[w, i]))
        score = np.float32(total) * (unit[b] * scale[w]) + bias[w]
        out[b, w] = score + (length[b] * error[w] + lost[b] * size[w])


@compiled
def bounds(x, unit, length, lost, codes, scale, error, size, bias, out):
    """Write upper bounds of scores (B, V): see `screening`."""
    for w in range(len(codes)):
        _bound(w, x, unit, length, lost, codes, scale, error, size, bias, out)


@in_parallel
def bounds_in_parallel(x, unit, length, lost, codes, scale, error, size, bias, out):
    """Write the same, the words shared out among threads."""
    for w in prange(len(codes)):
        _bound(w, x, unit, length, lost, codes, scale, error, size, bias, out)


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
