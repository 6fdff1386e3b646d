"""What is chosen where nothing was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lmkit.config import RnnConfig
from lmkit.errors import ResourceError
from lmkit.rnn import plan
from lmkit.rnn.plan import (
    FEW_WORDS,
    MANY_WORDS,
    MANY_WORDS_ON_A_GPU,
    rate,
    settle,
    suited,
    suited_sizes,
)

CPU = torch.device("cpu")
WORDS = 20_000
IDS = np.random.default_rng(0).integers(3, WORDS, 200_000).astype(np.int32)


def settled(vocab_size: int = WORDS, *, processes: int = 1, **options: Any) -> tuple[RnnConfig, list[str]]:
    lines: list[str] = []
    ids = np.minimum(IDS, vocab_size - 1)
    config = RnnConfig(**options)
    return settle(config, ids, vocab_size, device=CPU, report=lines.append, processes=processes), lines


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that trains 1e9 weights a second, at once."""

    def trial(config: RnnConfig, ids: np.ndarray, vocab_size: int, **_: Any) -> float:
        return 1e9 / (config.hidden_size or 1) ** 2

    monkeypatch.setattr(plan, "trial", trial)


@pytest.mark.usefixtures("fast")
def test_more_time_gives_a_larger_network_and_more_noise() -> None:
    found = [settled(budget=f"{seconds}s")[0] for seconds in (10, 30, 100, 300, 3000)]
    units = [config.hidden_size or 0 for config in found]
    assert units == sorted(units)
    assert units[0] == MANY_WORDS["tiny"].units
    assert units[-1] == MANY_WORDS["large"].units
    assert (found[0].regularize or 0) < (found[-1].regularize or 0)


@pytest.mark.usefixtures("fast")
def test_nothing_is_left_open_and_the_choice_is_said() -> None:
    config, lines = settled(budget="100s")
    chosen = (
        "num_layers",
        "hidden_size",
        "embedding_size",
        "batch_size",
        "bptt",
        "learning_rate",
        "regularize",
    )
    assert all(getattr(config, name) is not None for name in chosen)
    assert "auto" not in (config.head, config.precision)
    text = "\n".join(lines)
    assert "tokens/s" in text
    assert "passes over the text in 100 s" in text
    assert f"{config.hidden_size} units" in text
    assert "20,000 words" in text


@pytest.mark.usefixtures("fast")
def test_what_was_asked_for_stays() -> None:
    options: dict[str, Any] = {
        "num_layers": 1,
        "hidden_size": 50,
        "embedding_size": 30,
        "batch_size": 3,
        "bptt": 11,
        "head": "adaptive",
        "regularize": 0.1,
        "learning_rate": 0.5,
        "precision": "float32",
    }
    config, _ = settled(budget="100s", **options)
    assert {name: getattr(config, name) for name in options} == options
    assert settled(size="tiny", budget="1h")[0].hidden_size == MANY_WORDS["tiny"].units


@pytest.mark.usefixtures("fast")
def test_only_wide_layers_are_trained_in_the_precision_that_products_are_fastest_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "fastest", lambda device: "bfloat16")
    monkeypatch.setattr(plan, "check_layers", lambda config, device: None)  # wherever the test runs
    found = [settled(epochs=1, hidden_size=units)[0].precision for units in (8, 512)]
    assert found == ["float32", "bfloat16"]
    assert settled(budget="100s")[0].precision == "bfloat16"


@pytest.mark.usefixtures("fast")
def test_the_cell_suits_the_device_and_the_text_unless_it_is_asked_for() -> None:
    gpu = torch.device("cuda")
    assert suited(CPU, small=False, weight_drop=False) == "sru"
    assert {
        suited(gpu, small=False, weight_drop=False),
        suited(CPU, small=True, weight_drop=False),
        suited(CPU, small=False, weight_drop=True),
    } == {"lstm"}
    found = [settled(budget="100s", **asked)[0] for asked in ({}, {"weight_drop": 0.5}, {"cell": "gru"})]
    assert [(config.cell, config.num_layers) for config in found] == [("sru", 4), ("lstm", 2), ("gru", 2)]


def test_sizes_suit_the_device_and_the_text() -> None:
    gpu = torch.device("cuda")
    assert suited_sizes(CPU, small=False) == MANY_WORDS
    assert suited_sizes(CPU, small=True) == suited_sizes(gpu, small=True) == FEW_WORDS
    assert suited_sizes(gpu, small=False) == MANY_WORDS_ON_A_GPU
    for sizes in (MANY_WORDS, FEW_WORDS, MANY_WORDS_ON_A_GPU):
        units, passes = zip(*sizes.values(), strict=True)
        assert list(units) == sorted(units)
        assert list(passes) == sorted(passes)


