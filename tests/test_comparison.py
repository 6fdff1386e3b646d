"""Comparing models: the unit, the bootstrap, and what is said of lines; and telling classes apart by their models."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lmkit
from lmkit.bootstrap import paired_bootstrap
from lmkit.errors import UsageError
from tests.conftest import STORY

Run = Callable[..., subprocess.CompletedProcess[bytes]]
OTHER = "the old owl ran over the hill .\nan owl sat in the tree .\n\nthe fox saw the young owl .\n" * 20


def model(**options: object) -> lmkit.LanguageModel:
    return lmkit.train(STORY, holdout=0, **{"tokenizer": "word", **options})  # type: ignore[arg-type]


def test_models_of_the_same_tokens_compare_by_the_token() -> None:
    models = {"uni": model(order=1), "tri": model(order=3), "again": model(order=3)}
    found = lmkit.compare(models, OTHER)
    assert (found.unit, found.flattered) == ("token", dict.fromkeys(models, 20))
    for name, of_model in models.items():
        assert found.contenders[name].evaluation == lmkit.perplexity(of_model, OTHER)
    uni, tri = (found.contenders[name].evaluation.bits_per_token for name in ("uni", "tri"))
    difference = found.contenders["tri"].against_first
    assert difference is not None
    assert difference.estimate == pytest.approx(tri - uni)
    assert difference.low <= difference.estimate <= difference.high < 0
    assert difference.p_value < 0.01
    same = (
        lmkit.compare({"one": models["tri"], "two": models["again"]}, OTHER).contenders["two"].against_first
    )
    assert same is not None
    assert (same.estimate, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_the_order_of_a_vocabulary_makes_no_other_tokens(tmp_path: Path) -> None:
    one = model(order=2)
    lmkit.write_arpa(one, tmp_path / "one.arpa")
    lines = (tmp_path / "one.arpa").read_text().splitlines(keepends=True)
    first = lines.index("\\1-grams:\n") + 1
    last = lines.index("\n", first)
    lines[first:last] = reversed(lines[first:last])
    (tmp_path / "other.arpa").write_text("".join(lines))
    other = lmkit.read_arpa(tmp_path / "other.arpa", tokenizer="word")
    assert one.tokenizer.vocab != other.tokenizer.vocab
    found = lmkit.compare({"one": one, "other": other}, OTHER)
    assert found.unit == "token"
    difference = found.contenders["other"].against_first
    assert difference is not None
    assert abs(difference.estimate) < 1e-6


def test_a_line_that_a_model_has_for_impossible_leaves_nothing_sure() -> None:
    parts = [lmkit.train(text, tokenizer="word", order=2, holdout=0) for text in (STORY, OTHER)]
    blind = lmkit.mix(parts, weights=[1.0, 0.0])  # to the word "an", as the other one is not
    models = {"sighted": parts[1], "blind": blind, "blind too": lmkit.mix(parts, weights=[1.0, 0.0])}
    found = lmkit.compare(models, OTHER)
    for name in ("blind", "blind too"):
        difference = found.contenders[name].against_first
        assert difference is not None
        assert difference.estimate == np.inf
        assert np.isnan([difference.low, difference.high, difference.p_value]).all()
    assert "an" in max(found.lines, key=lambda line: line.bits).text.split()
    both = lmkit.compare({"blind": blind, "blind too": models["blind too"]}, OTHER)
    assert np.isnan(both.contenders["blind too"].against_first.p_value)  # type: ignore[union-attr]


def test_models_of_other_tokens_compare_by_the_byte_and_it_is_said_who_is_flattered() -> None:
    models = {"words": model(), "letters": model(tokenizer="char"), "bytes": model(tokenizer="byte", order=4)}
    found = lmkit.compare(models, OTHER)
    assert (found.unit, found.flattered) == ("byte", {"words": 20})
    a, b = (found.contenders[name].evaluation for name in ("words", "bytes"))
    difference = found.contenders["bytes"].against_first
    assert difference is not None
    assert difference.estimate == pytest.approx(
        b.bits_per_token * b.tokens / b.bytes - a.bits_per_token * a.tokens / a.bytes
    )


def test_lines_that_differ_most_are_named() -> None:
    models = {"uni": model(order=1), "tri": model(order=3)}
    text = OTHER + "the the the the\n"
    found = lmkit.compare(models, text, lines=2)
    scores = [list(lmkit.line_scores(of_model, text)) for of_model in models.values()]
    bits = [(a.logprob - b.logprob) / np.log(2) for a, b in zip(*scores, strict=True)]
    assert found.lines[0].bits == pytest.approx(min(bits))
    worst = [line for line in found.lines if line.bits > 0]
    assert worst[0].text == "the the the the"
    assert worst[0].number == len(bits)
    assert len({(line.name, line.number) for line in found.lines}) == len(found.lines)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        sizes = rng.integers(1, 20, 300)
        differences = 0.1 * sizes + rng.normal(size=300) * np.sqrt(sizes)
        found = paired_bootstrap(differences, sizes, resamples=500)
        covered += found.low <= 0.1 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_lines_that_stand_together_are_drawn_together() -> None:
    rng = np.random.default_rng(2)
    runs = np.repeat(rng.normal(size=400), 25)  # what one line says the next ones say again
    together = paired_bootstrap(runs, np.ones(len(runs)), resamples=2000)
    apart = paired_bootstrap(rng.permutation(runs), np.ones(len(runs)), resamples=2000)
    assert 4 < (together.high - together.low) / (apart.high - apart.low) < 6  # 5 is the root of 25


def test_a_seed_is_looked_at_before_any_work() -> None:
    models = {"uni": model(order=1), "tri": model(order=3)}
    with pytest.raises(UsageError, match="seed -1"):
        lmkit.compare(models, "missing.txt", seed=-1)


def test_lines_that_no_model_has_hide_no_others() -> None:
    parts = [
        lmkit.train(text, tokenizer="word", order=n, holdout=0)
        for text, n in ((STORY, 1), (STORY, 3), (OTHER, 2))
    ]
    blind = {str(n): lmkit.mix([parts[n], parts[2]], weights=[1.0, 0.0]) for n in (0, 1)}  # to the word "an"
    found = lmkit.compare(blind, "an owl\n" * 5 + "the the the the\nthe fox ran over the hill .\n", lines=2)
    assert [line.bits < 0 for line in found.lines] == [True, False]
    assert found.lines[1].text == "the the the the"


@pytest.mark.parametrize("lines", [1, 3, 19])
def test_of_a_few_lines_nothing_more_is_said(lines: int) -> None:
    found = paired_bootstrap(np.ones(lines), np.full(lines, 2.0))
    assert found.estimate == 0.5
    assert np.isnan([found.low, found.high, found.p_value]).all()


def test_a_line_is_of_the_class_whose_model_finds_it_likeliest() -> None:
    english, german = "the fox ran over the old hill\n" * 9, "der fuchs lief über den alten berg\n" * 9
    models = {
        name: lmkit.train(text, tokenizer="char", order=3, holdout=0)
        for name, text in (("en", english), ("de", german))
    }
    lines = ["the old fox", "der alte fuchs", "über den berg", "ran the hill"]
    found = list(lmkit.classify(models, "\n".join(lines)))
    assert [line.label for line in found] == ["en", "de", "de", "en"]
    assert [line.text for line in found] == lines
    for line in found:
        for name, of_class in models.items():
            assert line.logprobs[name] == pytest.approx(
                of_class.score(line.text).sum(dtype=np.float64), rel=1e-5
            )
        mass = {name: np.exp(logprob) for name, logprob in line.logprobs.items()}
        assert line.probability == pytest.approx(mass[line.label] / sum(mass.values()), rel=1e-6)
    sure = list(lmkit.classify(models, "\n".join(lines), prior={"en": 1e-9, "de": 1 - 1e-9}))
    assert sure[0].logprobs == found[0].logprobs
    mass = {name: np.exp(logprob) * {"en": 1e-9, "de": 1}[name] for name, logprob in sure[3].logprobs.items()}
    assert sure[3].probability == pytest.approx(mass[sure[3].label] / sum(mass.values()), rel=1e-6)


def test_a_line_that_no_class_has_leaves_the_prior() -> None:
    parts = [lmkit.train(text, tokenizer="word", order=2, holdout=0) for text in (STORY, OTHER)]
    blind = {name: lmkit.mix(parts, weights=[1.0, 0.0]) for name in ("a", "b")}  # to the word "an"
    (found,) = lmkit.classify(blind, "an owl .\n", prior={"a": 1.0, "b": 3.0})
    assert (found.label, found.probability) == ("b", pytest.approx(0.75))
    assert set(found.logprobs.values()) == {-np.inf}


def test_what_cannot_be_told_apart() -> None:
    one = model()
    with pytest.raises(UsageError, match="two models"):
        list(lmkit.classify({"a": one}, OTHER))
    with pytest.raises(UsageError, match="prior"):
        list(lmkit.classify({"a": one, "b": one}, OTHER, prior={"a": 1.0}))


def test_on_the_command_line(lmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(STORY * 5)
    (tmp_path / "other.txt").write_text(OTHER)
    for name, options in (("one", ("--order", 1)), ("three", ()), ("letters", ("--tokenizer", "char"))):
        assert lmkit("train", "text.txt", "-o", name, "--holdout", 0, "-q", *options).returncode == 0
    run = lmkit("compare", "one", "three", "letters", "other.txt")
    shown = run.stdout.decode()
    assert "compared by the byte" in shown
    assert "three - one:" in shown
    assert "flatters" in shown
    facts = json.loads(lmkit("compare", "one", "three", "other.txt", "--json").stdout)
    assert (facts["unit"], facts["schema"]) == ("token", 1)
    assert facts["models"][1]["against_first"]["estimate"] < 0
    assert facts["models"][1]["bits_per_byte"] is None  # there are unknown words
    assert facts["models"][1]["cost_per_byte"] > 0
    (tmp_path / "ringing.txt").write_text("the fox \x1b[2J ran\n" * 2)
    for command in (("compare", "one", "three"), ("score", "-m", "one")):
        shown = lmkit(*command, "ringing.txt").stdout
        assert b"\\x1b[2J" in shown
        assert b"\x1b" not in shown
    assert lmkit("compare", "one", "three", "other.txt", "--seed", -1).returncode == 2
    (tmp_path / "short.txt").write_text("the fox ran\n")
    short = lmkit("compare", "one", "three", "short.txt")
    assert b"too few lines" in short.stdout
    assert (
        json.loads(lmkit("compare", "one", "three", "short.txt", "--json").stdout)["models"][1][
            "against_first"
        ]["p_value"]
        is None
    )
    assert lmkit("compare", "one", "other.txt").returncode == 2
    assert b"thre: no such file" in lmkit("compare", "one", "thre").stderr
    assert lmkit("export", "-m", "three", "--arpa", "three.arpa").returncode == 0
    assert b"three.arpa - one:" in lmkit("compare", "one", "three.arpa", "other.txt").stdout
    assert lmkit("compare", "one", "three").returncode == 2  # nothing was held out
    options = ("other.txt", "--model", "x=one", "--model", "y=three")
    rows = lmkit("classify", *options).stdout.decode().splitlines()
    assert len(rows) == OTHER.count("\n")
    assert rows[0].split("\t")[0] == "y"
    first = json.loads(lmkit("classify", *options, "--json", "--prior", "9,1").stdout.splitlines()[0])
    assert first["logprobs"].keys() == first["oov"].keys() == {"x", "y"}
    (tmp_path / "many.txt").write_text(OTHER * 200)
    piped = lmkit("classify", "-", *options[1:], stdin=(OTHER * 200).encode()).stdout
    assert (
        piped == lmkit("classify", "many.txt", *options[1:]).stdout
    )  # each model reads standard input by itself
    for wrong in (("--model", "x"), ("--prior", "1"), ("--prior", "a,b")):
        assert lmkit("classify", *options, *wrong).returncode == 2


def test_who_has_learnt_what_another_held_out_is_named(lmkit: Run, tmp_path: Path) -> None:
    lines = [f"the fox ran over hill {number} .\n" for number in range(300)]
    (tmp_path / "text.txt").write_text("".join(lines))
    (tmp_path / "given.txt").write_text("".join(lines[:40]))
    for name, options in (("careful", ()), ("same", ("--order", 2)), ("greedy", ("--holdout", 0))):
        assert lmkit("train", "text.txt", "-o", name, "-q", *options).returncode == 0
    assert lmkit("train", "text.txt", "--test", "given.txt", "-o", "given", "-q").returncode == 0
    assert lmkit("train", "given.txt", "--holdout", 0, "-o", "cheat", "-q").returncode == 0
    for models, named in (
        (("careful", "same"), b""),
        (("careful", "greedy"), b"greedy was trained on lines that careful held out"),
        (("given", "cheat"), b"cheat was trained on lines that given held out"),
    ):
        for command in (("compare",), ("mix", "-o", "mixed", "--force")):
            if command[0] == "mix" and models[0] == "given":
                continue  # which has no validation text
            run = lmkit(*command, *models)
            assert run.returncode == 0, run.stderr
            assert named in run.stderr
            assert (b"was trained on lines" in run.stderr) == bool(named)
    assert b"was trained on" not in lmkit("compare", "careful", "greedy", "given.txt").stderr
