"""The command line as a user meets it: in a process of its own, with files, pipes and mistakes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]
MANY = "".join(f"{line}\n" for i in range(40) for line in (STORY.replace("fox", f"fox{i % 7}")).splitlines())


def ok(result: subprocess.CompletedProcess[bytes]) -> str:
    assert result.returncode == 0, result.stderr.decode()
    assert b"Traceback" not in result.stderr
    return result.stdout.decode()


def refused(result: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    message = result.stderr.decode()
    assert result.returncode == code, message
    assert "Traceback" not in message
    assert result.stdout == b""
    for word in words:
        assert word in message


def test_counts_of_two_texts_make_the_model_of_both(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(MANY)
    (tmp_path / "b.txt").write_text("another text\nof three\nlines\n")
    (tmp_path / "ab.txt").write_text(MANY + "another text\nof three\nlines\n")
    counted = lmkit("count", "a.txt", "-o", "a", "--order", "3", "--memory", "2G", "--temp", str(tmp_path))
    assert ok(counted) == ""
    assert b"next: lmkit train --counts a" in counted.stderr
    text = ok(lmkit("count", "b.txt", "--text", "-", "--order", "3"))
    assert "another text </s>\t1\n" in text
    (tmp_path / "b.tsv").write_text(text)
    ok(lmkit("train", "--counts", "a", "b.tsv", "-o", "joined", "-q"))
    ok(lmkit("train", "ab.txt", "--holdout", "0", "--order", "3", "-o", "whole", "-q"))
    for name in ("model.safetensors", "vocab.txt", "tokenizer.json"):
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "perplexity" in ok(lmkit("ppl", "b.txt", "-m", "joined"))
    assert "a, b.tsv" in ok(lmkit("info", "-m", "joined"))
    refused(lmkit("count", "a.txt", "-o", "a"), 2, "exists already", "--force")
    refused(lmkit("count", "a.txt", "--text", "b.tsv"), 2, "exists already", "--force")
    refused(lmkit("train", "--counts", "a.txt", "-o", "x"), 3, "a.txt:1", "count")
    refused(lmkit("train", "--counts", "whole", "-o", "x"), 4, "folder of counts")
    refused(lmkit("train", "--counts", "none", "-o", "x"), 2, "none")
    refused(lmkit("train", "--counts", "a", "--backend", "rnn", "-o", "x"), 2, "cannot learn from counts")
    refused(lmkit("train", "a.txt", "--memory", "10M", "-o", "x"), 2, "too little", "give at least")


def test_the_first_five_minutes(lmkit: Run, tmp_path: Path) -> None:
    """The first lines of the README, word for word."""
    (tmp_path / "corpus.txt").write_text(MANY)
    trained = lmkit("train", "corpus.txt")
    assert ok(trained) == ""  # words go to stderr
    assert b"held out" in trained.stderr
    assert b"lmkit ppl" in trained.stderr
    printed = ok(lmkit("ppl"))
    assert "perplexity" in printed
    assert "lmkit-model/test.txt" in printed
    assert "backend:ngram|order:5|smoothing:mkn|tok:word" in printed
    assert ok(lmkit("generate", "--prefix", "once upon")).startswith("once upon")
    refused(lmkit("train", "corpus.txt"), 2, "exists already", "--force")
    ok(lmkit("train", "corpus.txt", "--backend", "rnn", "--epochs", "1", "--hidden-size", "8", "-o", "rnn"))
    assert "context:stream" in ok(lmkit("ppl", "-m", "rnn"))
    assert "n-grams" in ok(lmkit("info"))
    assert "parameters" in ok(lmkit("info", "-m", "rnn"))
    for model, name in (("rnn", "output.bias"), ("lmkit-model", "log10_prob")):
        listed = ok(lmkit("info", "-m", model, "--parameters")).splitlines()
        assert any(line.startswith(name) for line in listed)
        assert listed[-1].startswith("all")
        assert listed[-1].endswith("100.00%")


def test_training_on_from_a_model(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text(MANY)
    (tmp_path / "new.txt").write_text("the wolf saw the owl .\n" * 9)
    ok(lmkit("train", "old.txt", "--backend", "rnn", "--epochs", "1", "--hidden-size", "8", "-o", "old"))
    refused(lmkit("train", "new.txt", "--init-from", "old", "-o", "new"), 2, "--backend rnn")
    options = ["--backend", "rnn", "--init-from", "old", "--epochs", "1", "-o", "new"]
    refused(
        lmkit("train", "new.txt", *options, "--hidden-size", "9"), 2, "hidden_size is 8", "9 was asked for"
    )
    trained = lmkit("train", "new.txt", *options, "--extend-vocab")
    ok(trained)
    assert b"1 added" in trained.stderr
    info = ok(lmkit("info", "-m", "new"))
    assert "begun from   old, made of old.txt (280 lines)" in info
    assert "init_from=old, extend_vocab=True" in info
    assert json.loads(ok(lmkit("ppl", "new.txt", "-m", "new", "--json")))["oov"] == 0


def test_json_everywhere(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--order", "3", "-q"))
    ppl = json.loads(ok(lmkit("ppl", "--json")))
    assert ppl["schema"] == 1
    assert ppl["perplexity"] > 1
    sample = json.loads(
        ok(lmkit("generate", "--json", "--prefix", "the", "--seed", "7", "--max-tokens", "3"))
    )
    assert len(sample["tokens"]) == len(sample["logprobs"]) <= 3
    assert sample["seed"] == 7
    info = json.loads(ok(lmkit("info", "--json")))
    assert info["options"]["order"] == 3
    assert info["splits"]["test_lines"] > 0


def test_the_uses_of_a_test_text_are_counted(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("".join(f"line {n} of the fox\n" for n in range(300)))
    ok(lmkit("train", "c.txt", "--order", "2", "-q"))
    plain = ok(lmkit("ppl"))
    assert "test text used" not in plain
    first = ok(lmkit("ppl", "--test"))
    assert first.startswith(plain)
    assert "for the first time" in first
    assert "2 times by --test" in ok(lmkit("ppl", "--test"))
    assert json.loads(ok(lmkit("ppl", "--test", "--json")))["test_uses"] == 3
    entries = [
        json.loads(line) for line in (tmp_path / "lmkit-model" / "uses.jsonl").read_text().splitlines()
    ]
    assert [entry["use"] for entry in entries] == ["test"] * 3
    refused(lmkit("ppl", "c.txt", "--test"), 2, "name no FILE")
    ok(
        lmkit("train", "c.txt", "--order", "2", "-q", "--force", "--holdout", "0")
    )  # a new model, not used yet
    assert not (tmp_path / "lmkit-model" / "uses.jsonl").exists()
    refused(lmkit("ppl", "--test"), 2, "has no test text")
    ok(lmkit("train", "c.txt", "--order", "2", "-q", "--force"))
    (tmp_path / "lmkit-model" / "uses.jsonl").write_text("{}}\n")
    refused(lmkit("ppl", "--test"), 4, "uses.jsonl:1: is no entry")
    ok(lmkit("info", "--verify"))
    ok(lmkit("train", "c.txt", "--order", "2", "-q", "--force"))


def test_pipes(lmkit: Run, tmp_path: Path) -> None:
    ok(lmkit("train", "-", "--order", "2", "-o", "m", stdin=MANY.encode()))
    from_pipe = json.loads(ok(lmkit("ppl", "-", "-m", "m", "--json", stdin=b"the old owl sat .")))
    (tmp_path / "t.txt").write_text("the old owl sat .\n")
    assert json.loads(ok(lmkit("ppl", "t.txt", "-m", "m", "--json"))) == from_pipe
    ok(lmkit("ppl", "-m", "m"))  # the held-out lines are in the model, though the pipe is gone
    arpa = ok(lmkit("export", "-m", "m", "--arpa", "-"))
    assert arpa.startswith("\\data\\\nngram 1=")
    assert arpa.endswith("\\end\\\n")
    refused(lmkit("train", "-", "-o", "n", stdin=b""), 3, "empty (0 bytes)")


def test_the_reader_of_a_pipe_may_go(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--order", "2"))
    command = f"{sys.executable} -m lmkit export --arpa - | true; printf ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    assert result.stderr == b""
    assert result.stdout == b"141"


@pytest.mark.parametrize("where", [[], ["--debug"]])
def test_exit_codes_do_not_depend_on_debug(lmkit: Run, where: list[str]) -> None:
    result = lmkit(*where, "ppl", "-m", "none")
    assert result.returncode == 2
    assert (b"Traceback" in result.stderr) == bool(where)


def test_process_substitution_and_texts_to_measure_on(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.txt").write_text(MANY)
    (tmp_path / "other.txt").write_text(STORY)
    command = f"{sys.executable} -m lmkit train <(cat parts/a.txt) --order 2 --valid parts --test 'oth*.txt'"
    trained = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    ok(trained)
    assert b"validation perplexity" in trained.stderr
    assert str(tmp_path / "other.txt") in ok(lmkit("ppl"))


def test_options_that_a_tokenizer_does_not_have_are_refused(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    refused(
        lmkit("train", "c.txt", "--tokenizer", "byte", "--vocab-size", "9"),
        2,
        "byte has no option vocab_size",
    )
    refused(lmkit("train", "c.txt", "--vocab", "c.txt", "--min-count", "2"), 2, "min_count")


def test_prefixes_that_are_no_text(tmp_path: Path, lmkit: Run) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--order", "2"))
    command = [sys.executable.encode(), b"-m", b"lmkit", b"generate", b"--prefix", b"the \xff"]
    refused(subprocess.run(command, capture_output=True, timeout=60, check=False), 3, "not UTF-8")


def test_arpa_files(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(STORY)
    ok(lmkit("train", "c.txt", "--order", "2", "--tokenizer", "char"))
    ok(lmkit("export", "--arpa", "m.arpa"))
    ok(lmkit("export", "--arpa", "m.arpa.gz"))
    text = (tmp_path / "m.arpa").read_text(encoding="utf-8")
    assert gzip.decompress((tmp_path / "m.arpa.gz").read_bytes()).decode() == text
    assert "\tf o\t" not in text.split("\\2-grams:")[0]
    assert "\u2581 o" in text  # a space is no word of an ARPA file
    refused(lmkit("export", "--arpa", "m.arpa"), 2, "exists already")
    refused(lmkit("export", "--arpa", "no/where.arpa"), 5, "no such folder")
    refused(lmkit("export"), 2, "--arpa FILE")


def test_chinese_a_single_line_and_other_scripts(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "zh.txt").write_text(
        "老狐狸走过了结冰的河。\n小猫头鹰坐在树上。\n老猫头鹰看见了小狐狸。\n" * 40, encoding="utf-8"
    )
    ok(lmkit("train", "zh.txt", "-o", "zh"))
    text = ok(lmkit("generate", "-m", "zh", "--prefix", "老", "--seed", "1"))
    assert text.startswith("老")
    assert " " not in text
    (tmp_path / "one.txt").write_text("a single line of words")
    trained = lmkit("train", "one.txt", "-o", "one")
    ok(trained)
    assert b"nothing is held out" in trained.stderr
    assert b"lmkit ppl FILE -m one" in trained.stderr
    ok(lmkit("generate", "-m", "one"))
    refused(lmkit("ppl", "-m", "one"), 2, "no lines were held out", "lmkit ppl FILE")
    ok(lmkit("ppl", "one.txt", "-m", "one"))
    ok(lmkit("train", "one.txt", "-o", "one-rnn", "--backend", "rnn", "--epochs", "2", "--hidden-size", "8"))
    ok(lmkit("ppl", "one.txt", "-m", "one-rnn"))


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", 3, ["bad.txt", "empty (0 bytes)"]),
        (b"\n\n  \n", 3, ["bad.txt", "only blank lines (3)"]),
        (bytes(range(256)) * 50, 3, ["bad.txt:1", "NUL"]),
        ("naïve café\n".encode("latin-1"), 3, ["bad.txt:1, byte 3", "not UTF-8", "iconv"]),
        ("some words\n".encode("utf-16"), 3, ["UTF-16", "iconv"]),
        (b"a b <s> c\n", 3, ["bad.txt:1", "<s>", "--specials"]),
        (gzip.compress(b"some words\n" * 99)[:40], 3, ["bad.txt: ended early"]),
        (None, 2, ["bad.txt: no such file"]),
    ],
    ids=["empty", "blank", "binary", "latin-1", "utf-16", "specials", "truncated", "missing"],
)
@pytest.mark.parametrize("backend", ["ngram", "rnn"])
def test_bad_input_is_refused_and_leaves_nothing(
    lmkit: Run, tmp_path: Path, content: bytes | None, code: int, words: list[str], backend: str
) -> None:
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    (tmp_path / "good.txt").write_text(MANY)
    before = sorted(tmp_path.iterdir())
    refused(lmkit("train", "bad.txt", "--backend", backend), code, *words)
    if content is None or content.strip():
        refused(lmkit("train", "good.txt", "--valid", "bad.txt", "--order", "1"), code, *words[-1:])
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "c.txt", "--order", "0"], ["order", "from 1 to 32"]),
        (["train", "c.txt", "--order", "five"], ["'five' is not a whole number"]),
        (["train", "c.txt", "--backend", "rnm"], ["did you mean 'rnn'"]),
        (["train", "c.txt", "--tokenizer", "words"], ["did you mean 'word'"]),
        (["train", "c.txt", "--hidden-size", "8"], ["belongs to the backend rnn"]),
        (["train", "c.txt", "--backend", "rnn", "--budget", "soon"], ["no span of time"]),
        (["train", "c.txt", "--backend", "rnn", "--dropout", "1"], ["dropout"]),
        (["train", "c.txt", "--backend", "rnn", "--cell", "gru", "--activation", "relu"], ["gru"]),
        (["train", "c.txt", "--holdout", "1.5"], ["holdout", "from 0.0 to 0.999"]),
        (["train", "c.txt", "--config", "bad.toml"], ["did you mean 'order'"]),
        (["train", "c.txt", "--config", "none.toml"], ["none.toml"]),
        (["train"], ["FILE"]),
        (["trian"], ["No such command"]),
        (["ppl", "-m", "none"], ["there is no model", "lmkit train"]),
        (["generate", "-m", "none"], ["there is no model"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_impossible_options_are_usage_errors(
    lmkit: Run, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    (tmp_path / "bad.toml").write_text("ordr = 3\n")
    refused(lmkit(*arguments), 2, *words)
    assert not (tmp_path / "lmkit-model").exists()


def test_places_that_cannot_be_written_are_found_before_training(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    refused(lmkit("train", "c.txt", "-o", "no/such/folder"), 5, "no such folder")
    refused(lmkit("train", "c.txt", "-o", "c.txt"), 2, "not a folder")
    refused(lmkit("train", "c.txt", "--backend", "rnn", "--device", "cuda:9"), 5, "cuda:9", "cpu")


def test_options_from_a_file_with_flags_before_them(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    (tmp_path / "run.toml").write_text('order = 3\nprune = [0, 0, 1]\noutput = "named"\n')
    ok(lmkit("train", "c.txt", "--config", "run.toml", "--order", "4"))
    options = json.loads(ok(lmkit("info", "-m", "named", "--json")))["options"]
    assert options["order"] == 4
    assert options["prune"] == [0, 0, 1]


def test_the_environment_names_the_model(lmkit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    monkeypatch.setenv("LMKIT_MODEL", "elsewhere")
    ok(lmkit("train", "c.txt", "--order", "1"))
    ok(lmkit("ppl"))
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_and_keeps_what_had_come_of_it(
    lmkit: Run, tmp_path: Path, number: int, code: int
) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    options = ["--backend", "rnn", "--budget", "60s", "--patience", "0", "--hidden-size", "16"]
    command = [sys.executable, "-m", "lmkit", "train", "c.txt", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path, env=os.environ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"perplexity" in line:
                break
        time.sleep(0.3)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(30) == code
    assert b"Traceback" not in rest
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c.txt",
        "lmkit-model",
        "lmkit-model.checkpoint",
    ]
    ok(lmkit("ppl"))
    assert json.loads(ok(lmkit("info", "--json")))["summary"]["stopped_early"]


def test_an_interrupt_while_the_command_line_is_imported_is_no_traceback(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")  # found first: in the current folder
    refused(lmkit("--help"), 130)


def test_help_shows_examples(lmkit: Run) -> None:
    assert "lmkit generate --prefix" in ok(lmkit("--help"))
    for command in ("train", "ppl", "generate", "export", "import", "plot", "info"):
        assert "Examples:" in ok(lmkit(command, "--help"))
    assert "--hidden-size" in ok(lmkit("train", "--help"))


@pytest.mark.parametrize(
    "options",
    [["--learning-rate", "1e9"], ["--grad-clip", "0", "--learning-rate", "1e4"], ["--learning-rate", "1e30"]],
    ids=str,
)
def test_a_training_that_diverges_saves_nothing(lmkit: Run, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    result = lmkit("train", "c.txt", "--backend", "rnn", "--hidden-size", 8, "--epochs", 4, *options)
    refused(result, 6, "--learning-rate")
    assert [path.name for path in tmp_path.iterdir()] == ["c.txt"]


def test_a_test_text_from_a_pipe_is_kept(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--order", "2", "--test", "-", stdin=STORY.encode()))
    assert json.loads(ok(lmkit("ppl", "--json")))["lines"] == STORY.count("\n")


def test_results_that_cannot_be_written(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    ok(lmkit("train", "c.txt", "--order", "2"))
    for redirection, code in ((">/dev/full", 5), (">&-", 0)):
        command = ["bash", "-c", f"{sys.executable} -m lmkit ppl {redirection}"]
        result = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert result.returncode == code, result.stderr
        assert b"Traceback" not in result.stderr


def test_impossible_numbers_and_empty_lists(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(MANY)
    (tmp_path / "empty.txt").write_text("\n")
    refused(lmkit("train", "c.txt", "--backend", "rnn", "--epochs", "inf"), 2, "epochs")
    refused(lmkit("train", "c.txt", "--vocab", "empty.txt"), 3, "holds no words")
    refused(lmkit("train", "c.txt", "--limit-vocab", "none.txt"), 2, "none.txt")
