"""`lmkit export`."""

from __future__ import annotations

import click

from lmkit.errors import UsageError

EPILOG = """
\b
Examples:
  lmkit export --arpa model.arpa
  lmkit export -m trigram --arpa trigram.arpa.gz
"""


@click.command("export", epilog=EPILOG)
@click.option("-m", "--model", metavar="DIR", help="Model folder  [LMKIT_MODEL or lmkit-model]")
@click.option("--arpa", metavar="FILE", help="ARPA file to write; compressed if it ends in .gz, - for stdout")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(model: str | None, arpa: str | None, force: bool) -> None:
    """Write a model in a format of other tools: ARPA, for n-gram models."""
    from lmkit.bundle import load
    from lmkit.cli.output import check_file, say, write_bytes
    from lmkit.ngram.arpa import arpa_pieces
    from lmkit.ngram.model import NgramModel

    if arpa is None:
        raise UsageError("name the file to write: lmkit export --arpa FILE")
    loaded = load(model)
    if not isinstance(loaded, NgramModel):
        raise UsageError(f"an ARPA file holds n-grams; this model is of the backend {loaded.backend}")
    check_file(arpa, force=force)
    write_bytes(arpa, arpa_pieces(loaded))
    if arpa != "-":
        say(f"wrote {arpa}: {sum(loaded.trie.sizes()):,} n-grams")
