"""Every option, once: frozen dataclasses from which flags, TOML keys and keyword arguments are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmkit.options import option
from lmkit.quantities import seconds

MAX_ORDER = 32
DEFAULT_TIME = 600.0  # seconds for training, where neither a time nor a number of epochs is asked for
MEASURING_SHARE = (
    0.04  # of a budget, for the whole validation text at its end; where that takes more, it is not done
)
COUNT_OPTIONS = ("order", "tokenizer", "vocab_size", "specials", "memory", "temp")  # what `lmkit count` has


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What to train, where it goes, and what it is measured on."""

    output: str | None = option(None, "model folder to write (LMKIT_MODEL, or lmkit-model here)")
    backend: str = option("ngram", "kind of model: ngram, rnn, or the name of an installed plug-in")
    valid: str | None = option(None, "text to validate on, instead of held-out lines")
    test: str | None = option(None, "text that `lmkit ppl` measures, instead of held-out lines")
    counts: bool = option(False, "FILE... are counts (lmkit count) instead of texts")
    holdout: float | None = option(
        None,
        "share of the lines to hold out, 0 for none (0.1; none with --valid or --test)",
        low=0.0,
        high=0.999,
    )
    init_from: str | None = option(
        None, "a model folder to begin from, instead of from nothing: its tokenizer is kept (backend rnn)"
    )
    teacher: str | None = option(
        None, "a model folder to learn from beside the text: its vocabulary must be that of the text (rnn)"
    )
    extend_vocab: bool = option(False, "add the words that the model of --init-from does not know")
    force: bool = option(False, "replace an existing model")
    resume: bool = option(False, "go on with a training that broke off, from its last checkpoint")
    tensorboard: str | None = option(
        None, "folder to write the learning curve to for TensorBoard as it grows, one a training"
    )


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How text becomes tokens."""

    tokenizer: str = option("auto", "auto, word, char, byte, bpe, or the name of an installed plug-in")
    min_count: int = option(1, "words rarer than this become <unk>", low=1)
    vocab_size: int | None = option(None, "keep at most this many words, the most frequent", low=1)
    vocab: str | None = option(None, "a file of the words to know; all others become <unk>")
    specials: str = option(
        "error", "what a literal <s> or </s> in a text is", choices=("error", "skip", "unk")
    )


@dataclass(frozen=True, kw_only=True)
class NgramConfig:
    """Interpolated modified Kneser-Ney (Chen & Goodman 1998)."""

    order: int = option(5, "the longest n-gram, in tokens", low=1, high=MAX_ORDER)
    prune: tuple[int, ...] = option(
        (), "drop n-grams met at most this often, per order (the last repeats): 0,0,1"
    )
    limit_vocab: str | None = option(
        None, "a file of words; n-grams with any other are dropped after counting"
    )
    interpolate_unigrams: bool = option(True, "mix unigrams with the uniform distribution")
    quantize: int | None = option(
        None,
        "round probabilities and backoffs to codes of so many bits: 8 takes a third of the size",
        low=2,
        high=16,
    )
    discount_fallback: tuple[float, ...] = option(
        (0.5, 1.0, 1.5), "discounts of an order whose counts are too few to estimate them"
    )
    memory: str | None = option(
        None, "bound of the memory for training, such as 512M or 4G; what does not fit is on disk"
    )
    temp: str | None = option(
        None, "folder for temporary files of a bounded training (TMPDIR, or the system's)"
    )


@dataclass(frozen=True, kw_only=True)
class RnnConfig:
    """A recurrent network trained by truncated back-propagation through time."""

    size: str = option(
        "auto",
        "tiny, small, medium or large; chosen by the text, the budget and the machine if auto",
        choices=("auto", "tiny", "small", "medium", "large"),
    )
    cell: str = option(
        "auto",
        "the recurrence: rnn, gru, lstm, sru, mogrifier, mlp, or in Python the name of your own; if auto, sru for a "
        "large vocabulary on a CPU and lstm otherwise",
    )
    num_layers: int | None = option(None, "recurrent layers; as --size says if not given", low=1, high=16)
    hidden_size: int | None = option(None, "units per layer; as --size says if not given", low=1)
    embedding_size: int | None = option(None, "size of word vectors; as --size says if not given", low=1)
    activation: str = option(
        "tanh", "tanh or relu for the cell rnn, any for mlp", choices=("tanh", "relu", "sigmoid")
    )
    head: str = option(
        "auto",
        "output layer: full, adaptive, or sampled (full, trained on a draw of the words)",
        choices=("auto", "full", "adaptive", "sampled"),
    )
    samples: int = option(
        2048, "words that a sampled output layer is trained on in a step, at most half of all", low=2
    )
    tie_weights: bool = option(True, "use the embedding as the output layer")
    regularize: float | None = option(
        None,
        "one dial for all noise in training, which grows up to it: 0 is none, 1 suits eight passes over the text",
        low=0.0,
    )
    dropout: float | None = option(
        None, "share of units silenced: input, between layers, output", low=0.0, high=0.95
    )
    embedding_dropout: float | None = option(None, "share of words silenced", low=0.0, high=0.95)
    weight_drop: float | None = option(None, "share of recurrent weights left out", low=0.0, high=0.95)
    activation_penalty: float | None = option(None, "keeps activations small (AR)", low=0.0)
    temporal_penalty: float | None = option(None, "keeps activations slow (TAR)", low=0.0)
    weight_decay: float | None = option(
        None, "pull of the matrices towards zero, times the rate (0.05; 1.2e-6 for sgd)", low=0.0
    )
    max_norm: float = option(
        0.0, "largest norm of a matrix of the layers, by projection after each step; 0 is off", low=0.0
    )
    init: str = option(
        "uniform", "initialisation of the weights", choices=("uniform", "normal", "xavier", "orthogonal")
    )
    batch_size: int | None = option(
        None, "streams read side by side; chosen by text and device if not given", low=1
    )
    accumulate: int = option(1, "parts that a step is computed in, to take less memory", low=1)
    bptt: int | None = option(
        None, "steps of back-propagation through time; chosen by the text if not given", low=1
    )
    vary_bptt: bool = option(False, "vary the steps from window to window")
    optimizer: str = option("adamw", "adamw or sgd", choices=("adamw", "sgd"))
    learning_rate: float | None = option(
        None,
        "peak of the schedule; chosen by the passes over the text and the units of a layer if not given (20 for sgd)",
        low=0.0,
    )
    averaging: str = option(
        "auto",
        "weights averaged: mean (of several over more or less of the training, the best in validation) or asgd (all, "
        "once validation rests); chosen by the passes over the text",
        choices=("auto", "off", "mean", "asgd"),
    )
    grad_clip: float = option(1.0, "longest gradient allowed, by global norm; 0 is off", low=0.0)
    loss: str = option(
        "cross_entropy",
        "how far the network is from its --teacher: in bits lost, or in standardised log-probabilities",
        choices=("cross_entropy", "l2", "l1", "huber"),
    )
    teacher_share: float = option(0.5, "what the --teacher counts for, of 1", low=0.0, high=1.0)
    clip_value: float = option(
        0.0, "largest number allowed in a gradient, after clipping by norm; 0 is off", low=0.0
    )
    budget: str | None = option(None, "time for training, such as 90s, 10m or 1h (10m if no --epochs)")
    epochs: float | None = option(None, "passes over the text, instead of a time", low=0.0)
    patience: int = option(
        5, "measurements without a better validation before it comes to an end; 0 is off", low=0
    )
    checkpoint: str = option("5m", "time between checkpoints, beside the model until it is done; 0 for none")
    precision: str = option(
        "auto",
        "what training multiplies in: the fastest here, or float32, bfloat16, on a GPU tf32 or float16",
        choices=("auto", "float32", "tf32", "bfloat16", "float16"),
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps")
    threads: int | None = option(None, "CPU threads; all cores if not given", low=1, high=1024)
    seed: int = option(0, "of weights, dropout and order", low=0)

    @property
    def time(self) -> float:
        """Seconds that there are for training; infinite where only a number of epochs is asked for."""
        if self.budget is None:
            return DEFAULT_TIME if self.epochs is None else math.inf
        return seconds(self.budget)


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How text is written: how much of it, out of which words, and by which search."""

    samples: int = option(1, "texts to write for each prefix", low=1, short="n")
    max_tokens: int = option(200, "stop after so many tokens", low=0)
    min_tokens: int = option(0, "no line end before so many tokens", low=0)
    lines: int | None = option(
        None,
        "stop after so many line ends; 0 goes on (1; 0 for a model that reads across lines)",
        low=0,
    )
    stop: tuple[str, ...] = option((), "stop before this string; may be given several times")
    max_time: str | None = option(None, "stop after a time, such as 10s or 2m")
    temperature: float = option(1.0, "below 1 safer, above 1 wilder, 0 greedy", low=0.0)
    top_k: int = option(0, "draw from the K likeliest tokens; 0 is all", low=0)
    top_p: float = option(1.0, "draw from the likeliest tokens that hold mass P", low=0.0, high=1.0)
    min_p: float = option(
        0.0, "draw from tokens at least P times as likely as the likeliest", low=0.0, high=1.0
    )
    typical_p: float = option(
        1.0, "draw from the tokens of most typical surprisal that hold mass P", low=0.0, high=1.0
    )
    epsilon_cutoff: float = option(0.0, "draw from tokens of at least this probability", low=0.0, high=1.0)
    eta_cutoff: float = option(
        0.0, "the same, with a lower bound where the next token is uncertain", low=0.0, high=1.0
    )
    repetition_penalty: float = option(
        1.0, "raise p of tokens that were there to this power: above 1 against repetition", low=0.0
    )
    frequency_penalty: float = option(0.0, "nats taken from a token for each time it was written")
    presence_penalty: float = option(0.0, "nats taken from a token that was written at all")
    no_repeat_ngram: int = option(0, "write no N tokens in a row twice; 0 is off", low=0)
    look_back: int = option(1024, "tokens that the four rules above look back on", low=1, high=1 << 20)
    ban: tuple[str, ...] = option((), "never write this word; may be given several times")
    only: str | None = option(None, "write only words that match this regular expression as a whole")
    force: tuple[str, ...] = option(
        (), "a word that must come before the line ends; may be given several times"
    )
    allow_unk: bool = option(False, "let <unk> be written")
    beams: int = option(1, "search for the likeliest text instead of drawing one, N at a time", low=1)
    best_of: int = option(1, "draw so many texts, and give the likeliest of them", low=1)
    distinct: bool = option(False, "draw texts that are all different, without replacement")
    length_penalty: float = option(
        1.0, "the likeliest is by log p / tokens^A: 0 by the text, 1 by the token", low=0.0
    )
    raw: bool = option(False, "leave words apart as the model writes them: no spaces taken out")
    capitalize: bool = option(False, "begin sentences with a capital letter")
    seed: int | None = option(None, "for the same text again (a fresh one)", low=0)
