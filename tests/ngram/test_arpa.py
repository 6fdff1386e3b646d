"""ARPA files: what is written comes back, and what other tools write gives the numbers that it says."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmkit
from lmkit.ngram.arpa import arpa_pieces
from lmkit.ngram.arpa_lines import nearest_float32
from lmkit.ngram.growing_trie import GrowingTrie
from lmkit.ngram.kernels import arpa as kernels
from lmkit.text.vocabulary import EOS
from tests.conftest import STORY
from tests.ngram import backoff
from tests.ngram.backoff import Entries, Gram

TINY = """\
\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.5 <unk>
-99 <s> -0.25
-0.5 </s>
-0.25 a -0.125

\\2-grams:
-0.375 <s> a
-0.0625 a </s>

\\end\\
"""


def imported(text: str | bytes, **options: str) -> lmkit.NgramModel:
    Path("model.arpa").write_bytes(text if isinstance(text, bytes) else text.encode())
    return lmkit.read_arpa("model.arpa", **options)  # type: ignore[arg-type]


def written(model: lmkit.LanguageModel) -> str:
    assert isinstance(model, lmkit.NgramModel)
    return b"".join(arpa_pieces(model)).decode()


def same_arrays(one: lmkit.LanguageModel, other: lmkit.LanguageModel) -> bool:
    return one.tokenizer.vocab == other.tokenizer.vocab and all(
        np.array_equal(array, other.arrays()[name]) for name, array in one.arrays().items()
    )


@pytest.mark.parametrize("kind", ["word", "char", "byte"])
@pytest.mark.parametrize("options", [{"order": 1}, {"order": 3}, {"order": 4, "prune": (0, 1)}], ids=str)
def test_what_is_written_comes_back(kind: str, options: dict[str, object]) -> None:
    text = STORY + "a\u2581 b\tc\x0b\x0c\n"
    model = lmkit.train(text, tokenizer=kind, holdout=0, **options)  # type: ignore[arg-type]
    lmkit.write_arpa(model, "model.arpa")  # type: ignore[arg-type]
    again = lmkit.read_arpa("model.arpa", tokenizer=kind)
    assert backoff.parse(written(again)) == backoff.parse(written(model))
    assert type(again.tokenizer) is type(model.tokenizer)
    assert sorted(again.tokenizer.vocab.tokens) == sorted(model.tokenizer.vocab.tokens)
    for other in (text, "the zebra saw a fox .\n\nowl\n"):
        mine, its = lmkit.perplexity(again, other), lmkit.perplexity(model, other)
        assert (mine.logprob, mine.oov, mine.tokens) == (its.logprob, its.oov, its.tokens)
    assert same_arrays(imported(written(again), tokenizer=kind), again)


def test_the_unknown_word_of_the_training_text_is_one(tmp_path: Path) -> None:
    for text, oov in (("a <unk> b\n" * 9, 1), ("a b\n" * 9, 2)):
        model = imported(written(lmkit.train(text, order=2, holdout=0)))
        assert lmkit.perplexity(model, "a <unk> zebra\n").oov == oov


GRAMS = st.lists(st.sampled_from(["a", "b", "ü", "<unk>"]), min_size=1, max_size=4).map(tuple)
NUMBERS = st.floats(-9, 0, width=32, allow_subnormal=False)


@st.composite
def models(draw: st.DrawFn) -> Entries:
    """Any n-grams at all: contexts and suffixes may be missing."""
    grams = draw(st.sets(GRAMS, max_size=12))
    grams |= {("<s>", *gram[:3]) for gram in draw(st.sets(GRAMS, max_size=4))}
    grams |= {(*gram[:3], "</s>") for gram in draw(st.sets(GRAMS, max_size=4))}
    grams |= {("<s>",), ("</s>",), ("<unk>",), *((word,) for gram in grams for word in gram)}
    backoffs = st.floats(-3, 2, width=32, allow_subnormal=False)
    return {gram: (draw(NUMBERS), draw(backoffs)) for gram in draw(st.permutations(sorted(grams)))}


@given(
    entries=models(),
    line=st.lists(st.sampled_from(["a", "b", "ü", "zebra"]), max_size=9),
    gap=st.sampled_from(["\t", " ", " \t "]),
    end=st.sampled_from(["\n", "\r\n", " \n\n"]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_n_grams_give_the_numbers_of_the_definition(
    entries: Entries, line: list[str], gap: str, end: str
) -> None:
    order = max(map(len, entries))
    model = imported(backoff.write(entries, gap=gap, end=end))
    ids = np.append(model.tokenizer.encode(" ".join(line)), EOS)
    found, _ = model.score_ids(ids)
    assert found == pytest.approx(backoff.score(entries, line, order), abs=1e-5)
    plain, _ = lmkit.LanguageModel.score_ids(model, ids)
    assert plain == pytest.approx(found, abs=1e-5)
    kept = backoff.parse(written(model))
    for gram in kept:  # what look-ups rely on
        assert len(gram) == 1 or (gram[1:] in kept and gram[:-1] in kept)
    assert entries.keys() <= kept.keys()


@given(entries=models(), data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_the_lines_does_not_matter(entries: Entries, data: st.DataObject) -> None:
    shuffled = {gram: entries[gram] for gram in data.draw(st.permutations(list(entries)))}
    assert same_arrays(imported(backoff.write(shuffled)), imported(backoff.write(entries)))


def test_a_model_that_was_pruned_elsewhere_sums_to_one() -> None:
    model = lmkit.train(STORY, order=4, holdout=0)
    entries = backoff.parse(written(model))
    leaves = [gram for gram in entries if 1 < len(gram) < 4 and not any(g[:-1] == gram for g in entries)]
    inner = {gram for gram in leaves if any(other[1:] == gram for other in entries)}  # suffixes of others
    assert inner
    pruned = backoff.without(entries, set(list(inner)[::2]))
    model = imported(backoff.write(pruned))
    for prefix in ("", "the old", "the fox sat under", "an owl saw the"):
        state = model.start()
        for token in model.tokenizer.encode(prefix):
            state = model.step(state, np.array([token]))
        assert np.exp(model.next_logprobs(state).astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    line = ["the", "old", "fox", "saw", "the", "owl", "in", "the", "tree", "."]
    assert model.score(" ".join(line)) == pytest.approx(backoff.score(pruned, line, 4), abs=1e-5)


DECIMALS = st.one_of(
    st.floats(-40, 40, width=32, allow_subnormal=False).map(repr),
    st.floats(-40, 40, allow_subnormal=False).map(repr),
    st.floats(-1e-30, 1e30, allow_subnormal=False).map("{:g}".format),
    st.integers(-(2**24), 2**24).map(lambda n: f"{(n + 0.5) / 2**20:.25f}"),  # half-way between two
    st.integers(-(2**24), 2**24).map(lambda n: f"{(n + 0.5) / 2**20:.25f}1"),
    st.decimals(-99, 99, places=7).map(str),
    st.from_regex(r"[+-]?[0-9]{1,4}(\.[0-9]{0,17})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)


@given(text=DECIMALS)
@settings(max_examples=400)
def test_numbers_are_the_nearest_float32(text: str) -> None:
    exact = Fraction(text)
    found = nearest_float32(text)
    data = np.frombuffer(text.encode() + b"\n", np.uint8)
    quick = kernels.read_decimal(data, 0, len(text))
    assert np.isnan(quick) or quick == found
    if abs(exact) > 1e-37 and np.isfinite(found):
        with np.errstate(over="ignore"):
            near = [np.nextafter(found, np.float32(side)) for side in (-np.inf, np.inf)]
        assert all(
            abs(exact - Fraction(float(found))) <= abs(exact - Fraction(float(other)))
            for other in near
            if np.isfinite(other)
        )


@given(number=st.floats(-99, 0, width=32, allow_subnormal=False))
def test_what_tools_write_is_read_by_the_compiled_loop(number: float) -> None:
    for text in (f"{number:.7g}", f"{number:.9g}", f"{number:.6f}"):
        data = np.frombuffer(text.encode() + b"\t", np.uint8)
        found = kernels.read_decimal(data, 0, len(text))
        assert found == nearest_float32(text) or (np.isnan(found) and 0 < -number < 1e-12)


@given(rows=st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=30))
def test_n_grams_are_found_where_they_are(rows: list[Gram]) -> None:
    trie = GrowingTrie(np.zeros(5, np.float32), np.zeros(5, np.float32))
    pairs = np.array([(a, b) for a in range(5) for b in range(0, 5, 2)], np.int64)
    trie.add(pairs[:, 0], pairs[:, 1].astype(np.int32), *np.zeros((2, len(pairs)), np.float32))
    places = {(a, b): 5 + i for i, (a, b) in enumerate(pairs.tolist())}
    table = np.array(rows, np.int32).reshape(-1, 3)
    assert trie.find(table, 0, 2).tolist() == [places.get(row[:2], -1) for row in rows]
    assert trie.find(table, 1).tolist() == [places.get(row[1:], -1) for row in rows]
    assert trie.find(table, 2).tolist() == [row[2] for row in rows]


def quiet(text: str | bytes) -> lmkit.NgramModel:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return imported(text)


def test_forms_that_other_tools_write() -> None:
    model = quiet(TINY)
    assert model.trie.sizes() == [4, 2]
    forms = [
        "a remark of the tool\n\n" + TINY,
        TINY.replace("\n", "\r\n"),
        TINY.replace(" ", "\t"),
        TINY.replace("-0.5 ", "  -.5  ").replace("\n\n", "\n"),
        TINY.replace("-0.375", "-375e-3").replace("-0.25", "-2.5E-1"),
        TINY.replace("-0.0625", "-0.06250000000000000000000"),
        TINY.replace("a </s>", "a </s> 0"),  # a backoff of the highest order
        TINY.replace("</s>\n", "</s>\t0\n"),
        TINY.replace("\\data\\", " \n\n\n\\data\\").replace("ngram 1=", "ngram  1 = "),
        "\ufeff" + TINY + "what follows is a remark\n",
        TINY.replace("<unk>", "<UNK>"),
        TINY.replace("ngram 2=2", "ngram 2=2\nngram 3=0"),
        TINY.replace("ngram 2=2", "ngram 2=2\nngram 3=0").replace("\\end", "\\3-grams:\n\n\\end"),
    ]
    for text in forms:
        assert same_arrays(quiet(text), model), text
    assert not same_arrays(quiet(TINY.replace("-99", "-inf")), model)
    assert quiet(TINY.replace("-99", "-inf")).score("a") == pytest.approx(model.score("a"))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files(compress: object) -> None:
    assert same_arrays(imported(compress(TINY.encode())), imported(TINY))  # type: ignore[operator]


def test_zstandard_files() -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra: zstd")
    assert same_arrays(imported(zstandard.ZstdCompressor().compress(TINY.encode())), imported(TINY))


def test_a_missing_unknown_word_is_all_but_impossible() -> None:
    with pytest.warns(lmkit.LmkitWarning, match="has no <unk>"):
        model = imported(TINY.replace("-1.5 <unk>\n", "").replace("1=4", "1=3"))
    assert model.score("zebra")[0] == pytest.approx((-100 - 0.25) * np.log(10))


def test_a_missing_beginning_of_the_line_is_nothing() -> None:
    text = TINY.replace("-99 <s> -0.25\n", "").replace("1=4", "1=3").replace("2=2", "2=1")
    with pytest.warns(lmkit.LmkitWarning, match="has no 1-gram <s>"):
        model = imported(text.replace("-0.375 <s> a\n", ""))
    assert model.score("a") == pytest.approx(np.log(10) * np.array([-0.25, -0.0625]))


def test_n_grams_that_no_line_holds_are_left_out() -> None:
    odd = TINY.replace("2=2", "2=5").replace("\n\\end", "-1 </s> <s>\n-1 a <s>\n-1 </s> a\n\n\\end")
    with pytest.warns(lmkit.LmkitWarning, match=r"arpa:14: n-grams in which <s>.*\(3\)"):
        assert same_arrays(imported(odd), imported(TINY))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("-0.375 <s>", "abc <s>"), ":12: found 'abc', where log10 of a probability"),
        (("-0.375 <s>", "1_0 <s>"), ":12: found '1_0'"),
        (("-0.375 <s>", "nan <s>"), ":12: found 'nan'"),
        (("-0.375 <s>", "0.375 <s>"), ":12: found '0.375 <s> a', a probability above 1"),
        (("-0.25 a", "-0.25 a inf"), ":9: found"),
        (("<s> -0.25", "<s> inf"), ":7: found '-99 <s> inf', a probability above 1, or a backoff"),
        (("<s> -0.25", "<s> b"), ":7: found 'b', where log10 of a backoff"),
        (("<s> a", "<s>"), ":12: found '-0.375 <s>', less than log10"),
        (("-0.5 </s>", "-0.5"), ":8: found '-0.5', less than"),
        (("<s> a", "<s> a a a"), ":12: found '-0.375 <s> a a a', more than"),
        (("<s> a", "<s> b"), ":12: found 'b', a word that is not among the 1-grams"),
        (("a </s>", "<s> a"), ":13: the 2-gram of this line stands in the file before"),
        (("-0.5 </s>", "-0.5 a"), ":9: the word 'a' of this line stands"),
        (("2=2", "2=3"), ":15: the header says 3 2-grams, but there are 2"),
        (("1=4", "1=3"), "the header says 3 1-grams, but there are 4"),
        (("\n\\end\\", ""), "the file ends where"),
        (("-0.0625 a </s>\n\n\\end\\\n", ""), "was cut short"),
        (("\\2-grams:", "\\3-grams:"), r":11: found \\3-grams: where \\2-grams: should"),
        (("\\end\\", "\\3-grams:"), r"where \\end\\ should follow"),
        (("\\data\\\n", ""), "no ARPA file"),
        (("ngram 2", "ngram 3"), ":3: found 'ngram 3=2' in the header"),
        (("ngram 2=2", "mgram 2=2"), ":3: found 'mgram 2=2' in the header"),
        (("ngram 1=4\nngram 2=2\n", ""), "names no n-grams"),
        (("-0.5 </s>\n", ""), "the header says 4"),
    ],
)
def test_damaged_files_are_refused_with_their_place(change: tuple[str, str], message: str) -> None:
    assert change[0] in TINY
    with pytest.raises(lmkit.ModelFormatError, match=message.replace("(", r"\(")) as refusal:
        imported(TINY.replace(*change, 1))
    assert refusal.value.exit_code == 4
    assert "model.arpa" in str(refusal.value)


def test_files_that_hold_something_else_are_refused() -> None:
    for content, error, message in (
        (b"the old fox\n", lmkit.ModelFormatError, "no ARPA file"),
        (b"mmap lm http://kheafield.com/code format version 5\n\0", lmkit.ModelFormatError, "binary file"),
        (b"", lmkit.InputError, "empty"),
        (TINY.encode().replace(b" a", b" \xfc"), lmkit.InputError, "byte 7 of the line: 0xfc is no text"),
        (TINY.encode().replace(b"a </s>", b"a\0</s>"), lmkit.InputError, ":13, byte 10 of the line: 0x00"),
        (gzip.compress(TINY.encode())[:60], lmkit.InputError, "ended early"),
        (TINY.encode().replace(b"</s>", b"<end>"), lmkit.ModelFormatError, "has no 1-gram </s>"),
    ):
        with pytest.raises(error, match=message):
            imported(content)
    with pytest.raises(lmkit.UsageError, match="no such file"):
        lmkit.read_arpa("none.arpa")
    for kind, message in (("char", "of characters"), ("byte", "of bytes"), ("bpe", "not of the tokenizer")):
        with pytest.raises(lmkit.UsageError, match=message):
            imported(re.sub(r"\ba\b", "ab", TINY), tokenizer=kind)


@given(place=st.integers(0, len(TINY) - 1), byte=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_byte_leads_to_anything_but_a_model_or_a_refusal(place: int, byte: int, cut: bool) -> None:
    data = TINY.encode()
    data = data[:place] if cut else data[:place] + bytes([byte]) + data[place + 1 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = imported(data)
        except (lmkit.ModelFormatError, lmkit.InputError):
            return
    assert np.isfinite(model.score("a a")).all() or "inf" in data.decode()


@pytest.mark.parametrize("name", ["timemachine.o5", "timemachine.o3.prune012"])
def test_files_of_the_reference_give_its_perplexities(shared: Path, name: str) -> None:
    model = lmkit.read_arpa(shared / f"golden/{name}.arpa.gz")
    numbers = {
        "timemachine.o5": ((35_527, 0, 16.402244, 16.402244), (242_651, 76_417, 1303.559, 268.8230)),
        "timemachine.o3.prune012": ((35_527, 0, 304.63440, 304.63440), (242_651, 76_417, 1283.152, 275.6250)),
    }
    for text, (tokens, oov, with_oov, without_oov) in zip(
        ("timemachine", "shakespeare"), numbers[name], strict=True
    ):
        result = lmkit.perplexity(model, shared / f"data/{text}.txt")
        assert (result.tokens, result.oov) == (tokens, oov)
        assert result.perplexity == pytest.approx(with_oov, rel=1e-6)
        assert result.perplexity_without_oov == pytest.approx(without_oov, rel=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "timemachine.o5",
        "timemachine.o3.nouniform",
        "timemachine.o3.prune012",
        "timemachine.o4.limit-vocab-500",
        "timemachine-2448-chars.o6.fallback",
        "tiny.o3.fallback",
    ],
)
def test_files_of_the_reference_come_back_as_they_were(shared: Path, name: str) -> None:
    with gzip.open(shared / f"golden/{name}.arpa.gz", "rt", encoding="utf-8") as file:
        expected = backoff.parse(file.read())
    kind = "char" if "chars" in name else "word"
    found = backoff.parse(written(lmkit.read_arpa(shared / f"golden/{name}.arpa.gz", tokenizer=kind)))
    assert found.keys() == expected.keys()
    for gram, numbers in expected.items():
        assert [np.float32(number) for number in found[gram]] == [np.float32(number) for number in numbers]
