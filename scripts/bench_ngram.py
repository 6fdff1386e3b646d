"""The n-gram engine in figures, beside the peers that can be installed from PyPI, all in one run.

    python scripts/bench_ngram.py                        # on the books of ../shared/data, if they are there
    python scripts/bench_ngram.py --text big.txt --other other.txt
    python scripts/bench_ngram.py --only filtering

Peers take part where they are installed (pip install kenlm kaldingram nltk); those that could not bear the whole text
train on its first lines. Machines are noisy: read the ratios, which come from one run.
"""

from __future__ import annotations

import argparse
import filecmp
import gzip
import importlib.util
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lmkit
from lmkit.ngram.quantization import deviation, quantize
from lmkit.ngram.trie import Trie

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "books"
MEGABYTES = (1, 10, 100)
PEER_LINES = 5_000
ORDER = 5

# Run in a process of its own, so that the peak of its memory is that of the work; kernels are compiled beforehand.
TRAIN = """
import json, sys, time, warnings
from pathlib import Path
import lmkit
from lmkit.scratch import peak
warnings.simplefilter("ignore")
texts, output, options = json.loads(sys.argv[1])
lmkit.train("the fox\\n" * 99, holdout=0, **options)
began = time.perf_counter()
model = lmkit.train(texts, output=output, holdout=0, tokenizer="word", **options)
seconds = time.perf_counter() - began
lines = (Path(output) / "metrics.jsonl").read_text().splitlines()
stages = {name: t for line in lines for name, t in json.loads(line)["seconds"].items()}
print(json.dumps({"seconds": seconds, "megabytes": peak() / 1e6, "ngrams": sum(model.trie.sizes()), "stages": stages}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, default=DATA / "train.tok.txt.gz", help="to train on")
    parser.add_argument("--other", type=Path, default=DATA / "valid.tok.txt", help="to measure on")
    parser.add_argument("--only", choices=["filtering"], help="one part alone")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", lmkit.LmkitWarning)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.txt"
        with read(arguments.text) as source, text.open("wb") as target:
            target.writelines(source)
        if arguments.only is None:
            sizes(text, folder)
            queries(arguments.other, folder)
            training_peers(text, folder)
        filtering(text, arguments.other, folder)


def read(path: Path) -> gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def sizes(text: Path, folder: Path) -> None:
    """Text to a saved model that answers queries, over several sizes of text and bounds of memory."""
    print(f"\nText to a saved model, order {ORDER}\n")
    print(
        "| text | tokens | n-grams | seconds | tokens/s | peak memory | model |\n|---|---|---|---|---|---|---|"
    )
    stages = {}
    for megabytes in MEGABYTES:
        part = folder / f"part{megabytes}.txt"
        with text.open("rb") as source, part.open("wb") as target:
            target.writelines(lines_up_to(source, megabytes * 1_000_000))
        stages = size_row(f"{megabytes} MB", [part], folder / f"model{megabytes}", folder)
    size_row(f"{MEGABYTES[-1]} MB, --memory 512M", [part], folder / "bounded", folder, memory="512M")
    same = filecmp.cmp(
        folder / "bounded/model.safetensors",
        folder / f"model{MEGABYTES[-1]}/model.safetensors",
        shallow=False,
    )
    copies = [folder / f"copy{i}.txt" for i in range(4)]
    for copy in copies:
        copy.symlink_to(part)
    size_row(f"4 x {MEGABYTES[-1]} MB, --memory 4G", copies, folder / "copies", folder, memory="4G")
    print(f"\nThe models with and without --memory 512M {'are' if same else 'ARE NOT'} the same bytes.")
    print(
        f"\nStages of {MEGABYTES[-1]} MB in memory: "
        + ", ".join(f"{name} {t:.2f} s" for name, t in stages.items())
    )
    model = lmkit.load(folder / f"model{MEGABYTES[-1]}")
    assert isinstance(model, lmkit.NgramModel)
    began = time.perf_counter()
    lmkit.write_arpa(model, folder / "model.arpa")
    size = (folder / "model.arpa").stat().st_size / 1e6
    print(f"Its ARPA file, {size:,.0f} MB: {time.perf_counter() - began:.1f} s more")
    began = time.perf_counter()
    lmkit.read_arpa(folder / "model.arpa")
    print(f"Reading that file: {time.perf_counter() - began:.1f} s")


def size_row(name: str, texts: list[Path], model: Path, folder: Path, **options: object) -> dict[str, float]:
    """Train in a process of its own, print a row, and give the seconds of each stage."""
    task = json.dumps(
        [[str(text) for text in texts], str(model), {"order": ORDER, "temp": str(folder), **options}]
    )
    command = [sys.executable, "-c", TRAIN, task]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    tokens = sum(len(line.split()) + 1 for text in texts for line in text.open("rb"))
    size = (model / "model.safetensors").stat().st_size / 1e6
    print(
        f"| {name} | {tokens:,} | {found['ngrams']:,} | {found['seconds']:.2f} | "
        f"{tokens / found['seconds']:,.0f} | {found['megabytes']:,.0f} MB | {size:,.0f} MB |",
        flush=True,
    )
    stages: dict[str, float] = found["stages"]
    stages["saving"] = found["seconds"] - sum(stages.values())
    return stages


def lines_up_to(source: Iterator[bytes], size: int) -> Iterator[bytes]:
    written = 0
    for line in source:
        if written >= size:
            return
        written += len(line)
        yield line


def queries(other: Path, folder: Path) -> None:
    """Measuring a file with the largest model, as it is and quantised, beside the kenlm binding with its ARPA file."""
    path, arpa = folder / f"model{MEGABYTES[-1]}", folder / "model.arpa"
    exact = lmkit.load(path)
    assert isinstance(exact, lmkit.NgramModel)
    assert isinstance(exact.trie, Trie)
    began = time.perf_counter()
    trie = quantize(exact.trie, 8)
    seconds = time.perf_counter() - began
    rounded = lmkit.NgramModel(tokenizer=exact.tokenizer, trie=trie)
    lmkit.save(rounded, folder / "quantised")
    lines = [line for line in other.read_text(encoding="utf-8").split("\n") if line]
    text = folder / "queries.txt"
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokens = lmkit.perplexity(exact, text).tokens
    models = {"lmkit": lmkit.load(path), "lmkit --quantize 8": lmkit.load(folder / "quantised")}
    runs: dict[str, Callable[[], float]] = {
        name: partial(lambda model: lmkit.perplexity(model, text).perplexity, model)
        for name, model in models.items()
    }
    sizes = [size_of(path), size_of(folder / "quantised"), arpa.stat().st_size]
    if importlib.util.find_spec("kenlm"):
        import kenlm

        peer = kenlm.Model(str(arpa))
        runs["kenlm binding, Model.score a line"] = lambda: (
            10 ** (-sum(peer.score(line) for line in lines) / tokens)
        )
    perplexities = [run() for run in runs.values()]
    times = side_by_side(list(runs.values()))
    print(f"\nQueries: {tokens:,} tokens, the model of {MEGABYTES[-1]} MB\n")
    print("| | tokens/s | ratio | perplexity | size |\n|---|---|---|---|---|")
    for name, taken, perplexity, size in zip(runs, times, perplexities, sizes, strict=False):
        rate, ratio = tokens / taken, max(times) / taken
        print(f"| {name} | {rate:,.0f} | {ratio:.1f} | {perplexity:.4f} | {size / 1e6:,.0f} MB |")
    if len(runs) == len(models):
        print("| kenlm | not installed: pip install kenlm | | | |")
    for name, model in models.items():
        single = timed(partial(lambda model: [model.score(line) for line in lines[:5000]], model)) / 5000
        print(f"\nA line through model.score, {name}: {single * 1e6:.0f} microseconds (mean of 5,000)")
    print(
        f"\nQuantising: {seconds:.1f} s. The probabilities after any context sum to 1 +- {deviation(trie):.4f}."
    )


# In a process of its own, so that the peak of its memory is that of the work.
FILTER = """
import json, sys, time
import lmkit
from lmkit.scratch import peak
model, text, output, options = json.loads(sys.argv[1])
model = lmkit.load(model)
lmkit.perplexity(model, "the fox")
list(lmkit.filter_lines(model, "the fox", max_ppl=9))
began = time.perf_counter()
if options is None:
    lmkit.perplexity(model, text)
