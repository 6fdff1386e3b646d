"""The numbers of the reference estimator, entry by entry and as perplexities."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import lmkit
from lmkit.ngram.arpa import arpa_pieces

Entries = dict[str, tuple[float, float]]


def read_entries(text: str) -> Entries:
    rows = (line.split("\t") for line in text.split("\n") if "\t" in line)
    return {row[1]: (float(row[0]), float(row[2]) if len(row) > 2 else 0.0) for row in rows}


def train(*args: object, **options: object) -> lmkit.NgramModel:
    return lmkit.train(*args, holdout=0, **options)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("golden", "source", "options"),
    [
        ("timemachine.o5", "data/timemachine.txt", {"order": 5}),
        ("timemachine.o3.nouniform", "data/timemachine.txt", {"order": 3, "interpolate_unigrams": False}),
        ("timemachine.o3.prune012", "data/timemachine.txt", {"order": 3, "prune": (0, 1, 2)}),
        (
            "timemachine.o4.limit-vocab-500",
            "data/timemachine.txt",
            {"order": 4, "limit_vocab": "limit-vocab-500.txt"},
        ),
        ("timemachine-2448-chars.o6.fallback", "2448 lines", {"order": 6, "tokenizer": "char"}),
        ("tiny.o3.fallback", "golden/tiny.txt", {"order": 3}),
    ],
)
def test_arpa_files_agree_to_1e_5(shared: Path, golden: str, source: str, options: dict[str, object]) -> None:
    text: str | Path = shared / source
    if source == "2448 lines":
        text = "".join((shared / "data/timemachine.txt").read_text().splitlines(keepends=True)[:2448])
    if "limit_vocab" in options:
        options = {**options, "limit_vocab": str(shared / "golden" / str(options["limit_vocab"]))}
    model = train(text, **{"tokenizer": "word", **options})
    found = read_entries(b"".join(arpa_pieces(model)).decode())
    with gzip.open(shared / f"golden/{golden}.arpa.gz", "rt", encoding="utf-8", newline="\n") as file:
        expected = read_entries(file.read())
    assert found.keys() == expected.keys()
    assert max(abs(found[g][0] - p) for g, (p, _) in expected.items()) <= 1e-5
    assert max(abs(found[g][1] - b) for g, (_, b) in expected.items()) <= 1e-5


def check(model: lmkit.NgramModel, text: str | Path, tokens: int, oov: int, incl: float, excl: float) -> None:
    result = lmkit.perplexity(model, text)
    assert (result.tokens, result.oov) == (tokens, oov)
    assert result.perplexity == pytest.approx(incl, rel=1e-4)
    assert result.perplexity_without_oov == pytest.approx(excl, rel=1e-4)


def test_perplexities_of_the_time_machine_and_shakespeare(shared: Path) -> None:
    machine, plays = shared / "data/timemachine.txt", shared / "data/shakespeare.txt"
    model = train(machine, order=5)
    check(model, machine, 35_527, 0, 16.402244, 16.402244)
    check(model, plays, 242_651, 76_417, 1303.559, 268.8230)
    model = train(machine, order=3, prune=(0, 1, 2))
    check(model, machine, 35_527, 0, 304.63440, 304.63440)
    check(model, plays, 242_651, 76_417, 1283.152, 275.6250)
    check(train(plays, order=5), machine, 35_527, 5_805, 1583.042, 568.9129)


def test_perplexities_of_the_last_4000_lines_of_shakespeare(shared: Path) -> None:
    lines = (shared / "data/shakespeare.txt").read_text().splitlines(keepends=True)
    begin, rest = "".join(lines[:36_000]), "".join(lines[36_000:])
    check(train(begin, order=3), rest, 21_893, 2_125, 504.0238, 249.6820)
    check(train(begin, order=5), rest, 21_893, 2_125, 502.9593, 249.2072)
    check(train(begin, order=5, tokenizer="char"), rest, 99_152, 0, 4.9338395, 4.9338395)
    check(train(begin, order=6, tokenizer="char"), rest, 99_152, 0, 4.7194251, 4.7194251)


def test_perplexities_of_wikitext_2(shared: Path) -> None:
    data = shared / "data/wikitext-2"
    renamed = (data / "train.txt").read_text(encoding="utf-8").replace("<unk>", "unknownword")
    test = (data / "test.txt").read_text(encoding="utf-8").replace("<unk>", "unknownword")
    check(train(renamed, order=3, tokenizer="word"), test, 245_569, 0, 226.05103, 226.05103)
    model = train(
        data / "train.txt", order=5
    )  # <unk> as it is written: one word fewer, so the fifth digit moves
    check(model, data / "test.txt", 245_569, 0, 220.13857, 220.13857)
    check(model, data / "valid.txt", 217_646, 0, 234.86207, 234.86207)
