"""Tokenizers: round trips, bulk against single lines, unknown words, special words, limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.config import TextConfig
from lmkit.errors import InputError, UsageError
from lmkit.text.byte import ByteTokenizer
from lmkit.text.character import CharTokenizer
from lmkit.text.corpus import Corpus
from lmkit.text.tokenizer import TOKENIZERS, Tokenizer, load_tokenizer, suitable_tokenizer
from lmkit.text.vocabulary import EOS, SPECIALS, UNK
from lmkit.text.word import WordTokenizer

# Any text of any script; a lone "\r" before "\n" would be part of the line end, and NUL is no text.
lines = st.lists(
    st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=12),
    min_size=1,
    max_size=8,
)
KINDS = ["word", "char", "byte", "bpe"]


def learn(kind: str, text: str, **options: object) -> tuple[Tokenizer, np.ndarray]:
    if kind == "bpe":
        pytest.importorskip("tokenizers", reason="needs the extra: subword")
    return TOKENIZERS[kind].learn(Corpus.from_text(text), options=TextConfig(tokenizer=kind, **options))  # type: ignore[arg-type, no-any-return]


@pytest.mark.parametrize("kind", KINDS)
@given(lines=lines)
@settings(max_examples=30)
def test_text_comes_back_from_its_ids(kind: str, lines: list[str]) -> None:
    if kind == "word":
        lines = [" ".join(w for w in line.split(" ") if w and w not in SPECIALS) for line in lines]
        lines = [line.replace("\t", "") for line in lines]
    text = "\n".join(lines) + "\n"
    if not text.strip():
        return
    tokenizer, ids = learn(kind, text)
    assert tokenizer.decode(ids) == text
    for line in lines:
        assert tokenizer.decode(tokenizer.encode(line)) == line


@pytest.mark.parametrize("kind", KINDS)
@given(lines=lines, other=lines)
@settings(max_examples=30)
def test_bulk_encoding_is_that_of_the_lines(kind: str, lines: list[str], other: list[str]) -> None:
    lines, other = ([line.replace("<", "") for line in group] for group in (lines, other))
    tokenizer, ids = learn(kind, "\n".join(lines) + "\n")
    assert np.array_equal(ids, tokenizer.encode_lines(lines))
    corpus = Corpus.from_text("\n".join(other) + "\n")
    assert np.array_equal(tokenizer.encode_corpus(corpus), tokenizer.encode_lines(other))
    assert ids.dtype == np.int32
    assert ids.max() < len(tokenizer.vocab)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same(kind: str, tmp_path: Path) -> None:
    tokenizer, _ = learn(kind, "the fox saw the owl\nüber 狐狸 🦊\n" * 3)
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = "the owl saw über 狐 zebra"
    assert type(loaded) is type(tokenizer)
    assert np.array_equal(loaded.encode(text), tokenizer.encode(text))
    assert loaded.vocab == tokenizer.vocab
    assert loaded.unk == tokenizer.unk


def test_words_are_numbered_by_falling_frequency_then_by_name() -> None:
    tokenizer, ids = learn("word", "b a c a\nd c a\n")
    assert tokenizer.vocab.tokens == [*SPECIALS, "a", "c", "b", "d"]
    assert ids.tolist() == [5, 3, 4, 3, EOS, 6, 4, 3, EOS]


def test_words_are_separated_by_five_bytes_and_nothing_else() -> None:
    tokenizer, _ = learn("word", "a b\u00a0c\td\x0be\x0cf\u2028g  h\n")
    assert tokenizer.vocab.tokens[3:] == ["a", "b\u00a0c", "d\x0be\x0cf\u2028g", "h"]
    assert len(tokenizer.encode("a\0h\r")) == 2


@pytest.mark.parametrize("count", [3, 5000, 100_000])
def test_many_words_and_one_very_long_word(count: int) -> None:
    words = [f"w{i:06d}" for i in range(count)] + ["x" * 300_000]
    tokenizer, ids = learn("word", " ".join(words) + "\n")
    assert tokenizer.vocab.tokens[3:] == words
    assert ids.tolist() == [*range(3, count + 4), EOS]


@pytest.mark.parametrize("kind", ["word", "char"])
def test_limits_of_the_vocabulary(kind: str) -> None:
    text = "a a a b b c\n" if kind == "word" else "aaabbc\n"
    tokenizer, ids = learn(kind, text, min_count=2)
    assert tokenizer.vocab.tokens[3:] == ["a", "b"]
    assert ids.tolist() == [3, 3, 3, 4, 4, UNK, EOS]
    assert learn(kind, text, vocab_size=1)[0].vocab.tokens[3:] == ["a"]


def test_a_vocabulary_file_says_which_words_there_are(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("fox owl\nowl\n")
    tokenizer, ids = learn("word", "the fox\n", vocab=str(tmp_path / "words.txt"))
    assert tokenizer.vocab.tokens[3:] == ["fox", "owl"]
    assert ids.tolist() == [UNK, 3, EOS]
    with pytest.raises(UsageError, match=r"none\.txt"):
        learn("word", "the fox\n", vocab="none.txt")


def test_unknown_words_are_marked_where_that_is_asked_for() -> None:
    tokenizer, _ = learn("word", "the fox\n")
    assert tokenizer.encode_block(b"the zebra <unk>\n", oov=-1).tolist() == [4, -1, -1, EOS]
    tokenizer, ids = learn("word", "the <unk> fox\n")
    assert (ids == UNK).sum() == 1
    assert tokenizer.unk == "word"
    assert tokenizer.encode_block(b"the zebra <unk>\n", oov=-1).tolist() == [4, -1, UNK, EOS]


def test_special_words_are_refused_with_their_line_unless_told_otherwise() -> None:
    text = "a b\n\na </s> <s> b\n"
    with pytest.raises(InputError, match=r"line 3.*</s>.*--specials"):
        learn("word", text)
    assert learn("word", text, specials="skip")[1].tolist() == [3, 4, EOS, EOS, 3, 4, EOS]
    tokenizer, ids = learn("word", text, specials="unk")
    assert ids.tolist() == [3, 4, EOS, EOS, 3, UNK, UNK, 4, EOS]
    assert tokenizer.encode("a <s>").tolist() == [3, UNK]
    with pytest.raises(InputError, match="<s>"):
        learn("word", "a\n")[0].encode("a <s>")
    assert learn("char", "<s>\n")[1].tolist()[-1] == EOS  # three characters like any others


def test_characters_outside_the_vocabulary_are_unknown() -> None:
    tokenizer, _ = learn("char", "abc\n")
    assert tokenizer.encode("a\u2028z").tolist() == [3, UNK, UNK]
    assert tokenizer.decode([3, UNK]) == "a\ufffd"


def test_bytes_take_anything() -> None:
    tokenizer = ByteTokenizer()
    block = bytes(b for b in range(256) if b != 10) + b"\n"
    ids = tokenizer.encode_block(block)
    assert ids.tolist() == [*range(3, 258), EOS]
    assert tokenizer.decode(tokenizer.encode_block("日本\n".encode())) == "日本\n"
    assert tokenizer.decode(ids[-3:]) == "\ufffd\ufffd\n"


def test_half_a_character_is_no_crash() -> None:
    tokenizer, _ = learn("char", "abc\n")
    assert tokenizer.encode("a\ud800").tolist() == [3, UNK]


def test_subwords_keep_specials_as_text() -> None:
    tokenizer, _ = learn("bpe", "the fox <s> ran\n" * 5)
    ids = tokenizer.encode("the <s> fox </s>")
    assert ids.min() > EOS
    assert tokenizer.decode(ids) == "the <s> fox </s>"
    with pytest.raises(UsageError, match="did you mean 'bpe'"):
        TOKENIZERS["bpee"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("the quick brown fox", "word"),
        ("Donaudampfschifffahrtsgesellschaft Rindfleischetikettierungsgesetz", "word"),
        ("老狐狸走过了结冰的河，去看望孤独的女巫。", "char"),
        ("老 狐狸 走 过了 结冰 的 河 ， 去 看望", "word"),
        ("กาลครั้งหนึ่งนานมาแล้วมีสุนัขจิ้งจอกแก่ตัวหนึ่ง", "char"),
        ("昔々あるところにおじいさんとおばあさんがいました", "char"),
        ("", "word"),
    ],
)
def test_the_tokenizer_that_suits_a_text(text: str, kind: str) -> None:
    assert suitable_tokenizer(Corpus.from_text(text + "\n")) == kind


def test_restricting_the_vocabulary_renumbers_it() -> None:
    tokenizer, _ = learn("word", "a b c\n")
    assert isinstance(tokenizer, WordTokenizer)
    kept = tokenizer.restrict(np.array([True, True, True, True, False, True]))
    assert kept.encode("a b c").tolist() == [3, UNK, 4]
    assert isinstance(learn("char", "ab\n")[0].restrict(np.array([1, 1, 1, 0, 1], bool)), CharTokenizer)


@pytest.mark.parametrize("kind", ["word", "char"])
@given(lines=lines, other=lines)
@settings(max_examples=30)
def test_an_extended_tokenizer_keeps_its_numbers_and_knows_the_new_text(
    kind: str, lines: list[str], other: list[str]
) -> None:
    lines, other = ([line.replace("<", "") for line in group] for group in (lines, other))
    old, _ = learn(kind, "\n".join(lines) + "\n")
    before = old.vocab.tokens
    new, ids = old.extended(Corpus.from_text("\n".join(other) + "\n"), options=TextConfig())
    assert new.vocab.tokens[: len(before)] == before == old.vocab.tokens
    assert len(set(new.vocab.tokens)) == len(new.vocab)
    assert np.array_equal(ids, new.encode_lines(other))
    assert UNK not in ids
    assert np.array_equal(new.encode_lines(lines), old.encode_lines(lines))


def test_which_words_are_added() -> None:
    old, _ = learn("word", "the fox\n")

    def added(text: str, **options: int) -> list[str]:
        new, ids = old.extended(Corpus.from_text(text), options=TextConfig(**options))  # type: ignore[arg-type]
        assert np.array_equal(ids, new.encode_block(text.encode()))
        return new.vocab.tokens[5:]

    text = "c the b b a a a the the the\n"
    assert added(text) == ["a", "b", "c"]
    assert added(text, min_count=2) == ["a", "b"]
    assert added(text, vocab_size=3) == ["a"]
    assert added(text, vocab_size=2) == []
    assert added("the fox\n") == []


def test_an_extended_tokenizer_knows_whether_a_text_writes_unk_and_reads_specials_as_before() -> None:
    old, _ = learn("word", "the fox\n", specials="skip")
    assert old.extended(Corpus.from_text("an owl\n"), options=TextConfig())[0].unk == "oov"
    new, ids = old.extended(Corpus.from_text("an <unk> <s>\n"), options=TextConfig())
    assert new.unk == "word"
    assert new.specials == "skip"
    assert ids.tolist() == [5, UNK, EOS]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_a_fixed_vocabulary_cannot_be_extended(kind: str) -> None:
    tokenizer, _ = learn(kind, "the fox\n" * 3)
    assert not tokenizer.extends
    with pytest.raises(UsageError, match="fixed"):
        tokenizer.extended(Corpus.from_text("the owl\n"), options=TextConfig())
