"""Dynamic evaluation: that weights move as the formula says, for each position alone, and that it helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import lmkit
from lmkit.errors import InputError, ModelFormatError, UsageError
from lmkit.rnn.dynamic import DynamicModel
from lmkit.rnn.dynamic_tuning import gradient_scales
from tests.conftest import STORY

OTHER = "a yak met an emu .\nan emu met a yak .\n" * 8


def trained(**options: Any) -> lmkit.RnnModel:
    settings = {"hidden_size": 8, "epochs": 2, "device": "cpu", "tokenizer": "word", "holdout": 0}
    model = lmkit.train(STORY + "a yak .\nan emu met .\n", backend="rnn", **{**settings, **options})
    assert isinstance(model, lmkit.RnnModel)
    return model


def dynamic(model: lmkit.RnnModel, **options: Any) -> DynamicModel:
    scales = {name: torch.full_like(weight, 0.5) for name, weight in model.network.named_parameters()}
    return DynamicModel(model=model, scales=scales, **{"rate": 0.05, "decay": 0.1, "segment": 4, **options})


def test_weights_move_as_the_formula_says() -> None:
    """The plain definition: a loop over segments with torch's own gradients."""
    model = trained()
    ids = model.tokenizer.encode_lines(OTHER.split("\n")[:3])[:11]
    state = dynamic(model).score_ids(ids)[1]
    network = trained().network
    first = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    inputs, layers = [2, *ids.tolist()], network.initial_state(1)
    for begin in (0, 4):
        x = torch.tensor(inputs[begin : begin + 4])[:, None]
        features, layers = network(x, layers)
        layers = tuple(tuple(part.detach() for part in layer) for layer in layers)
        targets = torch.tensor(inputs[begin + 1 : begin + 5])
        loss = functional.cross_entropy(network.output.logits(features[:, 0]), targets, reduction="sum")  # type: ignore[operator]
        named = dict(network.named_parameters())
        gradients = torch.autograd.grad(loss, list(named.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(named.items(), gradients, strict=True):
                weight.add_(0.1 * (first[name] - weight) - 0.05 * gradient / 0.5)
    (row,) = state.rows
    assert row.segments == 2
    for name, weight in network.named_parameters():
        assert row.weights[name].numpy() == pytest.approx(weight.detach().numpy(), abs=1e-5)


def test_the_trained_weights_stay() -> None:
    model = trained()
    before = {name: array.copy() for name, array in model.arrays().items()}
    learning = dynamic(model)
    lmkit.perplexity(learning, OTHER)
    for name, array in model.arrays().items():
        assert np.array_equal(array, before[name])
    assert lmkit.perplexity(learning, OTHER) == lmkit.perplexity(learning, OTHER)  # each text begins anew


def test_positions_learn_apart() -> None:
    learning = dynamic(trained(), segment=1)
    state = learning.start(2)
    for tokens in ([3, 4], [5, 5], [6, 6]):
        state = learning.step(state, np.array(tokens))
    apart = learning.next_logprobs(state)
    for place, first in enumerate((3, 4)):
        alone = learning.score_ids(np.array([first, 5, 6]))[1]
        assert apart[place] == pytest.approx(learning.next_logprobs(alone)[0], abs=1e-5)
    assert not np.allclose(apart[0], apart[1], atol=1e-3)


@pytest.mark.parametrize("head", ["full", "adaptive"])
def test_learning_helps_where_a_text_is_unlike_the_training(head: str) -> None:
    model = trained(head=head)
    learning = lmkit.tuned_dynamic(model, OTHER, segment=5)
    assert learning.rate > 0
    assert lmkit.perplexity(learning, OTHER).perplexity < 0.8 * lmkit.perplexity(model, OTHER).perplexity


def test_a_large_vocabulary_is_moved_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmkit.rnn.dynamic._SAMPLED_FROM", 4)
    monkeypatch.setattr("lmkit.rnn.dynamic._CANDIDATES", 4)
    model = trained()
    learning = lmkit.tuned_dynamic(model, OTHER, segment=5)
    (row,) = learning.score_ids(model.tokenizer.encode_lines(["a yak met ."]))[1].rows
    old = dict(model.network.named_parameters())["embedding.weight"].detach()
    still = (row.weights["embedding.weight"] == old).all(dim=1)
    assert still.any()
    assert not still.all()
    assert lmkit.perplexity(learning, OTHER).perplexity < lmkit.perplexity(model, OTHER).perplexity
    state = learning.start()
    for token in model.tokenizer.encode_lines(["a yak met .", "a"]):
        state = learning.step(state, np.array([token]))
    assert np.exp(learning.next_logprobs(state)).sum() == pytest.approx(1, abs=1e-5)


def test_a_gradient_that_is_no_number_moves_nothing() -> None:
    learning = dynamic(trained(), rate=1.0)
    with torch.no_grad():
        learning.model.network.output.bias[3] = torch.inf
    found = learning.score_ids(np.array([4, 5, 6, 7, 8]))[1]
    assert all(
        bool((w == learning.model.network.get_parameter(n)).all()) for n, w in found.rows[0].weights.items()
    )


def test_scales_are_the_root_mean_square_of_gradients() -> None:
    model = trained(cell="rnn")
    ids = model.tokenizer.encode_lines(OTHER.split("\n")[:6])
    plain = DynamicModel(model=model, scales={}, rate=0.0, segment=4)
    squares = [
        {name: gradient.square() for name, gradient in gradients.items()}
        for gradients in plain.gradients(ids)
    ]
    scales, longest = gradient_scales(model, ids, segment=4)
    for name, scale in scales.items():
        mean = torch.stack([of_segment[name] for of_segment in squares]).mean(0)
        rms = (mean.mean(1, keepdim=True) if name == "embedding.weight" else mean).sqrt()
        eps = (scale - rms).flatten()
        assert eps.min() > 0
        assert eps.numpy() == pytest.approx(np.full(len(eps), float(eps[0])), rel=1e-3)
    norms = [
        sum(float((g / scales[name]).square().sum()) for name, g in gradients.items())
        for gradients in plain.gradients(ids)
    ]
    assert longest == pytest.approx(2 * np.sqrt(np.mean(norms)), rel=0.05)  # rows of tables vary within


def test_a_gradient_that_is_too_long_is_cut() -> None:
    model = trained()
    ids = model.tokenizer.encode_lines(["a yak met an emu"])[:4]
    moved = []
    for longest in (1e9, 0.01):
        (row,) = dynamic(model, longest=longest, decay=0.0).score_ids(ids)[1].rows
        old = model.network.state_dict()
        moved.append(np.concatenate([(w - old[name]).numpy().ravel() for name, w in row.weights.items()]))
    assert np.linalg.norm(moved[1]) == pytest.approx(0.05 * 0.01, rel=1e-3)
    cosine = moved[0] @ moved[1] / np.linalg.norm(moved[0]) / np.linalg.norm(moved[1])
    assert cosine == pytest.approx(1, abs=1e-4)


def test_learning_goes_on_where_gradients_are_switched_off() -> None:
    learning = dynamic(trained(tie_weights=False))
    ids = learning.tokenizer.encode_lines(OTHER.split("\n")[:3])
    wanted, _ = learning.score_ids(ids)
    with torch.no_grad():
        assert learning.score_ids(ids)[0] == pytest.approx(wanted, abs=1e-6)


def test_a_model_that_learns_is_moved_as_a_whole() -> None:
    learning = dynamic(trained())
    wanted = lmkit.perplexity(learning, OTHER)
    assert lmkit.perplexity(learning.to("cpu"), OTHER) == wanted
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    assert lmkit.perplexity(learning.to("cuda"), OTHER).perplexity == pytest.approx(
        wanted.perplexity, rel=1e-3
    )


def test_what_cannot_learn_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="recurrent"):
        lmkit.tuned_dynamic(lmkit.train(STORY, order=2, tokenizer="word", holdout=0), STORY)
    with pytest.raises(UsageError, match="segment"):
        lmkit.tuned_dynamic(trained(), STORY, segment=0)
    with pytest.raises(InputError, match="too short"):
        lmkit.tuned_dynamic(trained(), "the fox\n")
    learning = dynamic(trained())
    for wrong in (
        {"rate": -1.0},
        {"segment": 0},
        {"decay": 2.0},
        {"longest": 0.0},
        {"rate": "much"},
        {"model": None},
    ):
        config = {**learning.config(), **wrong}
        with pytest.raises(ModelFormatError):
            DynamicModel.from_arrays(config, learning.arrays(), learning.tokenizer)
    arrays = learning.arrays()
    arrays["scale.output.bias"] = np.zeros_like(arrays["scale.output.bias"])
    with pytest.raises(ModelFormatError):
        DynamicModel.from_arrays(learning.config(), arrays, learning.tokenizer)


@pytest.mark.parametrize("head", ["full", "adaptive"])
def test_what_is_learnt_does_not_depend_on_how_a_text_is_cut(head: str) -> None:
    learning = dynamic(trained(head=head), rate=0.05)  # so much that the least difference would grow
    ids = learning.tokenizer.encode_lines(OTHER.splitlines())[:100]
    whole, after = learning.score_ids(ids)
    for cuts in ([7], [1, 2, 3, 50], list(range(1, 100)), [19, 20, 21]):
        scores, state = [], learning.start()
        for piece in np.split(ids, cuts):
            of_piece, state = learning.score_ids(piece, state)
            scores.append(of_piece)
        assert all(
            torch.equal(weight, state.rows[0].weights[name]) for name, weight in after.rows[0].weights.items()
        )
        assert np.concatenate(scores) == pytest.approx(whole, abs=2e-5)
