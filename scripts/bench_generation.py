"""How fast text is generated. Machines are noisy: read the ratios, from one run.

    python scripts/bench_generation.py ngram --model DIR        # a model of many n-grams, loaded
    python scripts/bench_generation.py ngram --train TEXT       # or one that is trained first, order 5
    python scripts/bench_generation.py rnn                      # against a plain PyTorch loop, 33,278 words
    python scripts/bench_generation.py rules --train TEXT       # what each rule costs
    python scripts/bench_generation.py memory --train TEXT      # 100,000 tokens, and what they took

Rates are tokens per second of one process, the median of several turns, with words joined to text. `--threads` limits
both sides of a comparison.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import lmkit
from lmkit.model import LanguageModel
from lmkit.rnn.model import RnnModel
from lmkit.rnn.network import Network
from lmkit.text.vocabulary import Vocabulary
from lmkit.text.word import WordTokenizer

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
WORDS, UNITS, LAYERS = 33_278, 256, 2
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0},
    {"temperature": 0.8},
    {"top_k": 40},
    {"top_p": 0.9},
    {"min_p": 0.05},
    {"typical_p": 0.9},
    {"eta_cutoff": 0.001},
    {"repetition_penalty": 1.2},
    {"no_repeat_ngram": 3},
    {"beams": 8},
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"ngram": ngram, "rnn": rnn, "rules": rules, "memory": memory}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--model", help="a model folder")
    parser.add_argument("--train", type=Path, default=DATA / "wikitext-2" / "train.txt")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--threads", type=int, help="of torch and of compiled loops")
    options = parser.parse_args()
    if options.threads:
        import numba

        torch.set_num_threads(options.threads)
        numba.set_num_threads(options.threads)
    parts[options.part](options)


def rate(turn: Callable[[], int], seconds: float) -> float:
    """Take turns for so long, the first one for nothing; give the median of their tokens a second."""
    turn()
    rates: list[float] = []
    until = time.monotonic() + seconds
    while len(rates) < 3 or time.monotonic() < until:
        began = time.perf_counter()
        tokens = turn()
        rates.append(tokens / (time.perf_counter() - began))
    return statistics.median(rates)


def row(name: str, rate_: float, beside: float | None = None) -> None:
    print(f"{name:44} {rate_:12,.0f}" + ("" if beside is None else f"   x {rate_ / beside:.2f}"), flush=True)


def stream_of(model: LanguageModel, samples: int, tokens: int, **options: Any) -> Callable[[], int]:
    """Make a turn: so many texts beside each other, of so many tokens, each turn from another seed."""
    seeds = iter(range(1 << 30))

    def turn() -> int:
        more = {"samples": samples, "max_tokens": tokens, "lines": 0, "seed": next(seeds), **options}
        return len([token.id for token in lmkit.stream(model, "", logprobs=False, **more)])

    return turn


def searched(model: LanguageModel, rule: dict[str, Any]) -> Callable[[], int]:
    """Make a turn of a search."""
    return lambda: sum(len(s.ids) for s in lmkit.generate(model, "", lines=0, max_tokens=100, **rule))


def loaded(options: argparse.Namespace) -> LanguageModel:
    """Load the model that is named, or train one."""
    if options.model:
        return lmkit.load(options.model)
    print(f"training order 5 on {options.train}", flush=True)
    return lmkit.train(options.train, order=5, holdout=0)


def ngram(options: argparse.Namespace) -> None:
    model = loaded(options)
    print(f"{model.signature()}, {model.capacity():,} n-grams; tokens/s")
    row("a batch of 64", rate(stream_of(model, 64, 200), options.seconds))
    row("single", rate(stream_of(model, 1, 2000), options.seconds))


class Plain(nn.Module):
    """An embedding, an LSTM and a linear layer: what a first PyTorch language model is."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS, LAYERS)
        self.linear = nn.Linear(UNITS, WORDS)

    def forward(self, token: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, state = self.lstm(self.embedding(token), state)
        return torch.log_softmax(self.linear(hidden), dim=-1), state


def plain_loop(tokens: int) -> Callable[[], int]:
    """Make a turn of the loop that everybody writes: one token, one call, one multinomial draw."""
    torch.manual_seed(0)
    model = Plain().eval()

    def turn() -> int:
        state = (torch.zeros(LAYERS, 1, UNITS), torch.zeros(LAYERS, 1, UNITS))
        token, words = torch.zeros(1, 1, dtype=torch.long), []
        with torch.no_grad():
            for _ in range(tokens):
                logprobs, state = model(token, state)
                token = torch.multinomial(logprobs[0].exp(), 1)
                words.append(str(token.item()))
        return len(" ".join(words).split())

    return turn


def rnn(options: argparse.Namespace) -> None:
    print(f"LSTM, {LAYERS} x {UNITS}, {WORDS:,} words, untrained; torch {torch.__version__}; tokens/s")
    plain = rate(plain_loop(200), options.seconds)
    row("plain PyTorch loop, single", plain)
    tokenizer = WordTokenizer(vocab=Vocabulary.from_tokens(f"w{i}" for i in range(WORDS - 3)))
    for head in ("full", "adaptive"):
        settings = {
            "cell": "lstm", "num_layers": LAYERS, "hidden_size": UNITS, "embedding_size": UNITS, "head": head
        }  # fmt: skip
        network = Network(vocab_size=WORDS, **settings)  # type: ignore[arg-type]
        unigram = 1 / np.arange(1, WORDS + 1)  # as words are: by Zipf's law
        unigram[:3] = 1e-3  # <unk>, <s>, </s>
        torch.manual_seed(0)
        network.initialize("uniform", torch.as_tensor(unigram / unigram.sum(), dtype=torch.float32))
        model = RnnModel(tokenizer=tokenizer, network=network, settings=settings)
        row(f"lmkit, {head} softmax, single", rate(stream_of(model, 1, 200), options.seconds), plain)
        row(f"lmkit, {head} softmax, a batch of 64", rate(stream_of(model, 64, 20), options.seconds), plain)
    shaped = stream_of(model, 1, 100, temperature=0.8, top_p=0.9)
    row("lmkit, adaptive, temperature and top-p, single", rate(shaped, options.seconds), plain)


def rules(options: argparse.Namespace) -> None:
    model = loaded(options)
    print(f"{len(model.tokenizer.vocab):,} words; tokens/s in a batch of 16")
    first = None
    for rule in RULES:
        turn = searched(model, rule) if "beams" in rule else stream_of(model, 16, 50, **rule)
        found = rate(turn, options.seconds)
        first = first or found
        row(", ".join(f"{name} {value}" for name, value in rule.items()) or "none", found, first)


def memory(options: argparse.Namespace) -> None:
    model = loaded(options)
    peaks = []
    for count in (1_000, 100_000):
        began = time.monotonic()
        written = sum(len(token.text) for token in lmkit.stream(model, "", seed=1, lines=0, max_tokens=count))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        seconds = time.monotonic() - began
        print(f"{count:,} tokens, {written:,} characters, {seconds:.1f} s: at most {peaks[-1]:.1f} MB")


if __name__ == "__main__":
    main()
