"""Cross-validation: folds are whole and apart, figures those of models trained by hand, the test is left alone."""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from pathlib import Path

import pytest

import lmkit
from lmkit import folds, selection
from lmkit.errors import DivergedError, InputError, ResourceError, UsageError
from lmkit.folds import deal
from lmkit.selection import crossval
from lmkit.text.corpus import Corpus
from lmkit.text.splits import TrainingLines
from lmkit.threads import cores

LINES = [f"the {animal} saw {n % 7} owls by the {place} ." for n, animal, place in (
    (n, ("fox", "owl", "hen")[n % 3], ("hill", "tree", "sea", "well")[n % 4]) for n in range(400)
)] + [f"line {n} is met once" for n in range(200)]  # fmt: skip
TEXT = "\n".join(LINES) + "\n\n\n"


def read(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def dealt(tmp_path: Path) -> Path:
    deal(Corpus.from_text(TEXT), tmp_path, k=4)
    return tmp_path


def test_every_line_is_measured_once_and_never_by_what_learnt_from_a_copy(dealt: Path) -> None:
    test = read(dealt / "test.txt")
    folds = [read(dealt / f"valid-{fold}.txt") for fold in range(4)]
    assert Counter(sum(folds, test)) == Counter(LINES)
    for fold, valid in enumerate(folds):
        train = read(dealt / f"train-{fold}.txt")
        assert not set(train) & {*valid, *test}
        assert Counter(line for line in train if line) == Counter(LINES) - Counter(valid) - Counter(test)
        assert train.count("") == 2


def test_folds_are_of_about_one_size(tmp_path: Path) -> None:
    deal(Corpus.from_text("".join(f"line {n}\n" for n in range(20_000))), tmp_path, k=5)
    sizes = [len(read(tmp_path / f"valid-{fold}.txt")) for fold in range(5)]
    assert min(sizes) > 0.9 * max(sizes)
    assert sum(sizes) == pytest.approx(0.95 * 20_000, rel=0.01)


def test_lines_keep_their_order(dealt: Path) -> None:
    rest = iter(TEXT.splitlines())
    assert all(line in rest for line in read(dealt / "rest.txt"))


def test_the_test_lines_are_those_that_training_holds_out(dealt: Path) -> None:
    lines = TrainingLines(Corpus.from_text(TEXT))
    for _ in lines.blocks():
        pass
    held_out = b"".join(lines.test.corpus("test").blocks())
    assert held_out == (dealt / "test.txt").read_bytes()


def test_the_figures_are_those_of_models_trained_by_hand(dealt: Path) -> None:
    found = crossval(TEXT, grid={"order": [1, 3]}, k=4)
    for configuration in found.configurations:
        models = [
            lmkit.train(dealt / f"train-{fold}.txt", holdout=0, **configuration.options) for fold in range(4)
        ]
        by_hand, learnt = (
            [
                lmkit.perplexity(model, dealt / f"valid-{(fold + ahead) % 4}.txt").perplexity
                for fold, model in enumerate(models)
            ]
            for ahead in (0, 1)
        )
        assert configuration.perplexities == pytest.approx(by_hand, rel=1e-6)
        assert configuration.learnt == pytest.approx(learnt, rel=1e-6)
        assert configuration.mean == pytest.approx(statistics.fmean(by_hand))
        assert configuration.deviation == pytest.approx(statistics.stdev(by_hand))
    assert [configuration.options["order"] for configuration in found.configurations] == [3, 1]
    assert found.test is None


def test_who_keeps_more_learns_its_own_text_better_by_heart() -> None:
    one, three = sorted(
        crossval(TEXT, grid={"order": [1, 3]}, k=3).configurations, key=lambda found: found.capacity
    )
    assert (one.options["order"], three.options["order"]) == (1, 3)
    assert three.training < one.training
    assert three.training < three.mean
    words = len(lmkit.train(TEXT, holdout=0, order=1).tokenizer.vocab)
    assert words - 200 < one.capacity <= words  # lines that are met once are in one fold each


def test_the_winner_is_trained_again_and_measured_on_the_test_lines(dealt: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = crossval(
        TEXT, grid={"order": [1, 2]}, k=4, refit=True, output=tmp_path / "best", report=said.append
    )
    by_hand = lmkit.train(dealt / "rest.txt", holdout=0, **found.best.options)
    assert found.test is not None
    assert found.test.perplexity == lmkit.perplexity(by_hand, dealt / "test.txt").perplexity
    saved = lmkit.load(tmp_path / "best")
    assert lmkit.perplexity(saved, dealt / "test.txt").perplexity == found.test.perplexity
    assert len(said) == 9
    assert said[-1].startswith("saved")
    with pytest.raises(UsageError, match="--force"):
        crossval(TEXT, grid={"order": [1]}, refit=True, output=tmp_path / "best")


def test_several_options_vary_together_and_others_stay() -> None:
    found = crossval(TEXT, grid={"order": [1, 2], "interpolate_unigrams": [True, False]}, k=2, min_count=2)
    assert len({tuple(c.options.items()) for c in found.configurations}) == 4
    assert all(math.isfinite(c.mean) for c in found.configurations)


def test_networks_are_compared_too() -> None:
    options = {"epochs": 1, "num_layers": 1, "device": "cpu", "threads": 1}
    found = crossval(TEXT, backend="rnn", grid={"hidden_size": [4, 8]}, k=2, **options)
    assert {c.options["hidden_size"] for c in found.configurations} == {4, 8}
    by_hand = lmkit.train(TEXT, backend="rnn", holdout=0, hidden_size=8, **options)
    assert by_hand.capacity() == sum(array.size for array in by_hand.arrays().values())
    (eight,) = (c.capacity for c in found.configurations if c.options["hidden_size"] == 8)
    assert eight is not None
    unseen = by_hand.capacity() - eight  # words that the folds lack: 8 weights, tied, and a bias each
    assert unseen % 9 == 0


def test_models_trained_at_once_are_those_trained_one_by_one() -> None:
    options = {"backend": "rnn", "epochs": 1, "num_layers": 1, "device": "cpu", "threads": 1}
    one_by_one, at_once = (
        crossval(TEXT, grid={"hidden_size": [4, 8]}, k=2, jobs=jobs, **options) for jobs in (1, 2)
    )
    assert [c.options for c in at_once.configurations] == [c.options for c in one_by_one.configurations]
    for ours, theirs in zip(at_once.configurations, one_by_one.configurations, strict=True):
        assert ours.perplexities == theirs.perplexities
        assert ours.capacity == theirs.capacity


def test_a_broken_process_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "judge", _dies)
    with pytest.raises(ResourceError, match="was ended"):
        crossval(TEXT, grid={"order": [1]}, k=2, jobs=2)


def _dies(*_: object, **__: object) -> None:
    os._exit(9)


def test_networks_are_trained_at_once_where_that_changes_nothing() -> None:
    def jobs(given: int | None = None, grid: object = None, **options: object) -> tuple[int, object]:
        chosen, of_fold = selection._shared_out(given, 5, options, grid or {})  # type: ignore[arg-type]
        return chosen, of_fold.get("threads")

    many = min(cores(), 5)
    for_cpu = {"backend": "rnn", "device": "cpu", "epochs": 2}
    assert jobs(**for_cpu) == (many, max(1, cores() // many) if many > 1 else None)
    assert jobs(**for_cpu, threads=cores()) == (1, cores())
    assert jobs(**for_cpu, grid={"threads": [1, 2]}) == (1, None)
    assert jobs(backend="rnn", device="cpu", budget="9s") == (1, None)
    assert jobs(**for_cpu, budget="9s") == (1, None)
    assert jobs(3, **for_cpu)[0] == 3
    assert jobs(backend="ngram") == (1, None)


def test_what_diverges_in_a_process_of_its_own_comes_last() -> None:
    options = {"backend": "rnn", "epochs": 30, "num_layers": 1, "device": "cpu", "threads": 1, "grad_clip": 0}
    said: list[str] = []
    grid = {"learning_rate": [1000.0, 0.01]}
    found = crossval(TEXT, grid=grid, k=2, jobs=2, hidden_size=4, report=said.append, **options)
    assert [c.options["learning_rate"] for c in found.configurations] == [0.01, 1000.0]
    assert found.configurations[1].mean == math.inf
    assert "left the finite numbers" in said[0] or "lower" in said[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": {"vocab_size": [10, 20]}}, "do not compare"),
        ({"grid": {"ordre": [2]}}, "order"),
        ({"grid": {"order": [0]}}, "out of range"),
        ({"grid": {"order": []}}, "has no values"),
        ({"grid": {"order": [2]}, "order": 3}, "given and varied at once"),
        ({"grid": {"patience": [1]}, "backend": "rnn"}, "validation"),
        ({"grid": {"loss": ["l1", "l2"]}, "backend": "rnn"}, "teacher"),
        ({"grid": {"order": [2]}, "jobs": 0}, "1 or more"),
        ({"grid": {"output": ["m"]}}, "no option 'output'"),
        ({"grid": {"order": [2]}, "valid": "v.txt"}, "no option 'valid'"),
        ({"grid": {"order": [2]}, "k": 1}, "from 2 to 50"),
        ({"grid": {"order": [2]}, "output": "best"}, "--refit"),
        ({"grid": {"order": [2, 3, 2]}}, "order has a value twice"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        crossval(TEXT, **options)  # type: ignore[arg-type]


def test_a_configuration_that_diverges_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(text: Path, *, order: int, **options: object) -> lmkit.LanguageModel:
        if order == 3:
            raise DivergedError("no number is left")
        return lmkit.train(text, order=order, **options)

    monkeypatch.setattr(folds, "train", train)
    said: list[str] = []
    found = crossval(TEXT, grid={"order": [3, 1]}, k=2, report=said.append)
    assert [c.options["order"] for c in found.configurations] == [1, 3]
    assert (found.configurations[1].mean, found.configurations[1].deviation) == (math.inf, math.inf)
    assert said[0].endswith("no number is left")


def test_configurations_that_know_other_words_are_not_compared() -> None:
    text = "".join(f"word{n // 2} in line {n}\n" for n in range(400))
    with pytest.raises(UsageError, match="other words are unknown than before"):
        crossval(text, grid={"prune": [(0,), (1,)]}, k=2)


def test_bytes_that_are_no_text_are_dealt_to_models_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "c.bin").write_bytes(b"".join(b"\xff\xfe line %d\n" % n for n in range(200)))
    corpus = Corpus.from_paths(tmp_path / "c.bin")
    assert crossval(corpus, grid={"order": [2]}, k=2, tokenizer="byte").best.mean < 256
    assert not corpus.raw


def test_a_short_text_is_refused() -> None:
    with pytest.raises(InputError, match="too few for 5 folds"):
        crossval("one line\nand two\n", grid={"order": [2]})
