"""A corpus of small fables whose entropy is known exactly.

Lines are drawn independently from the probabilistic grammar in `stories.grammar` (syntax: `corpora.grammar`).
A derivation is a sequence of choices. The grammar is unambiguous, so the entropy of a line is that of its
derivation, which is a sum over the choices c of the grammar (Grenander 1967; Soule 1974):

    H = E[-log p(line)] = sum_c P(c is met) H(c),        H(c) = -sum_a p(a | c) log p(a | c)

in nats, computed by recursion over the grammar. A choice that depends on an earlier draw is averaged over
that draw alone: expectation is linear, so the joint distribution of the variables is never needed. The
expected number of tokens E[T], words and one end of line, is the same sum with 1 for each word. Since the
lines are i.i.d., the entropy rate is H / E[T]: no model has an expected cross-entropy per token below it.

The probability of a given line is summed over all its derivations from left to right, the forward form of the
inside algorithm (Baker 1979; Stolcke 1995): the state after each word is the set of ways to continue, with
their probabilities. It does not rely on the grammar being unambiguous.

* Grenander, Syntax-controlled probabilities, Brown University, 1967.
* Soule, Entropies of probabilistic grammars, Information and Control 25, 1974.
* Baker, Trainable grammars for speech recognition, 97th meeting of the Acoustical Society of America, 1979.
* Stolcke, An efficient probabilistic context-free parsing algorithm that computes prefix probabilities,
  Computational Linguistics 21(2), 1995.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

if __package__ in (None, ""):  # run as a file: make the package importable
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from corpora.grammar import END, Grammar, Scope, Symbol

__all__ = ["SEED", "Source", "generate", "main", "perplexity", "source", "standard_error"]

HERE = Path(__file__).resolve().parent
SEED = 1729
SIZES = {"train.txt": 900_000, "valid.txt": 60_000, "test.txt": 60_000}  # bytes, at least

State = tuple[tuple[Symbol, ...], Scope]
"""A way to continue a line: the symbols still to expand, and the variables drawn so far."""


class Source:
    """The distribution that the lines are drawn from.

    >>> fables = source()
    >>> line = fables.sample(random.Random(1))
    >>> math.isclose(fables.log_probability(line), -sum(fables.surprisals(line)))
    True
    >>> fables.log_probability("colorless green ideas sleep furiously .")
    -inf
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        grammar.expected  # noqa: B018  (raises where a variable is used before it is drawn)

    def sample(self, rng: random.Random) -> str:
        """One line, without its newline. It calls only `rng.random()`: a seed means the same everywhere."""
        return self.derive(rng)[0]

    def derive(self, rng: random.Random) -> tuple[str, float]:
        """One line and the log-probability, in nats, of the derivation that made it."""
        words: list[str] = []
        logprob = 0.0
        stack = [*reversed(self.grammar.start)]
        scope: Scope = ()
        while stack:
            symbol = stack.pop()
            if isinstance(symbol, str):
                words.append(symbol)
                continue
            options = self.grammar.expand(symbol, scope)
            u = rng.random()
            for p, body, scope in options:  # noqa: B007  (the last option takes what rounding leaves)
                u -= p
                if u < 0:
                    break
            logprob += math.log(p)
            stack.extend(reversed(body))
        return " ".join(words[:-1]), logprob

    def surprisals(self, line: str) -> list[float]:
        """-log p(token | the tokens before it) in nats, for each word and the end of line."""
        states: dict[State, float] = {(self.grammar.start, ()): 1.0}
        out = []
        for word in [*line.split(), END]:
            after: dict[State, float] = {}
            for state, weight in states.items():
                for p, reached in self._read(state, word):
                    after[reached] = after.get(reached, 0.0) + weight * p
            total = math.fsum(after.values())
            out.append(-math.log(total) if total else math.inf)
            states = {state: p / total for state, p in after.items() if total}
        return out

    def _read(self, state: State, word: str) -> Iterator[tuple[float, State]]:
        """The states that a word leads to, with the probability of each way there."""
        symbols, scope = state
        if not symbols:
            return
        head, *rest = symbols
        if isinstance(head, str):
            if head == word:
                yield 1.0, (tuple(rest), scope)
            return
        for p, body, inner in self.grammar.expand(head, scope):
            if not isinstance(body[0], str) or body[0] == word:
                for q, reached in self._read(((*body, *rest), inner), word):
                    yield p * q, reached

    def log_probability(self, line: str) -> float:
        """log p(line) in nats, summed over every derivation; -inf where the source cannot make the line."""
        return -math.fsum(self.surprisals(line))

    def entropy(self) -> float:
        """H, the entropy of a line in nats."""
        return self.grammar.expected[0]

    def expected_tokens(self) -> float:
        """E[T], the expected number of tokens of a line, the end of line counted."""
        return self.grammar.expected[1]

    def entropy_rate(self) -> float:
        """H / E[T], in nats per token. Its exponential is the least perplexity that a model can reach."""
        return self.entropy() / self.expected_tokens()


@cache
def source() -> Source:
    """The source of the corpus."""
    return Source(Grammar((HERE / "stories.grammar").read_text(encoding="utf-8")))


def perplexity(lines: Iterable[str]) -> float:
    """The perplexity per token, the end of line counted, of the true source on some lines."""
    nats, tokens = _scores(lines)
    return math.exp(math.fsum(nats) / sum(tokens))


def standard_error(lines: Iterable[str]) -> float:
    """The sampling error, in nats, of the true source's cross-entropy per token measured on these lines.

    That of a ratio estimator, since the number of tokens varies too (Cochran, Sampling Techniques, 1977,
    section 2.11): the lines are the independent units, not the tokens.
    """
    nats, tokens = _scores(lines)
    n, total = len(nats), sum(tokens)
    ratio = math.fsum(nats) / total
    spread = math.fsum((x - ratio * t) ** 2 for x, t in zip(nats, tokens, strict=True))
    return math.sqrt(n * spread / (n - 1)) / total


def _scores(lines: Iterable[str]) -> tuple[list[float], list[int]]:
    """-log p in nats and the number of tokens of each line."""
    kept = list(lines)
    return [-source().log_probability(line) for line in kept], [len(line.split()) + 1 for line in kept]


def generate(seed: int = SEED) -> dict[str, str]:
    """The text of each file: lines drawn one after the other until the file is large enough."""
    rng = random.Random(seed)
    files = {}
    for name, size in SIZES.items():
        lines: list[str] = []
        written = 0
        while written < size:
            lines.append(source().sample(rng) + "\n")
            written += len(lines[-1].encode())
        files[name] = "".join(lines)
    return files


def main() -> None:
    """Writes the files, and prints the exact figures."""
    folder = HERE / "stories"
    folder.mkdir(exist_ok=True)
    files = generate(SEED)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
        lines = text.splitlines()
        tokens = sum(len(line.split()) + 1 for line in lines)
        print(f"{name:<12}{len(lines):>8,} lines{tokens:>10,} tokens{len(text.encode()):>10,} bytes")
    fables = source()
    rate = fables.entropy_rate()
    print(f"per line    {fables.entropy():.6f} nats, {fables.expected_tokens():.6f} tokens")
    print(f"per token   {rate:.6f} nats, {rate / math.log(2):.6f} bits, perplexity {math.exp(rate):.4f}")
    for name in ("valid.txt", "test.txt"):
        lines = files[name].splitlines()
        print(
            f"{name:<12}perplexity {perplexity(lines):.4f}, standard error {standard_error(lines):.4f} nats"
        )


if __name__ == "__main__":
    main()
