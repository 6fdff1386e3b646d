"""`lmkit generate` and `lmkit complete` as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lmkit as library
from lmkit.model import LanguageModel
from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a 3-gram model of words."""
    path = tmp_path_factory.mktemp("models") / "words"
    library.save(library.train(STORY * 3, order=3, tokenizer="word", holdout=0), path)
    return path


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """The same model, which the environment names."""
    monkeypatch.setenv("LMKIT_MODEL", str(folder))
    return library.load(folder)


def ok(result: subprocess.CompletedProcess[bytes]) -> str:
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


def on_a_terminal(*arguments: str) -> bytes:
    """Give what a command writes where its stdout is a terminal."""
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "lmkit", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, env=environment) as process:
        os.close(terminal)
        written = b""
        while True:
            try:
                piece = os.read(main, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
    os.close(main)
    assert process.returncode == 0
    return written


def test_what_is_printed_is_what_the_library_gives(lmkit: Run, model: LanguageModel) -> None:
    flags = [
        "--prefix",
        "the old",
        "-n",
        "5",
        "--seed",
        "3",
        "--top-p",
        "0.9",
        "--ban",
        "fox",
        "--ban",
        "hill",
    ]
    texts = library.generate(model, "the old", samples=5, seed=3, top_p=0.9, ban=["fox", "hill"])
    assert ok(lmkit("generate", *flags)).splitlines() == [sample.text for sample in texts]
    entries = [json.loads(line) for line in ok(lmkit("generate", *flags, "--json")).splitlines()]
    assert [entry["text"] for entry in entries] == [sample.text for sample in texts]
    assert [entry["sample"] for entry in entries] == [0, 1, 2, 3, 4]
    for entry, sample in zip(entries, texts, strict=True):
        assert entry["tokens"] == [model.tokenizer.vocab[index] for index in sample.ids]
        assert entry["logprobs"] == pytest.approx(sample.logprobs, abs=1e-5)
        assert (entry["reason"], entry["seed"], entry["prefix"]) == (sample.reason, 3, "the old")


def test_a_fresh_seed_is_named_and_gives_the_text_again(lmkit: Run, model: LanguageModel) -> None:
    entry = json.loads(ok(lmkit("generate", "--json")))
    again = ok(lmkit("generate", "--seed", entry["seed"]))
    assert again == entry["text"] + "\n"


def test_prefixes_from_flags_files_and_standard_input(
    lmkit: Run, model: LanguageModel, tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_bytes(b"the old\r\n\na yo\n")
    begun = ["the old", "", "a young"]
    for lines in (
        ok(lmkit("generate", "--prefix-file", "p.txt")).splitlines(),
        ok(lmkit("generate", "--prefix-file", "-", stdin=b"the old\n\na yo")).splitlines(),
        ok(lmkit("generate", "--prefix", "the old", "--prefix", "", "--prefix", "a yo")).splitlines(),
    ):
        assert len(lines) == 3
        assert all(line.startswith(prefix) for line, prefix in zip(lines, begun, strict=True))
    beams = ok(lmkit("generate", "--prefix-file", "p.txt", "--beams", "4", "-n", "2")).splitlines()
    assert [line.startswith(begun[i // 2]) for i, line in enumerate(beams)] == [True] * 6
    best = ok(lmkit("generate", "--prefix", "the", "--best-of", "9", "--json"))
    assert json.loads(best)["reason"] == "line end"


def test_a_prefix_a_line_from_standard_input(lmkit: Run, model: LanguageModel) -> None:
    lines = ok(lmkit("generate", "-i", "--seed", "1", stdin=b"the old\na yo\n\xff\n\n")).splitlines()
    assert lines[0].startswith("the old")
    assert lines[1].startswith("a young")
    assert lines[2].startswith(lines[1])  # an empty line goes on from there; what is no text is passed over
    assert len(lines) == 3


def test_a_gap_is_filled(lmkit: Run, model: LanguageModel) -> None:
    flags = ["--prefix", "the old", "--suffix", "the hill .", "-n", "3", "--seed", "5"]
    lines = ok(lmkit("generate", *flags)).splitlines()
    assert lines == [s.text for s in library.infill(model, "the old", "the hill .", samples=3, seed=5)]
    entry = json.loads(ok(lmkit("generate", *flags, "--json")).splitlines()[0])
    assert (entry["text"], entry["reason"]) == (lines[0], "filled")
    refused = lmkit("generate", *flags, "--top-k", "3")
    assert refused.returncode == 2
    assert b"top_k" in refused.stderr


def test_completions(lmkit: Run, model: LanguageModel) -> None:
    lines = [line.split("\t") for line in ok(lmkit("complete", "the o")).splitlines()]
    assert {word for word, _ in lines} == {"old", "owl", "over"}
    assert sum(float(p) for _, p in lines) == pytest.approx(1, abs=1e-3)
    entry = json.loads(ok(lmkit("complete", "the o", "-n", "1", "--json")))
    assert entry["word"] == lines[0][0]
    nothing = lmkit("complete", "the zeb")
    assert ok(nothing) == ""
    assert b"no word" in nothing.stderr


@pytest.mark.parametrize("search", [["--beams", "4"], ["--best-of", "3"], ["--distinct"]])
def test_an_interrupted_search_prints_what_it_has_come_to(model: LanguageModel, search: list[str]) -> None:
    options = ["--lines", "0", "--max-tokens", "100000000", "-n", "3", "--seed", "1", *search]
    command = [sys.executable, "-m", "lmkit", "generate", "--prefix", "the", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(5)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    entries = [json.loads(line) for line in printed.splitlines()]
    assert [entry["reason"] for entry in entries] == ["interrupted"] * 3
    assert all(entry["text"].startswith("the") and entry["tokens"] for entry in entries)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_an_interrupt_prints_what_there_is(model: LanguageModel, form: list[str]) -> None:
    options = [
        "--prefix",
        "the",
        "--lines",
        "0",
        "--max-tokens",
        "100000000",
        "-n",
        "3",
        "--seed",
        "1",
        *form,
    ]
    command = [sys.executable, "-m", "lmkit", "generate", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if form:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(4)
        first = b"" if form else process.stdout.read(200)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    if form:
        entries = [json.loads(line) for line in rest.splitlines()]
        assert [entry["reason"] for entry in entries] == ["interrupted"] * 3
        assert all(entry["text"].startswith("the") and entry["tokens"] for entry in entries)
    else:
        texts = re.split("\n\n+", (first + rest).decode())
        assert len([text for text in texts if text.startswith("the")]) >= 3


def test_a_reader_that_has_seen_enough(model: LanguageModel) -> None:
    endless = f"{sys.executable} -m lmkit generate --lines 0 --max-tokens 100000000"
    command = f"{endless} | head -1; printf ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=120, check=False)
    assert result.stderr == b""
    assert result.stdout.endswith(b"141")


def test_colours_are_for_terminals(lmkit: Run, model: LanguageModel) -> None:
    flags = ["generate", "--prefix", "the", "--seed", "1", "--show-probs"]
    plain = ok(lmkit(*flags))
    assert "\x1b" not in plain
    shown = on_a_terminal(*flags)
    assert b"\x1b[" in shown


def test_escape_codes_that_a_model_has_learnt_are_not_obeyed(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "evil.txt").write_bytes(b"\x1b[31mred\x1b]0;title\x07 \xc3\xa9 \xc2\x9b2J\n" * 50)
    ok(lmkit("train", "evil.txt", "--order", "4", "--tokenizer", "byte", "--holdout", "0", "-q"))
    options = ["--seed", "2", "-n", "5", "--temperature", "1.5"]
    shown = on_a_terminal("generate", *options)
    piped = ok(lmkit("generate", *options))
    assert b"\x1b" not in shown
    assert b"\\x1b" in shown
    assert not {"\x1b", "\x07", "\x9b"} & set(piped)
    assert not {"\x1b", "\x07", "\x9b"} & set(ok(lmkit("generate", *options, "--json")))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--temperature", "nan"], "temperature"),
        (["--temperature", "-1"], "temperature"),
        (["--top-p", "0"], "top_p"),
        (["--top-p", "inf"], "top_p"),
        (["--top-k", "-1"], "top_k"),
        (["--top-k", "x"], "top_k"),
        (["--min-p", "2"], "min_p"),
        (["--typical-p", "0"], "typical_p"),
        (["--frequency-penalty", "nan"], "frequency_penalty"),
        (["-n", "0"], "samples"),
        (["--max-tokens", "-1"], "max_tokens"),
        (["--max-time", "0"], "span of time"),
        (["--seed", str(1 << 63)], "seed"),
        (["--only", "("], "regular expression"),
        (["--force", "zebra"], "zebra"),
        (["--prefix-file", "none.txt"], "none.txt"),
        (["-i", "--prefix", "the"], "-i"),
        (["-i", "--beams", "2"], "-i"),
    ],
    ids=str,
)
def test_impossible_options_are_usage_errors(
    lmkit: Run, model: LanguageModel, arguments: list[str], word: str
) -> None:
    result = lmkit("generate", *arguments)
    assert result.returncode == 2
    assert word in result.stderr.decode()
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""


def test_prefixes_that_are_no_text(lmkit: Run, model: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"the\n\xff\n")
    (tmp_path / "empty.txt").write_bytes(b"")
    for name, word in (("p.txt", "line 2"), ("empty.txt", "no prefixes")):
        result = lmkit("generate", "--prefix-file", name)
        assert result.returncode == 3
        assert word in result.stderr.decode()