def test_wide_layers_have_a_lower_rate_unless_one_is_asked_for() -> None:
    for head, widths in (("sampled", (16, 128, 256)), ("full", (16, 512, 2048))):
        rates = [settled(epochs=8, hidden_size=units, head=head)[0].learning_rate or 0.0 for units in widths]
        assert rates[0] == rates[1] == 2 * rates[2]
    assert settled(epochs=1, hidden_size=2048, learning_rate=0.1)[0].learning_rate == 0.1
    plain = settled(epochs=1, optimizer="sgd")[0]
    assert plain.learning_rate == 20.0
    assert plain.learning_rate * plain.weight_decay < 1e-4 < (settled(epochs=1)[0].weight_decay or 0)


def test_streams_can_be_shared_among_processes() -> None:
    assert [settled(epochs=1, processes=count)[0].batch_size for count in (1, 3, 5, 64)] == [28, 27, 25, 64]
    assert settled(epochs=1, processes=3, batch_size=8)[0].batch_size == 8


@pytest.mark.usefixtures("fast")
def test_no_more_passes_are_counted_on_than_there_will_be() -> None:
    endless = settle(RnnConfig(hidden_size=1), IDS, WORDS, device=CPU, report=None)
    counted = settle(RnnConfig(hidden_size=1, epochs=40), IDS, WORDS, device=CPU, report=None)
    assert endless.learning_rate == counted.learning_rate == 0.0048
    asked = settle(RnnConfig(hidden_size=1, budget="600s"), IDS, WORDS, device=CPU, report=None)
    assert asked.learning_rate == 0.004


@pytest.mark.usefixtures("fast")
def test_a_size_that_does_not_fit_into_memory_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def trial(config: RnnConfig, ids: np.ndarray, vocab_size: int, **_: Any) -> float:
        if (config.hidden_size or 0) > 256:
            raise ResourceError("too large")
        return 1e7

    monkeypatch.setattr(plan, "trial", trial)
    assert settled(budget="1h")[0].hidden_size == 256


def test_a_gpu_reads_wide_and_tries_every_size_since_width_costs_it_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "trial", lambda config, ids, vocab_size, **_: 1e4)
    monkeypatch.setattr(plan, "fastest", lambda device: "bfloat16")
    ids = np.tile(IDS, 10)
    for seconds, units in ((300, 400), (1100, 650)):
        options = RnnConfig(budget=f"{seconds}s")
        config = settle(options, ids, WORDS, device=torch.device("cuda"), report=None)
        assert (config.cell, config.head, config.hidden_size, config.batch_size) == (
            "lstm",
            "full",
            units,
            64,
        )
    passes = settle(RnnConfig(epochs=3), ids, WORDS, device=torch.device("cuda"), report=None)
    assert passes.hidden_size == MANY_WORDS["medium"].units


def test_a_short_training_has_a_higher_rate() -> None:
    rates = [rate(passes, 256) for passes in (0.1, 1, 2, 5, 8, 1000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == rates[1] == pytest.approx(4 * rates[-1])
    assert rates[2] > rates[3] > rates[4] > rates[5]


def test_passes_need_no_measuring() -> None:
    config, lines = settled(epochs=3)
    assert config.hidden_size == MANY_WORDS["small"].units
    assert not any("tokens/s" in line for line in lines)


def test_few_words_have_a_full_head_and_many_a_sampled_one() -> None:
    assert settled(vocab_size=100, epochs=1)[0].head == "full"
    assert settled(epochs=1)[0].head == "sampled"


def test_a_mean_of_the_weights_is_for_many_passes_and_steps() -> None:
    often = {"hidden_size": 8, "learning_rate": 1e-3, "regularize": 0.0}
    assert settled(epochs=10, **often)[0].averaging == "mean"  # of 89 steps each
    assert settled(epochs=2.9, batch_size=4, **often)[0].averaging == "off"
    assert settled(epochs=4, **often)[0].averaging == "off"
    assert settled(epochs=10, optimizer="sgd", **often)[0].averaging == "off"
    assert settled(epochs=1, averaging="mean", **often)[0].averaging == "mean"


@pytest.mark.usefixtures("fast")
def test_passes_that_were_asked_for_limit_the_size() -> None:
    assert settled(budget="3000s")[0].hidden_size == MANY_WORDS["large"].units
    for epochs, size in ((1, "tiny"), (4, "small"), (9, "medium")):
        assert settled(budget="3000s", epochs=epochs)[0].hidden_size == MANY_WORDS[size].units


def test_processes_are_tried_with_the_streams_that_each_will_have(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: set[int | None] = set()

    def trial(config: RnnConfig, ids: np.ndarray, vocab_size: int, **_: Any) -> float:
        widths.add(config.batch_size)
        return 1e5

    monkeypatch.setattr(plan, "trial", trial)
    config, lines = settled(budget="100s", processes=4, batch_size=32)
    assert widths == {8}
    assert config.batch_size == 32
    assert lines[0].startswith("400,000 tokens/s")


def test_who_knows_something_takes_no_longer_steps_than_who_does_not() -> None:
    for epochs in (1, 8, 100):
        for units in (64, 400):
            options = RnnConfig(epochs=epochs, hidden_size=units)
            fresh, begun = (
                settle(options, IDS, WORDS, device=CPU, report=None, begun=begun).learning_rate
                for begun in (False, True)
            )
            assert fresh is not None
            assert begun == min(fresh, 4e-3)
