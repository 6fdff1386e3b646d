"""`lmkit import` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_commands import Run, ok, refused
from tests.conftest import STORY


def numbers(output: str) -> dict[str, object]:
    found = json.loads(output)
    return {name: found[name] for name in ("cross_entropy", "tokens", "oov", "bits_per_word")}


def test_a_model_goes_out_and_comes_back(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(STORY)
    (tmp_path / "other.txt").write_text("the old zebra sat .\n\nan owl\n")
    for kind in ("word", "char"):
        ok(lmkit("train", "c.txt", "-o", f"{kind}-model", "--order", "3", "--tokenizer", kind))
        ok(lmkit("export", "-m", f"{kind}-model", "--arpa", f"{kind}.arpa.gz"))
        result = lmkit("import", f"{kind}.arpa.gz", "-o", f"{kind}-again", "--tokenizer", kind)
        assert ok(result) == ""  # words go to stderr
        assert f"next: lmkit ppl FILE -m {kind}-again" in result.stderr.decode()
        assert "n-grams by order" in result.stderr.decode()
        one, two = (
            numbers(ok(lmkit("ppl", "other.txt", "-m", f"{kind}-{name}", "--json")))
            for name in ("model", "again")
        )
        assert one == two
    info = ok(lmkit("info", "-m", "word-again"))
    assert "smoothing:imported" in info
    assert "made of      word.arpa.gz" in info
    text = ok(lmkit("export", "-m", "word-again", "--arpa", "-"))
    quiet = lmkit("import", "-", "-q", stdin=text.encode())
    assert (ok(quiet), quiet.stderr) == ("", b"")
    assert ok(lmkit("generate", "--prefix", "the", "--seed", "1")) == ok(
        lmkit("generate", "-m", "word-again", "--prefix", "the", "--seed", "1")
    )


def test_what_cannot_be_imported_leaves_nothing(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text.arpa").write_text("the old fox\n")
    (tmp_path / "latin.arpa").write_bytes("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\tcafé\n".encode("latin-1"))
    (tmp_path / "short.arpa").write_text("\\data\\\nngram 1=9\n\n\\1-grams:\n-1\tfox\n")
    before = sorted(tmp_path.iterdir())
    refused(lmkit("import", "text.arpa"), 4, "text.arpa:2", "no ARPA file")
    refused(lmkit("import", "latin.arpa"), 3, "latin.arpa:5, byte 7", "0xe9", "iconv")
    refused(lmkit("import", "short.arpa"), 4, "short.arpa:6", "9 1-grams", "there are 1", "cut short")
    refused(lmkit("import", "none.arpa"), 2, "none.arpa: no such file")
    refused(lmkit("import", "text.arpa", "-o", "no/where"), 5, "no such folder")
    refused(lmkit("import", "text.arpa", "-o", "text.arpa"), 2, "not a folder")
    refused(lmkit("import"), 2, "FILE")
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "c.txt").write_text(STORY)
    ok(lmkit("train", "c.txt"))
    refused(lmkit("import", "text.arpa"), 2, "exists already", "--force")
