"""The corpus of fables: its files, its probabilities and its entropy agree with each other."""

from __future__ import annotations

import math
import random
from itertools import chain, pairwise
from pathlib import Path

import pytest

from corpora import stories
from corpora.grammar import Grammar, Scope, Symbol

FOLDER = Path(stories.__file__).parent / "stories"

SMALL = """
rule story
  the {who:animal} met the {other:person} <where> , and {other.he} gave {who.him} {gift:other.goods}
  a riddle for the {who:animal} : <answer:who.trait>

rule where
  by the sea
  at home

rule answer:sly
  yes
  no , said the {who}
rule answer:kind
  perhaps

table animal name | him | trait
  fox | her | sly
  old fox | him | sly
  mouse | her | kind

table person name | he | goods
  miller | he | food
  smith | he | tools

table food a
  a loaf
  a bun
table tools a
  a key
"""


@pytest.fixture(scope="module")
def source() -> stories.Source:
    return stories.source()


@pytest.fixture(scope="module")
def sample(source: stories.Source) -> list[tuple[str, float]]:
    """Lines with the log-probability of the derivation that made them."""
    rng = random.Random(271828)
    return [source.derive(rng) for _ in range(2000)]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[str]]:
    return {name: (FOLDER / name).read_text(encoding="utf-8").splitlines() for name in stories.SIZES}


def every_line(grammar: Grammar) -> dict[str, float]:
    """Every line of a small grammar with its probability, summed over its derivations."""
    lines: dict[str, float] = {}
    todo: list[tuple[float, str, tuple[Symbol, ...], Scope]] = [(1.0, "", grammar.start, ())]
    while todo:
        p, text, symbols, scope = todo.pop()
        if not symbols:
            line = text.strip().removesuffix(" </s>")
            lines[line] = lines.get(line, 0.0) + p
        elif isinstance(symbols[0], str):
            todo.append((p, f"{text} {symbols[0]}", symbols[1:], scope))
        else:
            for q, body, inner in grammar.expand(symbols[0], scope):
                todo.append((p * q, text, body + symbols[1:], inner))
    return lines


def test_the_files_are_those_of_the_seed() -> None:
    for name, text in stories.generate(stories.SEED).items():
        assert (FOLDER / name).read_bytes() == text.encode(), name


def test_a_small_source_sums_to_one_and_its_entropy_is_that_of_its_list_of_lines() -> None:
    small = stories.Source(Grammar(SMALL))
    lines = every_line(small.grammar)
    assert math.fsum(lines.values()) == pytest.approx(1, abs=1e-12)
    assert {line: math.exp(small.log_probability(line)) for line in lines} == pytest.approx(lines)
    assert small.entropy() == pytest.approx(-math.fsum(p * math.log(p) for p in lines.values()))
    assert small.expected_tokens() == pytest.approx(
        math.fsum(p * (len(s.split()) + 1) for s, p in lines.items())
    )


def test_the_probability_of_an_ambiguous_line_is_summed_over_its_derivations() -> None:
    ambiguous = Grammar("rule s\n  a <t>\n  a b\nrule t\n  b\n  c\n")
    assert len(list(ambiguous.clashes())) == 1
    two = stories.Source(ambiguous)
    assert math.exp(two.log_probability("a b")) + math.exp(two.log_probability("a c")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule s\n  a {who.name}\n", "not always drawn"),
        ("rule s\n  {who:t} {who:t}\ntable t name\n  fox\n", "second time"),
        ("rule s\n  a <nowhere>\n", "no rule nowhere"),
        ("rule s\n  a <s>\n", "cycle"),
        ("rule s\n  {who:t}\ntable t name | he\n  fox\n", "columns"),
    ],
)
def test_a_grammar_without_an_exact_meaning_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stories.Source(Grammar(text))


def test_the_grammar_is_unambiguous_by_construction(source: stories.Source) -> None:
    assert list(source.grammar.clashes()) == []


def test_the_probability_of_a_line_is_that_of_its_derivation(
    source: stories.Source, sample: list[tuple[str, float]]
) -> None:
    for line, logprob in sample:
        assert source.log_probability(line) == pytest.approx(logprob, abs=1e-9), line


def test_the_exact_entropy_and_length_are_those_of_a_sample(
    source: stories.Source, sample: list[tuple[str, float]]
) -> None:
    surprisals = [-logprob for _, logprob in sample]
    lengths = [len(line.split()) + 1.0 for line, _ in sample]
    for values, exact in ((surprisals, source.entropy()), (lengths, source.expected_tokens())):
        mean = math.fsum(values) / len(values)
        variance = math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)
        assert abs(mean - exact) < 4 * math.sqrt(variance / len(values))


def test_the_files_have_the_perplexity_of_the_source(
    source: stories.Source, splits: dict[str, list[str]]
) -> None:
    lines = splits["test.txt"]
    error = stories.standard_error(lines)
    assert 0 < error < 0.03
    assert abs(math.log(stories.perplexity(lines)) - source.entropy_rate()) < 4 * error


def test_a_changed_word_is_impossible_or_another_story(
    source: stories.Source, sample: list[tuple[str, float]]
) -> None:
    for line, _ in sample[:50]:
        words = line.split()
        for i in (0, len(words) // 2, len(words) - 1):
            assert source.log_probability(" ".join([*words[:i], "xylophone", *words[i + 1 :]])) == -math.inf
    assert source.log_probability("") == -math.inf
    assert source.log_probability(sample[0][0] + " </s>") == -math.inf


def test_pronouns_agree_over_a_distance(source: stories.Source, sample: list[tuple[str, float]]) -> None:
    """A hero who is a he at the start of a line cannot be a she at the end."""
    his = [line for line, _ in sample if " hare " in line and " to his meadow" in line]
    assert his
    assert all(
        source.log_probability(line.replace("to his meadow", "to her meadow")) == -math.inf for line in his
    )


def test_the_lengths_of_the_lines(splits: dict[str, list[str]]) -> None:
    lengths = sorted(len(line.split()) for line in chain(*splits.values()))
    assert lengths[0] >= 15
    assert 40 <= lengths[len(lengths) // 2] <= 60
    assert lengths[-1] <= 110


def test_the_splits_hardly_share_a_line(splits: dict[str, list[str]]) -> None:
    lines = list(chain(*splits.values()))
    assert 1 - len(set(lines)) / len(lines) < 0.01
    seen = set(splits["train.txt"])
    for name in ("valid.txt", "test.txt"):
        assert sum(line in seen for line in splits[name]) < 0.01 * len(splits[name])


def test_the_words_of_the_files_are_plain(splits: dict[str, list[str]]) -> None:
    for line in chain(*splits.values()):
        assert line == " ".join(line.split()) == line.lower()
        words = line.split()
        for article, noun in pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (noun[0] in "aeiou" or noun in ("honest", "hour")), line


def test_the_readme_gives_the_exact_figures(source: stories.Source, splits: dict[str, list[str]]) -> None:
    text = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    rate = source.entropy_rate()
    exact = (source.entropy(), source.expected_tokens(), rate, rate / math.log(2))
    for figure in [f"{x:.6f}" for x in exact] + [f"| {math.exp(rate):.4f} |", f"seed {stories.SEED}"]:
        assert figure in text
    for name in ("valid.txt", "test.txt"):
        measured, error = stories.perplexity(splits[name]), stories.standard_error(splits[name])
        assert f"{measured:.4f} (standard error {error:.4f} nats per token)" in text
