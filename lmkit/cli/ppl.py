"""`lmkit ppl`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit.cli.flags import context_option
from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.evaluation import Evaluation
    from lmkit.model import Context, LanguageModel
    from lmkit.text.corpus import Corpus

EPILOG = """
\b
Examples:
  lmkit ppl                        the last model on its held-out test lines
  lmkit ppl test.txt -m my-rnn
  cat other.txt | lmkit ppl - --json
  lmkit ppl --test                 its own test text, which it counts the uses of
  lmkit ppl test.txt --cache       with a memory of what the text said before
  lmkit ppl test.txt --cache --dynamic --each     and what each of these brings
  lmkit ppl one.txt two.txt --by-file --context document
"""


@click.command("ppl", epilog=EPILOG)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("--test", "sealed", is_flag=True, help="Its own test text, each use of which the model keeps.")
@click.option(
    "--cache", is_flag=True, help="Let the model remember the text that it reads: an adaptive number."
)
@click.option("--dynamic", is_flag=True, help="Let what is recurrent learn from it: adaptive, too.")
@click.option("--tune", multiple=True, metavar="FILE", help="Text to fit these two to  [its validation text]")
@click.option(
    "--each", is_flag=True, help="A row for each step of these two, too; each reads the text again."
)
@context_option()
@click.option("--by-file", is_flag=True, help="A row for each file, too.")
@click.option("--check", is_flag=True, help="See whether its distributions sum to one, in a hundred places.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with every number.")
def command(
    files: tuple[str, ...],
    model: str | None,
    sealed: bool,
    cache: bool,
    dynamic: bool,
    tune: tuple[str, ...],
    each: bool,
    context: Context | None,
    by_file: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Measure the perplexity of a model on text.

    That is the files given; or else the test lines that training held out or was given, or else its validation lines.

    A test text is meant to be used once, when all choices are made: --test writes each use of it into the model folder.

    With --cache the model is mixed with what the text has said so far: n-grams, and what followed when a recurrent
    network was in such a state as now. With --dynamic such a network goes on learning, from what it has been measured
    on already. Both are fitted to the text of --tune. Such numbers are adaptive: they do not compare with those of
    models that learn nothing from the text they are measured on.
    """
    from lmkit.bundle import default_path, load, note_test
    from lmkit.cli.output import json_line, say
    from lmkit.normalization import normalization
    from lmkit.text.corpus import Corpus

    folder = Path(model) if model else default_path()
    loaded = load(folder)
    chosen = _test(folder, files) if sealed else list(files) or _held_out(folder)
    corpus = Corpus.from_paths(chosen)  # one, since standard input comes but once
    name = ""
    before: list[tuple[str, LanguageModel]] = []
    if cache or dynamic:
        if context == "line":
            raise UsageError(
                "--cache and --dynamic take up what the text said before, and with --context line each line is read "
                "as the first; leave one of them out"
            )
        text = loaded.tokenizer.reads(corpus, loaded.tokenizer.specials)
        next(text.blocks())  # what is no text is said before anything is fitted
        *before, (name, loaded) = _adaptations(loaded, folder, chosen, tune, cache=cache, dynamic=dynamic)
    elif tune or each:
        raise UsageError("--tune and --each are about what adapts to the text; say what: --cache, --dynamic")
    steps = [_step(*step, corpus, context, show=not as_json)[0] for step in before if each]
    last, by_name, result = _step(name, loaded, corpus, context, show=each and not as_json)
    checked = normalization(loaded, corpus) if check else None
    uses = note_test(folder, result.as_dict()["perplexity"]) if sealed else 0
    if as_json:
        more: dict[str, Any] = {"test_uses": uses} if sealed else {}
        more |= {"steps": [*steps, last]} if each else {}
        more |= {"files": {name: found.as_dict() for name, found in by_name.items()}} if by_file else {}
        more |= {"check": asdict(checked)} if checked else {}
        click.echo(json_line(result.as_dict() | more))
        return
    if by_file:
        click.echo("\t".join(("tokens", "oov", "perplexity", "bits_per_byte", "file")))
        for name, found in by_name.items():
            bits = "undefined" if found.bits_per_byte is None else f"{found.bits_per_byte:.4f}"
            click.echo("\t".join((f"{found.tokens}", f"{found.oov}", f"{found.perplexity:.4f}", bits, name)))
    adaptive = " (adaptive: the model learns from this text as it reads)" if result.adaptive else ""
    click.echo(f"perplexity             {result.perplexity:.4f}{adaptive}")
    click.echo(f"  without OOV          {result.perplexity_without_oov:.4f}")
    click.echo(
        f"cross-entropy          {result.cross_entropy:.4f} nats/token, {result.bits_per_token:.4f} bits/token"
    )
    word = f"{result.bits_per_word:.4f}" if result.words else "undefined: there are no words"
    click.echo(f"bits per word          {word}")
    undefined = "undefined: unknown words hide what they are"
    for name, value in (("character", result.bits_per_character), ("byte", result.bits_per_byte)):
        click.echo(f"bits per {name:13} {undefined if value is None else f'{value:.4f}'}")
    click.echo(
        f"text                   {result.tokens:,} tokens, {result.lines:,} lines, {result.words:,} words, "
        f"{result.bytes:,} bytes; {result.oov:,} OOV ({result.oov_rate:.2%})"
    )
    click.echo(f"measured on            {', '.join(chosen)}")
    click.echo(f"signature              {result.signature}")
    if checked:
        click.echo(
            f"sums to one            within {checked.deviation:.1e} in {checked.places} places; "
            f"scores agree within {checked.disagreement:.1e} nats"
        )
    if sealed:
        seen = "by --test for the first time" if uses == 1 else f"{uses} times by --test; is it still unseen?"
        click.echo(f"test text used         {seen}")
    if result.oov and result.oov == result.tokens - result.lines:
        say(
            "lmkit: warning: every word is unknown to the model; is this the right text, and the right model?"
        )


