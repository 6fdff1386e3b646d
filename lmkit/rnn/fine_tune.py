"""Beginning from a trained model: its network, its weights, and rows for words that it does not know.

More layers may be asked for than it has: those on top begin as in any network, beside the residual connection.

The new word w takes the rows of `<unk>`, since these hold what the network has learnt to do where it knows no word:
where to expect one, and how to read on after it. Its bias says how much of such places is its own,

    b_w = b_unk + log u(w) - log mean p(<unk> | h)

with u the smoothed unigram distribution of the new text and the mean, under the old model, over contexts h of that
text: so the new word begins about as likely as it is frequent, even where `<unk>` was all but impossible. After any
context all old words keep their shares of what the new words leave them, because nothing of theirs has changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

import numpy as np

from lmkit.config import RnnConfig
from lmkit.errors import UsageError
from lmkit.nn.saving import load_arrays
from lmkit.rnn.batches import streams
from lmkit.rnn.model import RnnModel
from lmkit.rnn.network import Network
from lmkit.text.vocabulary import UNK

_NOISE = 0.01  # of the spread of a table: tells new words from each other, and moves no probability by much
_STREAMS, _STEPS = 16, 64  # contexts over which the mean is taken


def settled(config: RnnConfig, *, initial: RnnModel, given: Collection[str] = ()) -> RnnConfig:
    """Give a config with the network of the initial model; the optimiser, its time and its noise are as they were.

    Args:
        config: The options.
        initial: The model to begin from.
        given: The names of the options that were asked for, which must not be other than the model's, but for more
            layers.

    Raises:
        UsageError: one is.
    """
    names = {f.name for f in fields(RnnConfig)} & initial.settings.keys() - {"head"}
    of_model = {name: initial.settings[name] for name in sorted(names)}
    if config.num_layers is not None and config.num_layers > of_model["num_layers"]:
        if of_model["embedding_size"] != of_model["hidden_size"]:
            raise UsageError(
                f"num_layers can only grow where all layers are of one size, and embedding_size is "
                f"{of_model['embedding_size']} and hidden_size {of_model['hidden_size']} in the model to begin from"
            )
        of_model["num_layers"] = config.num_layers
    for name, value in of_model.items():
        asked = getattr(config, name)
        if name in given and asked not in (None, "auto", value):
            raise UsageError(
                f"{name} is {value} in the model to begin from, and {asked} was asked for; leave it out, or train "
                "without init_from"
            )
    if "init" in given:
        raise UsageError(
            "init says how weights begin, and init_from that they begin as a model's; leave one out"
        )
    if "size" in given and config.size != "auto":
        raise UsageError(
            f"size {config.size} was asked for, and the model to begin from has its own; leave it out"
        )
    head = initial.settings["head"]  # a full one may be trained on a draw of the words
    if "head" in given and config.head != "auto" and (config.head == "adaptive") != (head == "adaptive"):
        raise UsageError(
            f"head is {head} in the model to begin from, and {config.head} was asked for; leave it out"
        )
    if head == "adaptive":
        of_model["head"] = head
    return replace(config, **of_model)


def take_over(network: Network, initial: RnnModel, ids: np.ndarray, *, seed: int) -> list[str]:
    """Give a network the weights of a model, and words that the model does not know rows of their own.

    Gives a line for each weight that the model has none for: those of layers on top of its own.

    Args:
        network: Made with the model's settings, for its words and perhaps more behind them, with its layers and
            perhaps more on top of them.
        initial: The model.
        ids: (T,) the new text.
        seed: Of the noise.

    Raises:
        UsageError: words cannot be added to such a model.
    """
    arrays = dict(initial.arrays())
    known, size = len(initial.tokenizer.vocab), network.output.vocab_size
    if size > known and network.output.kind == "adaptive":
        raise UsageError(
            "the model to begin from has an adaptive head, whose clusters are of the words that it knows; leave out "
            "--extend-vocab"
        )
    if size > known:
        rng = np.random.default_rng(seed)
        for name in {"embedding.weight", "output.weight"} & arrays.keys():  # tied, they are one
            table = arrays[name]  # (V, E)
            noise = rng.normal(0.0, _NOISE * table.std(), (size - known, table.shape[1]))
            arrays[name] = np.concatenate([table, (table[UNK] + noise).astype(table.dtype)])
        counts = np.bincount(ids, minlength=size) + 0.5
        log_unigram = np.log(counts[known:] / counts.sum())
        bias = arrays["output.bias"]  # (V,)
        mean = log_mean_unknown(initial, np.where(ids < known, ids, UNK))
        arrays["output.bias"] = np.concatenate([bias, (bias[UNK] + log_unigram - mean).astype(bias.dtype)])
    deeper = len(network.stack.cells) > initial.settings["num_layers"]
    return load_arrays(network, arrays, strict=not deeper)


def log_mean_unknown(model: RnnModel, ids: np.ndarray) -> float:
    """Give the logarithm of the mean of p(<unk> | h) over contexts h from all over a text (T,)."""
    columns = streams(ids, _STREAMS)[:_STEPS]
    state = model.start(columns.shape[1])
    logprobs = []
    for tokens in columns:
        state = model.step(state, tokens)
        logprobs.append(model.next_logprobs(state)[:, UNK])
    return float(np.logaddexp.reduce(np.concatenate(logprobs).astype(float)) - np.log(columns.size))
