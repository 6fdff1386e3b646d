"""Words that read well: WikiText, the Penn Treebank, Chinese; and that nothing unsafe is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.cli.printing import harmless, json_line
from lmkit.generation.detokenizing import Capitals, Detokenizer
from lmkit.generation.prefixes import read_prefix
from lmkit.generation.writing import BytesWriter, writer
from lmkit.model import LanguageModel
from lmkit.text.byte import ByteTokenizer
from lmkit.text.vocabulary import Vocabulary
from lmkit.text.word import WordTokenizer


def read_well(line: str, after: str = "") -> str:
    detokenizer = Detokenizer()
    if after:
        detokenizer.read(after)
    return "".join(detokenizer.push(word) for word in line.split(" "))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("the fox , and the owl .", "the fox, and the owl."),
        ('he said : " no ! " and " yes " .', 'he said: "no!" and "yes".'),
        ("a well @-@ known fox of 1 @,@ 000 @.@ 5 km", "a well-known fox of 1,000.5 km"),
        ("the fox 's tail did n't fall , we 've seen", "the fox's tail didn't fall, we've seen"),
        ("the owls ' nest ( old ) [ sic ] ; 50 % of $ 5", "the owls' nest (old) [sic]; 50% of $5"),
        ("he called it ' odd ' twice", "he called it 'odd' twice"),
        ("`` no '' , she said -LRB- twice -RRB-", '"no", she said (twice)'),
        ("= = Plot = =", "== Plot =="),
        ("1990 – 1995 — and more …", "1990 – 1995 — and more…"),
        ("老 狐狸 ， 走 了 。", "老狐狸，走了。"),
        ("he ate 老 狐狸 here", "he ate 老狐狸 here"),
        ("« oui » , “ yes ”", "«oui», “yes”"),
        ("„ Guten Abend , “ sagte er , „ ja ‚ so ‘ . “", "„Guten Abend,“ sagte er, „ja ‚so‘.“"),
        ('er rief : „ nein " und " doch "', 'er rief: „nein" und "doch"'),
        ("„ tak ” i “ yes ”", "„tak” i “yes”"),
        ('" open \n " open', '"open\n"open'),
        ("fox, and owl.", "fox, and owl."),
    ],
)
def test_spaces_are_where_they_belong(words: str, text: str) -> None:
    assert read_well(words) == text


def test_a_prefix_is_gone_on_from() -> None:
    assert read_well(", she said", after='he said "no') == ", she said"
    assert read_well('" , she said', after='he said "no') == '", she said'
    assert read_well("no !", after='he said "') == "no!"
    assert read_well("yes", after='"no"') == " yes"
    assert read_well("fox", after="the ") == "fox"
    assert read_well("fox", after="the old\n") == "fox"
    assert read_well("fox )", after="the old (") == "fox)"
    assert read_well("gut “ , sagte er", after="„das ist") == " gut“, sagte er"
    assert read_well("gut", after="er sagte: „") == "gut"
    assert read_well("sagte er", after="„das ist gut,“") == " sagte er"


@given(st.lists(st.sampled_from(["a", '"', "'", ".", "(", ")", "@-@", "'s", "=", "``", "''", "\n", "老"])))
def test_no_letter_is_lost_and_no_two_spaces_meet(words: list[str]) -> None:
    text = read_well(" ".join(words)) if words else ""
    assert "  " not in text
    assert [c for c in text if c.isalpha()] == [c for word in words for c in word if c.isalpha()]
    assert text.count("\n") == words.count("\n")


def test_capitals_at_the_beginning_of_sentences() -> None:
    text = 'it was old. "so," he said... then no! yes?\nwell (and 3.5) e.g. it. ß'
    wanted = 'It was old. "So," he said... Then no! Yes?\nWell (and 3.5) e.g. It. ß'
    assert Capitals().push(text) == wanted
    piecewise = Capitals()
    assert "".join(piecewise.push(c) for c in text) == wanted
    after = Capitals()
    after.push("The end. ")
    assert after.push("a fox") == "A fox"


@given(st.binary(max_size=12))
def test_bytes_are_never_written_raw_nor_in_half_characters(data: bytes) -> None:
    data = data.replace(b"\n", b"")
    tokenizer = ByteTokenizer()
    tokens = [3 + byte - (byte > 10) for byte in data]
    bytes_writer = BytesWriter(tokenizer)
    pieces = [bytes_writer.push(token) for token in tokens]
    text = "".join(pieces) + bytes_writer.close()
    assert text == data.decode("utf-8", errors="replace") == tokenizer.decode(tokens)


def test_text_by_pieces_is_the_text_at_once(characters: LanguageModel, subwords: LanguageModel) -> None:
    for model in (characters, subwords):
        for sample in lmkit.generate(model, "", samples=20, seed=1, temperature=2.0, lines=0, max_tokens=50):
            assert sample.text == model.tokenizer.decode(sample.ids)


@given(st.lists(st.integers(3, 40)))
def test_words_left_apart_can_be_read_again(ids: list[int]) -> None:
    tokenizer = WordTokenizer(
        vocab=Vocabulary.from_tokens([f"w{i}" for i in range(3, 38)] + [".", '"', "@-@"])
    )
    raw = writer(tokenizer, read_prefix(tokenizer, ""), raw=True, capitalize=False)
    assert tokenizer.encode("".join(map(raw.push, ids))).tolist() == ids


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert harmless("a\x1b[31mb\x07\r\x9b2J\x7f") == "a\\x1b[31mb\\x07\\r\\x9b2J\\x7f"
    assert harmless("\u202eabc\u2066") == "\\u202eabc\\u2066"
    assert harmless("señor\t老\u3000狐\n😀") == "señor\t老\u3000狐\n😀"
    assert json.loads(json_line({"a": "\x9b\x1b\u202eé\n"})) == {"a": "\x9b\x1b\u202eé\n"}
    assert not {"\x9b", "\x1b", "\u202e"} & set(json_line({"a": "\x9b\x1b\u202eé\n"}))