else:
    with open(output, "wb") as file:
        for part in lmkit.filter_lines(model, text, **options):
            file.write(part.kept)
print(json.dumps([time.perf_counter() - began, peak() / 1e6]))
"""


def filtering(text: Path, other: Path, folder: Path) -> None:
    """Measure a text, and keep its likely lines, by a model of another one; all take turns."""
    model = folder / "filter"
    lmkit.train(other, order=ORDER, tokenizer="word", holdout=0, output=model)
    limit = lmkit.perplexity(lmkit.load(model), other).perplexity
    runs = {
        "perplexity": None,
        "filter_lines, max_ppl": {"max_ppl": limit},
        "filter_lines, quantile": {"quantile": 0.3},
    }
    found: dict[str, list[list[float]]] = {name: [] for name in runs}
    for _ in range(5):
        for name, options in runs.items():
            asked = json.dumps([str(model), str(text), str(folder / "kept.txt"), options])
            run = subprocess.run([sys.executable, "-c", FILTER, asked], check=True, capture_output=True)
            found[name].append(json.loads(run.stdout))
    print(f"\nFiltering {text.stat().st_size / 1e6:,.0f} MB\n")
    print("| | MB/s | ratio | peak memory |\n|---|---|---|---|")
    first = statistics.median(seconds for seconds, _ in found["perplexity"])
    for name, results in found.items():
        seconds = statistics.median(seconds for seconds, _ in results)
        rate, memory = text.stat().st_size / 1e6 / seconds, max(memory for _, memory in results)
        print(f"| {name} | {rate:,.0f} | {first / seconds:.2f} | {memory:,.0f} MB |")


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def side_by_side(runs: list[Callable[[], float]], rounds: int = 9) -> list[float]:
    """Give the median seconds of each run, all taking turns, so that what disturbs one disturbs all."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, taken in zip(runs, seconds, strict=True):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in seconds]


