"""`lmkit filter`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmkit.cli.flags import context_option
from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.model import Context

EPILOG = """
\b
Examples:
  lmkit filter crawl.txt --quantile 0.3 -o good.txt     the likeliest third
  lmkit filter crawl.txt --max-ppl 500 -o good.txt --rest bad.txt
  zcat crawl.gz | lmkit filter - -m news --max-ppl 300 > good.txt
"""


@click.command("filter", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("--max-ppl", type=float, metavar="X", help="Keep lines of at most this perplexity.")
@click.option(
    "--quantile",
    type=float,
    metavar="Q",
    help="Keep this share of all lines, the likeliest, and all that tie with the last.",
)
@click.option("-o", "--output", default="-", metavar="FILE", help="Where they go; - is stdout  [-]")
@click.option("--rest", metavar="FILE", help="Where the others go  [nowhere]")
@context_option("line")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def command(
    files: tuple[str, ...],
    model: str | None,
    max_ppl: float | None,
    quantile: float | None,
    output: str,
    rest: str | None,
    context: Context,
    force: bool,
) -> None:
    """Keep the lines of a text that a model finds likely, those like the text that it has learnt from.

    Lines go by their perplexity a token, so that long ones and short ones compare. A text of any size is streamed;
    --quantile reads it twice. Standard input is kept in a temporary file first (TMPDIR), as all commands keep it.
    """
    from lmkit.bundle import load
    from lmkit.cli.output import check_file, opened, say
    from lmkit.filtering import filter_lines
    from lmkit.text.corpus import Corpus

    targets = [output] if rest is None else [output, rest]
    if rest is not None and (output == rest or Path(output).resolve() == Path(rest).resolve()):
        raise UsageError(
            f"--output and --rest are both {rest}; the lines that are kept and the others go to two places"
        )
    for name in targets:
        check_file(name, force=force)
    parts = filter_lines(
        load(model), Corpus.from_paths(files), max_ppl=max_ppl, quantile=quantile, context=context
    )
    lines = kept = 0
    with ExitStack() as stack:
        outputs = [stack.enter_context(opened(name)) for name in targets]
        for part in parts:
            for file, data in zip(outputs, (part.kept, part.rest), strict=False):
                file.write(data)
            lines, kept = lines + part.lines, kept + part.lines_kept
    say(f"kept {kept:,} of {lines:,} lines ({kept / lines:.1%})")