def _step(
    name: str, model: LanguageModel, corpus: Corpus, context: Context | None, *, show: bool
) -> tuple[dict[str, Any], dict[str, Evaluation], Evaluation]:
    """Measure a model, after a step of its adaptation or as it is, with a bar; print a row of it.

    Gives what is to be said of the step, the figures of each file, and those of all of them.
    """
    from lmkit.evaluation import perplexity_by_file
    from lmkit.progress import Progress

    began = time.perf_counter()
    with Progress(["scoring"], show=True) as progress:
        progress.stage("scoring")
        by_name, result = perplexity_by_file(
            model,
            corpus,
            context=context,
            report=lambda tokens: progress.advance(tokens - progress.amount),
        )
    if show:
        click.echo(f"{name:22} {result.perplexity:.4f}")
    facts = result.as_dict()
    step = {"name": name, "perplexity": facts["perplexity"], "adaptive": facts["adaptive"]}
    return step | {"seconds": round(time.perf_counter() - began, 3)}, by_name, result


def _adaptations(
    model: LanguageModel,
    folder: Path,
    chosen: list[str],
    tune: tuple[str, ...],
    *,
    cache: bool,
    dynamic: bool,
) -> list[tuple[str, LanguageModel]]:
    """Let a model take up what it reads, step by step, fitted to a text that is named, or to its validation text."""
    from lmkit.bundle import measurable_texts
    from lmkit.cli.output import say
    from lmkit.mixture.adaptation import adaptations
    from lmkit.text.corpus import Corpus

    if model.adaptive:
        raise UsageError(f"{folder}: takes up what it reads already; adapt the model that it was made of")
    text = list(tune) or measurable_texts(folder).get("valid")
    if text is None:
        raise UsageError(
            f"{folder}: has no validation text to fit the cache to; name one that it has not learnt from: --tune FILE"
        )
    if {Path(name).resolve() for name in text} & {Path(name).resolve() for name in chosen}:
        say(
            "lmkit: warning: what adapts is fitted to the very text that it is measured on, which flatters it; name "
            "another one: --tune FILE"
        )
    return list(adaptations(model, Corpus.from_paths(text), cache=cache, dynamic=dynamic, report=say))


def _test(folder: Path, files: tuple[str, ...]) -> list[str]:
    """Find the test text of a model."""
    from lmkit.bundle import measurable_texts
    from lmkit.folders import check_log

    if files:
        raise UsageError("--test measures the test text of the model itself; name no FILE with it")
    texts = measurable_texts(folder)
    if "test" not in texts:
        raise UsageError(f"{folder}: has no test text; train with --test FILE, or let lines be held out")
    check_log(folder)
    return texts["test"]


def _held_out(folder: Path) -> list[str]:
    """Find the text to measure where none is named: test before validation."""
    from lmkit.bundle import measurable_texts

    texts = measurable_texts(folder)
    if not texts:
        raise UsageError(
            f"{folder}: no lines were held out in training (--holdout 0, or too few lines); name a file: lmkit ppl FILE"
        )
    return texts["test" if "test" in texts else "valid"]
