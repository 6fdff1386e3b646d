"""Make the figures of README.md and CONTRIBUTING.md again.

    python scripts/measure.py reference      n-gram perplexities against those of the reference estimator, with cost
    python scripts/measure.py stories        n-gram and RNN against the true source of the fables in corpora/
    python scripts/measure.py shakespeare    an RNN of characters, ten minutes
    python scripts/measure.py adaptive       WikiText-2: what a mixture and a cache add to a 5-gram (and to --rnn MODEL)
    python scripts/measure.py compare        Shakespeare: words, subwords, characters and bytes in bits per byte
    python scripts/measure.py distillation   Shakespeare, characters: taught by a mixture, or alone
    python scripts/measure.py start          the time of `lmkit --help`

All but the second and the last need the corpora of ../shared/data (or --data DIR).
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmkit

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what",
        choices=("reference", "stories", "shakespeare", "adaptive", "compare", "distillation", "start"),
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--budget", default="3m", help="of each training of `compare` and `distillation`")
    parser.add_argument("--rnn", type=Path, help="of `adaptive`: a model trained on WikiText-2")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", lmkit.LmkitWarning)
    measures: dict[str, Callable[[Path], None]] = {
        "reference": reference,
        "stories": stories,
        "shakespeare": shakespeare,
        "adaptive": partial(adaptive, rnn=arguments.rnn),
        "compare": partial(compare, budget=arguments.budget),
        "distillation": partial(distillation, budget=arguments.budget),
        "start": start,
    }
    measures[arguments.what](arguments.data)


def reference(data: Path) -> None:
    """Train on real corpora and compare perplexities with those that the reference estimator gives."""
    lmkit.train("the fox\n" * 99, order=2, holdout=0)  # compile first, so that times are those of the work
    plays = (data / "shakespeare.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    with gzip.open(data / "books/train.tok.txt.gz", "rt", encoding="utf-8") as file:
        books = "".join(next(file) for _ in range(20_000))
    wiki = {
        name: (data / f"wikitext-2/{name}.txt").read_text(encoding="utf-8")
        for name in ("train", "valid", "test")
    }
    wiki = {name: text.replace("<unk>", "unknownword") for name, text in wiki.items()}
    valid, test = data / "books/valid.tok.txt", data / "books/test.tok.txt"
    rows: list[tuple[str, str | Path, dict[str, object], list[tuple[str, str | Path, float, float | None]]]] = [
        ("Shakespeare, 36,000 lines", "".join(plays[:36_000]), {"order": 5},
         [("the other 4,000", "".join(plays[36_000:]), 502.9593, 249.2072)]),
        ("the same, characters", "".join(plays[:36_000]), {"order": 6, "tokenizer": "char"},
         [("the other 4,000", "".join(plays[36_000:]), 4.7194251, None)]),
        ("WikiText-2", wiki["train"], {"order": 3}, [("test", wiki["test"], 226.05103, None)]),
        ("WikiText-2", wiki["train"], {"order": 5},
         [("valid", wiki["valid"], 234.86207, None), ("test", wiki["test"], 220.13857, None)]),
        ("books, 20,000 lines", books, {"order": 5}, [("valid", valid, 296.68094, 173.67418)]),
        ("books, 100 MB", data / "books/train.tok.txt.gz", {"order": 5},
         [("valid", valid, 157.86103, 129.99878), ("test", test, 325.62828, 239.18458)]),
    ]  # fmt: skip
    print(
        "| trained on | order | n-grams | seconds | measured on | perplexity | reference | without OOV | reference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, text, options, texts in rows:
        began = time.perf_counter()
        model = lmkit.train(text, holdout=0, **{"tokenizer": "word", **options})  # type: ignore[arg-type]
        seconds = time.perf_counter() - began
        assert isinstance(model, lmkit.NgramModel)
        size = sum(model.trie.sizes())
        for where, other, incl, excl in texts:
            result = lmkit.perplexity(model, other)
            without = f"{result.perplexity_without_oov:.5f} | {excl}" if excl else " | "
            row = f"{name} | {options['order']} | {size:,} | {seconds:.1f} | {where}"
            print(f"| {row} | {result.perplexity:.5f} | {incl} | {without} |", flush=True)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def stories(_: Path) -> None:
    """Compare models with the source that the fables were drawn from."""
    sys.path.insert(0, str(ROOT))
    from corpora import stories as source

    folder = ROOT / "corpora" / "stories"
    test = (folder / "test.txt").read_text(encoding="utf-8").splitlines()
    best, error = source.perplexity(test), source.standard_error(test)
    print(f"source                     {best:.4f}  (standard error of its logarithm {error:.4f})")
    recipes: dict[str, dict[str, object]] = {
        "3-gram": {"order": 3},
        "5-gram": {"order": 5},
        "7-gram": {"order": 7},
        "network, 2 minutes": {"backend": "rnn", "budget": "2m"},
        "network, 5 minutes": {"backend": "rnn", "budget": "5m"},
    }
    for name, options in recipes.items():
        model = lmkit.train(folder / "train.txt", valid=folder / "valid.txt", **options)  # type: ignore[arg-type]
        found = lmkit.perplexity(model, folder / "test.txt").perplexity
        print(f"{name:26} {found:.4f}  {found / best - 1:+.1%}", flush=True)


def shakespeare(data: Path) -> None:
    """Train on characters for ten minutes, measure on the last 4,000 lines, and show what it writes."""
    lines = (data / "shakespeare.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test.txt").write_text("".join(lines[36_000:]), encoding="utf-8")
        model = lmkit.train(
            "".join(lines[:36_000]),
            test=folder / "test.txt",
            backend="rnn",
            tokenizer="char",
            budget="10m",
            report=print,
        )
        result = lmkit.perplexity(model, folder / "test.txt")
    print(
        f"perplexity {result.perplexity:.4f} a character, {result.tokens:,} characters\n{result.signature}\n"
    )
    print(lmkit.generate(model, "ROMEO:\n", max_tokens=600, temperature=0.8, seed=1)[0])


def adaptive(data: Path, *, rnn: Path | None) -> None:
    """Mix models trained on WikiText-2 and put caches on them, all fitted to the validation text; measure the test."""
    train, valid, test = (data / f"wikitext-2/{name}.txt" for name in ("train", "valid", "test"))
    lmkit.train("the fox\n" * 99, order=2, holdout=0)  # compile first, so that times are those of the work
    lmkit.tuned_cache(lmkit.train("the fox\n" * 99, order=2, holdout=0), "the fox\n")
    print(
        "| model | seconds to make | test perplexity | adaptive | seconds to measure |\n|---|---|---|---|---|"
    )

    def row(name: str, make: Callable[[], lmkit.LanguageModel]) -> lmkit.LanguageModel:
        began = time.perf_counter()
        model = make()
        made = time.perf_counter()
        found = lmkit.perplexity(model, test)
        learns = "yes" if found.adaptive else "no"
        times = f"{made - began:.1f} | {found.perplexity:.2f} | {learns} | {time.perf_counter() - made:.1f}"
        print(f"| {name} | {times} |", flush=True)
        return model

    ngram = row("5-gram", lambda: lmkit.train(train, valid=valid, order=5))
    for order, name in ((1, "5-gram, cache of words"), (4, "5-gram, cache of 4-grams")):
        row(name, partial(lmkit.tuned_cache, ngram, valid, order=order))
    if rnn is not None:
        network = row("network", lambda: lmkit.load(rnn))
        both = row("network + 5-gram", lambda: lmkit.mix([network, ngram], tune=valid))
        row("network, continuous cache", lambda: lmkit.tuned_neural_cache(network, valid))
        row("network, learning", lambda: lmkit.adapted(network, valid, cache=False, dynamic=True))
        row("network + 5-gram, both caches", lambda: lmkit.adapted(both, valid))
        row("network + 5-gram, both caches, learning", lambda: lmkit.adapted(both, valid, dynamic=True))


def compare(data: Path, *, budget: str) -> None:
    """Compare models of different tokens on the last 4,000 lines of Shakespeare, having learnt the first 34,000."""
    lines = (data / "shakespeare.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    train, valid, test = ("".join(part) for part in (lines[:34_000], lines[34_000:36_000], lines[36_000:]))
    kinds: dict[str, dict[str, object]] = {
        "words, 5-gram": {"tokenizer": "word", "order": 5},
        "bytes, 7-gram": {"tokenizer": "byte", "order": 7},
        "characters, network": {"tokenizer": "char", "backend": "rnn", "budget": budget},
        "subwords, network": {"tokenizer": "bpe", "vocab_size": 2000, "backend": "rnn", "budget": budget},
    }
    with tempfile.TemporaryDirectory() as folder:
        held_out = Path(folder) / "valid.txt"
        held_out.write_text(valid, encoding="utf-8")
        models = {
            name: lmkit.train(train, valid=held_out, **options)  # type: ignore[arg-type]
            for name, options in kinds.items()
        }
    found = lmkit.compare(models, test)
    print("| model | bits per byte | against the first: 95 % of redrawn texts | p |\n|---|---|---|---|")
    for name, contender in found.contenders.items():
        difference = contender.against_first
        shown = (
            "|"
            if difference is None
            else f"{difference.low:+.3f} to {difference.high:+.3f} | {difference.p_value:.1g}"
        )
        print(f"| {name} | {contender.bits_per_byte:.3f} | {shown} |", flush=True)
    print(f"compared by the {found.unit}; tokens that <unk> hides: {found.flattered}")
    order = sorted(found.contenders, key=lambda name: found.contenders[name].evaluation.logprob, reverse=True)
    for better, worse in itertools.pairwise(order):
        pair = (
            lmkit.compare({worse: models[worse], better: models[better]}, test)
            .contenders[better]
            .against_first
        )
        assert pair is not None
        print(
            f"{better} before {worse}: {pair.low:+.3f} to {pair.high:+.3f} bits a byte, p {pair.p_value:.1g}"
        )


def distillation(data: Path, *, budget: str) -> None:
    """Train an LSTM alone, mix it with a 6-gram, and train another one that the mixture teaches, for as long."""
    lines = (data / "shakespeare.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    text, valid, test = "".join(lines[:34_000]), "".join(lines[34_000:36_000]), "".join(lines[36_000:])
    with tempfile.TemporaryDirectory() as name:
        held_out = Path(name) / "valid.txt"
        held_out.write_text(valid, encoding="utf-8")
        network = partial(
            lmkit.train, text, valid=held_out, backend="rnn", tokenizer="char", budget=budget, hidden_size=128
        )
        alone = network()
        ngram = lmkit.train(text, order=6, tokenizer="char", holdout=0)
        teacher = lmkit.mix([alone, ngram], tune=held_out)
        print(f"| {budget} each, 2 LSTM layers of 128 | test perplexity a character |\n|---|---|")
        for title, model in (("alone", alone), ("6-gram", ngram), ("the mixture of both", teacher)):
            print(f"| {title} | {lmkit.perplexity(model, test).perplexity:.4f} |", flush=True)
        for loss in ("cross_entropy", "l2", "l1", "huber"):
            taught = network(teacher=teacher, loss=loss)
            found = lmkit.perplexity(taught, test).perplexity
            print(f"| taught by it, --loss {loss} | {found:.4f} |", flush=True)


def start(_: Path) -> None:
    """Time the command line's start, eleven times."""
    times = []
    for _i in range(11):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lmkit", "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    print(f"lmkit --help: median {statistics.median(times):.3f} s of {len(times)}")


if __name__ == "__main__":
    main()
