"""Binary files of KenLM as models: the numbers of the ARPA file that they were made from."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest

import lmkit
from lmkit.errors import LmkitError
from lmkit.external.kenlm import KenlmModel
from lmkit.ngram.arpa import arpa_pieces
from lmkit.text.vocabulary import BOS
from tests.cli.test_commands import Run, ok, refused
from tests.conftest import STORY
from tests.ngram import backoff
from tests.ngram.test_arpa import TINY

# What `build_binary`, `build_binary trie` and `build_binary -v trie` make of TINY.
PROBING = (
    "bW1hcCBsbSBodHRwOi8va2hlYWZpZWxkLmNvbS9jb2RlIGZvcm1hdCB2ZXJzaW9uIDUKAAAAAAAAAAAAAACAPwAAAL8BAAAA////"
    "/wAAAAABAAAAAAAAAAIAAAAAAMA/AAAAAAEAAAAAAAAABAAAAAAAAAACAAAAAAAAAAAAAAAAAAAABAAAAHB+Ib05hnUAAQAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAABFra9PSFxcHAwAAAAps9/F9c+BrAgAAAAAAAAAAAAAAAAAAAAAAwL8AAACAAADGwgAAgL4A"
    "AAA/AAAAgAAAgD4AAAC+AAAAAAAAAAAAAAAAAAAAAAAAAACBcu3wfXt8hQAAwL4Wz0rzrnxqGAAAgL08dW5rPgA8cz4APC9zPgBh"
    "AA=="
)
TRIE = (
    "bW1hcCBsbSBodHRwOi8va2hlYWZpZWxkLmNvbS9jb2RlIGZvcm1hdCB2ZXJzaW9uIDUKAAAAAAAAAAAAAACAPwAAAL8BAAAA////"
    "/wAAAAABAAAAAAAAAAIAAAAAAMA/AgAAAAEAAAABAAAABAAAAAAAAAACAAAAAAAAAAAAAAADAAAAAAAAAHB+Ib05hnUAEWtr09IX"
    "FwcKbPfxfXPgawAAAAAAAAAAAADAvwAAAIAAAAAAAAAAAAAAxsIAAIC+AAAAAAAAAAAAAIC+AAAAvgAAAAAAAAAAAAAAvwAAAIAB"
    "AAAAAAAAAAAAAAAAAAAAAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAA9gkAALAHAAAAAAAAAAAAAAAAPHVuaz4APHM+AGEAPC9z"
    "PgA="
)
NO_WORDS = (
    "bW1hcCBsbSBodHRwOi8va2hlYWZpZWxkLmNvbS9jb2RlIGZvcm1hdCB2ZXJzaW9uIDUKAAAAAAAAAAAAAACAPwAAAL8BAAAA////"
    "/wAAAAABAAAAAAAAAAIAAAAAAMA/AgAAAAAAAAABAAAABAAAAAAAAAACAAAAAAAAAAAAAAADAAAAAAAAAHB+Ib05hnUAEWtr09IX"
    "FwcKbPfxfXPgawAAAAAAAAAAAADAvwAAAIAAAAAAAAAAAAAAxsIAAIC+AAAAAAAAAAAAAIC+AAAAvgAAAAAAAAAAAAAAvwAAAIAB"
    "AAAAAAAAAAAAAAAAAAAAAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAA9gkAALAHAAAAAAAAAAAAAAAA"
)
FILES = {"probing.binary": PROBING, "trie.binary": TRIE, "no-words.binary": NO_WORDS}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(base64.b64decode(content))
    (tmp_path / "tiny.arpa").write_text(TINY)
    return tmp_path


@pytest.fixture
def _kenlm() -> None:
    pytest.importorskip("kenlm", reason="needs the extra: kenlm")


def both(order: int) -> tuple[KenlmModel, lmkit.NgramModel]:
    """Give a model that KenLM holds (it reads ARPA files too), and the same imported."""
    kenlm = pytest.importorskip("kenlm", reason="needs the extra: kenlm")
    lmkit.write_arpa(lmkit.train(STORY, order=order, holdout=0), "story.arpa")  # type: ignore[arg-type]
    imported = lmkit.read_arpa("story.arpa")
    config = kenlm.Config()
    config.show_progress = False
    return KenlmModel(model=kenlm.Model("story.arpa", config), tokenizer=imported.tokenizer), imported


@pytest.mark.usefixtures("_kenlm")
@pytest.mark.parametrize("name", ["probing.binary", "trie.binary"])
def test_a_binary_file_is_the_model_of_its_arpa_file(files: Path, name: str) -> None:
    model, imported = lmkit.load(files / name), lmkit.load(files / "tiny.arpa")
    assert isinstance(model, KenlmModel)
    assert isinstance(imported, lmkit.NgramModel)
    assert model.tokenizer.vocab == imported.tokenizer.vocab
    for text in ("a\n", "a zebra a\n\n", "\na a a\n"):
        mine, its = lmkit.perplexity(model, text), lmkit.perplexity(imported, text)
        assert mine.logprob == pytest.approx(its.logprob, rel=1e-6)
        assert (mine.tokens, mine.oov) == (its.tokens, its.oov)
    assert "backend:kenlm|order:2|tok:word|vocab:4" in model.signature()


@pytest.mark.parametrize("order", [2, 4])
def test_scores_steps_and_distributions_are_those_of_the_imported_model(order: int) -> None:
    model, imported = both(order)
    lines = [*STORY.split("\n")[:-1], "a zebra saw the fox", ""]
    ids = model.tokenizer.encode_lines(lines)
    found, end = model.score_ids(ids)
    assert found == pytest.approx(imported.score_ids(ids)[0], abs=2e-6)
    state, its = model.start(2), imported.start(2)
    for tokens in ids[: len(ids) // 2 * 2].reshape(-1, 2)[:25]:
        logprobs = model.next_logprobs(state)
        assert logprobs == pytest.approx(imported.next_logprobs(its), abs=1e-5)
        assert np.exp(logprobs.astype(np.float64)).sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert (logprobs[:, BOS] == -np.inf).all()
        before = state.select([0, 1])
        moved = model.step(state, tokens)
        assert state == before
        state, its = moved, imported.step(its, tokens)
    for cut in (0, 3, len(ids) - 1):
        first, middle = model.score_ids(ids[:cut])
        second, after = model.score_ids(ids[cut:], middle)
        assert np.concatenate([first, second]) == pytest.approx(found)
        assert after == end
    assert len(state.select([1, 0, 0])) == 3
    assert model.next_logprobs(state.join(state)) == pytest.approx(
        model.next_logprobs(state.select([0, 1, 0, 1]))
    )
    likeliest = [lmkit.generate(of, "the", temperature=0, max_tokens=6)[0].text for of in (model, imported)]
    assert likeliest[0] == likeliest[1]
    assert lmkit.generate(model, "the", seed=3)[0].text.startswith("the")


def test_kenlm_and_lmkit_make_the_same_of_a_model_that_was_pruned_elsewhere() -> None:
    kenlm = pytest.importorskip("kenlm", reason="needs the extra: kenlm")
    _, imported = both(4)
    entries = backoff.parse(b"".join(arpa_pieces(imported)).decode())
    contexts = {gram[:-1] for gram in entries}
    leaves = [gram for gram in entries if 1 < len(gram) < 4 and gram not in contexts]
    Path("pruned.arpa").write_text(backoff.write(backoff.without(entries, set(leaves[::2]))))
    config = kenlm.Config()
    config.show_progress = False
    mine, its = lmkit.read_arpa("pruned.arpa"), kenlm.Model("pruned.arpa", config)
    for line in (*STORY.split("\n"), "a zebra saw the fox", "old the fox"):
        assert mine.score(line).sum() == pytest.approx(its.score(line) * np.log(10), rel=1e-6, abs=1e-6)


def test_a_model_of_kenlm_can_be_mixed() -> None:
    model, imported = both(3)
    other = lmkit.train("the wolf saw the owl .\n" * 9, order=2, holdout=0)
    text = "the owl saw the wolf .\n"
    mixed, expected = (lmkit.mix([one, other], weights=[0.4, 0.6]) for one in (model, imported))
    assert lmkit.perplexity(mixed, text).logprob == pytest.approx(
        lmkit.perplexity(expected, text).logprob, rel=1e-6
    )
    with pytest.raises(lmkit.UsageError, match="import"):
        lmkit.save(mixed, "mixed")
    assert not Path("mixed").exists()


def test_the_reference_itself_on_a_real_text(shared: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="needs the extra: kenlm")
    path = shared / "golden/timemachine.o3.prune012.arpa.gz"
    imported, config = lmkit.read_arpa(path), kenlm.Config()
    config.show_progress = False
    lmkit.write_arpa(imported, "machine.arpa")
    model = KenlmModel(model=kenlm.Model("machine.arpa", config), tokenizer=imported.tokenizer)
    mine, its = (lmkit.perplexity(one, shared / "data/timemachine.txt") for one in (model, imported))
    assert mine.perplexity == pytest.approx(its.perplexity, rel=1e-6)


@pytest.mark.usefixtures("_kenlm")
def test_what_cannot_be_opened_says_why(files: Path) -> None:
    whole = base64.b64decode(TRIE)
    for name, content, message in (
        ("short", whole[:100], "no whole binary file"),
        ("cut", whole[:-9], "no whole binary file"),
        ("version", whole.replace(b"version 5", b"version 4"), "KenLM cannot open it"),
        ("latin", whole.replace(b"\0a\0", b"\0\xe9\0"), "not UTF-8"),
    ):
        (files / name).write_bytes(content)
        with pytest.raises(lmkit.ModelFormatError, match=message):
            lmkit.load(files / name)
    with pytest.raises(lmkit.UsageError, match="without its words"):
        lmkit.load(files / "no-words.binary")
    model = lmkit.load(files / "trie.binary")
    for ids in ([4], [-1], [[1]]):
        with pytest.raises(lmkit.UsageError, match="token ids"):
            model.score_ids(np.array(ids))
    with pytest.raises(lmkit.UsageError, match="lmkit import"):
        lmkit.save(model, "folder")
    with pytest.raises(lmkit.ModelFormatError, match="no model folder"):
        KenlmModel.from_arrays({}, {}, model.tokenizer)


def test_without_the_package_the_line_that_installs_it_is_said(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(LmkitError, match=r"pip install 'lmkit\[kenlm\]'") as refusal:
        lmkit.load(files / "trie.binary")
    assert refusal.value.exit_code == 5


def test_files_of_other_tools_on_the_command_line(lmkit: Run, files: Path) -> None:
    (files / "t.txt").write_text("a\na zebra\n")
    ok(lmkit("import", "tiny.arpa", "-o", "folder"))
    expected = ok(lmkit("ppl", "t.txt", "-m", "folder"))
    assert ok(lmkit("ppl", "t.txt", "-m", "tiny.arpa")) == expected
    refused(lmkit("ppl", "-m", "tiny.arpa"), 2, "name a file")
    refused(lmkit("ppl", "--test", "-m", "tiny.arpa"), 2, "no test text")
    for name in ("tiny.arpa", "trie.binary"):
        refused(lmkit("info", "-m", name), 2, f"{name}: is a model file of another tool", "lmkit import")
    refused(lmkit("import", "trie.binary", "-o", "x"), 4, "binary file of KenLM", "ARPA")
    refused(lmkit("ppl", "t.txt", "-m", "t.txt"), 4, "t.txt: a model is a folder")
    pytest.importorskip("kenlm", reason="needs the extra: kenlm")
    for name in ("probing.binary", "trie.binary"):
        found = ok(lmkit("ppl", "t.txt", "-m", name)).splitlines()
        assert found[:4] == expected.splitlines()[:4]
        greedy = ("--temperature", "0", "--max-tokens", "4")
        assert ok(lmkit("generate", "-m", name, *greedy)) == ok(lmkit("generate", "-m", "folder", *greedy))