def training_peers(text: Path, folder: Path) -> None:
    """Training on the first lines, against the trainers that PyPI has."""
    part = folder / "lines.txt"
    with text.open("rb") as source:
        part.write_bytes(b"".join(itertools.islice(source, PEER_LINES)))
    order = 3
    runs: dict[str, Callable[[], object]] = {
        "lmkit, modified Kneser-Ney": lambda: lmkit.train(part, order=order, tokenizer="word", holdout=0)
    }
    if importlib.util.find_spec("kaldingram"):
        command = [
            sys.executable,
            "-m",
            "kaldingram.cli",
            "train",
            "--ngram-order",
            str(order),
            "--text",
            str(part),
        ]
        runs["kaldingram, Kneser-Ney"] = lambda: subprocess.run(
            [*command, "--lm", str(folder / "peer.arpa")], capture_output=True, check=True
        )
    if importlib.util.find_spec("nltk"):
        runs["nltk, KneserNeyInterpolated (fit only)"] = lambda: fit_nltk(part, order)
    print(f"\nTraining on {PEER_LINES:,} lines, order {order}\n\n| | seconds | ratio |\n|---|---|---|")
    seconds = {name: timed(run) for name, run in runs.items()}
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.3f} | {taken / min(seconds.values()):.1f} |", flush=True)


def fit_nltk(path: Path, order: int) -> object:
    from nltk.lm import KneserNeyInterpolated
    from nltk.lm.preprocessing import padded_everygram_pipeline

    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    ngrams, words = padded_everygram_pipeline(order, lines)
    model = KneserNeyInterpolated(order)
    model.fit(ngrams, words)
    return model


def timed(work: Callable[[], object], runs: int = 5) -> float:
    """Give the median seconds of several runs, the first one not counted."""
    work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
