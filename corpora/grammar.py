"""Probabilistic grammars with variables: a small formalism whose entropy is exact.

A grammar is a text file of rules and tables. Indented lines are the alternatives of a rule or the rows of a
table, from the commonest to the rarest: the r-th has probability proportional to 1 / (r + 4), Zipf's law with
Mandelbrot's shift. `#` starts a comment. An alternative is a sequence of symbols separated by spaces:

    word            itself
    <rule>          one alternative of the rule
    {hero:animal}   draws the variable hero, a row of the table animal, and says the first column of the row
    {hero.home}     says another column of the row that was drawn; `{hero}` alone says the first column again
    <moral:hero.trait>      the rule named by a column: `rule moral:sly` where the trait of the hero is sly
    {gift:helper.goods}     a draw from the table that a column names

A cell is a sequence of symbols too. Three conditions keep the arithmetic exact. `Grammar` refuses a grammar
that breaks the first two, and `Grammar.clashes` lists the breaches of the third:

1. no rule calls itself, directly or not, so that every derivation is finite;
2. every variable is drawn exactly once, on every way to a symbol that uses it;
3. no alternative of a choice yields a string that begins a string of another alternative. So two different
   derivations, which differ first at some choice, never yield the same line: the grammar is unambiguous.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from itertools import combinations

__all__ = ["END", "Grammar", "Scope", "Symbol"]

END = "</s>"
SHIFT = 4  # Mandelbrot's shift: 0 is Zipf's law, a large value is uniform


@dataclass(frozen=True)
class Say:
    """A column of the row that a variable holds."""

    variable: str
    column: str


@dataclass(frozen=True)
class Draw:
    """Draws a variable from a table, named here or by a column of another variable."""

    variable: str
    table: str | Say


@dataclass(frozen=True)
class Call:
    """A rule; `key`, if any, is the column that completes its name."""

    rule: str
    key: Say | None


Symbol = str | Say | Draw | Call
Symbols = tuple[Symbol, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table; compared by identity."""

    cells: Mapping[str, Symbols]

    def __getitem__(self, column: str) -> Symbols:
        return next(iter(self.cells.values())) if column == "" else self.cells[column]


Scope = tuple[tuple[str, Row], ...]
"""The variables drawn so far, in order, with their rows: immutable, so that it can be part of a state."""


class Grammar:
    """A grammar read from its text; `expand` is its meaning, and everything else follows from it.

    >>> coin = Grammar("rule start\\n  the coin fell <side>\\nrule side\\n  heads\\n  tails\\n")
    >>> [(round(p, 3), body) for p, body, _ in coin.expand(Call("side", None), ())]
    [(0.545, ('heads',)), (0.455, ('tails',))]
    """

    def __init__(self, text: str) -> None:
        self.rules: dict[str, list[Symbols]] = {}
        self.tables: dict[str, list[Row]] = {}
        self._read(text)
        self.start: Symbols = (Call(next(iter(self.rules)), None), END)
        TopologicalSorter({rule: self._called(rule) for rule in self.rules}).prepare()  # refuses a cycle
        self.firsts: dict[Symbols, dict[str, set[Symbols]]] = {}

    # What a symbol means

    def expand(self, symbol: Symbol, scope: Scope) -> list[tuple[float, Symbols, Scope]]:
        """Every way to rewrite a symbol other than a word: (probability, symbols in its place, new scope)."""
        match symbol:
            case Say():
                return [(1.0, dict(scope)[symbol.variable][symbol.column], scope)]
            case Draw():
                rows = self.tables[self._name("", symbol.table, scope)]
                return [
                    (p, row[""], (*scope, (symbol.variable, row)))
                    for p, row in zip(zipf(len(rows)), rows, strict=True)
                ]
            case Call():
                bodies = self.rules[self._name(symbol.rule, symbol.key, scope)]
                return [(p, body, scope) for p, body in zip(zipf(len(bodies)), bodies, strict=True)]
            case _:
                raise TypeError(f"a word has no expansion: {symbol!r}")

    @staticmethod
    def _name(stem: str, key: str | Say | None, scope: Scope) -> str:
        if isinstance(key, Say):
            key = str(dict(scope)[key.variable][key.column][0])
        return f"{stem}:{key}" if stem and key else stem or str(key)

    # Expected values

    @cached_property
    def expected(self) -> tuple[float, float]:
        """The entropy of a line in nats and its expected number of tokens, the end of line counted."""
        return self._expected(self.start, {})

    def _expected(self, symbols: Symbols, scope: Mapping[str, Row | str | Say]) -> tuple[float, float]:
        """Sums over the symbols, by the linearity of expectation; no joint distribution is ever needed.

        `scope` gives, for each variable drawn, the row it is fixed to, or the table it was drawn from where
        the row is still free. A symbol that asks averages over the rows, for itself alone.
        """
        entropy = tokens = 0.0
        for symbol in symbols:
            if isinstance(symbol, str):
                tokens += 1
                continue
            variable = self._unfixed(symbol, scope)
            fixed: Scope = tuple((name, row) for name, row in scope.items() if isinstance(row, Row))
            if variable:
                source = scope[variable]
                assert not isinstance(source, Row)
                for p, _, [*_, (_, row)] in self.expand(Draw(variable, source), fixed):
                    h, t = self._expected((symbol,), {**scope, variable: row})
                    entropy, tokens = entropy + p * h, tokens + p * t
            else:
                for p, body, inner in self.expand(symbol, fixed):
                    h, t = self._expected(body, {**scope, **dict(inner)})
                    entropy, tokens = entropy + p * (h - math.log(p)), tokens + p * t
            drawn = self._drawn(symbol)
            if twice := drawn.keys() & scope.keys():
                raise ValueError(f"{symbol} draws {', '.join(twice)} a second time: give it another name")
            scope = {**scope, **drawn}
        return entropy, tokens

    def _unfixed(self, symbol: Symbol, scope: Mapping[str, Row | str | Say]) -> str | None:
        """The variable whose row must be fixed before `symbol` can be expanded, parents first."""
        match symbol:
            case Draw(table=Say() as asked) | Call(key=Say() as asked) | (Say() as asked):
                if asked.variable not in scope:
                    raise ValueError(f"{symbol} uses {asked.variable}, which is not always drawn before it")
                source = scope[asked.variable]
                if isinstance(source, Row):
                    return None
                return (self._unfixed(source, scope) if isinstance(source, Say) else None) or asked.variable
        return None

    def _drawn(self, symbol: Symbol) -> dict[str, str | Say]:
        """The variables that a symbol draws whichever way it is expanded, with their tables."""
        if isinstance(symbol, Draw):
            return {symbol.variable: symbol.table}
        if not isinstance(symbol, Call):
            return {}
        ways = [
            [item for part in body for item in self._drawn(part).items()]
            for rule in self._rules(symbol)
            for body in self.rules[rule]
        ]
        return {name: table for name, table in ways[0] if all((name, table) in way for way in ways)}

    # Ambiguity

    def clashes(self) -> Iterator[tuple[Symbols, Symbols]]:
        """Pairs of alternatives of one choice of which one may yield a string that begins one of the other's.

        Conservative: a column may say what any row says, whatever was drawn. No pair proves unambiguity.
        """
        for choice in [*self.rules.values(), *([row[""] for row in rows] for rows in self.tables.values())]:
            for one, other in combinations(choice, 2):
                if self._clash(one, other, set()):
                    yield one, other

    def _clash(self, one: Symbols, other: Symbols, seen: set[tuple[Symbols, Symbols]]) -> bool:
        if not one or not other:
            return True
        if (one, other) in seen:
            return False
        seen.add((one, other))
        left, right = self._first(one), self._first(other)
        both = left.keys() & right.keys()
        return any(self._clash(a, b, seen) for word in both for a in left[word] for b in right[word])

    def _first(self, symbols: Symbols) -> dict[str, set[Symbols]]:
        """What may follow each word that may come first."""
        if symbols not in self.firsts:
            found: dict[str, set[Symbols]] = {}
            head, rest = symbols[0], symbols[1:]
            if isinstance(head, str):
                found[head] = {rest}
            else:
                for body in self._bodies(head):
                    for word, after in self._first(body).items():
                        found.setdefault(word, set()).update(tail + rest for tail in after)
            self.firsts[symbols] = found
        return self.firsts[symbols]

    def _bodies(self, symbol: Symbol) -> list[Symbols]:
        match symbol:
            case Call():
                return [body for rule in self._rules(symbol) for body in self.rules[rule]]
            case Draw(table=str() as table):
                return [row[""] for row in self.tables[table]]
            case Say(column=column):
                rows = [row for rows in self.tables.values() for row in rows]
                return list(dict.fromkeys(row[column] for row in rows if column in ("", *row.cells)))
            case _:
                return [row[""] for rows in self.tables.values() for row in rows]

    # Reading

    def _read(self, text: str) -> None:
        columns: list[str] = []
        block = ""
        for number, line in enumerate(text.splitlines(), start=1):
            line = line.partition("#")[0].rstrip()
            if not line:
                continue
            if line.startswith("rule "):
                columns, block = [], line.split()[1]
                self.rules[block] = []
            elif line.startswith("table "):
                block, *columns = [part.strip() for part in line.removeprefix("table ").split("|")]
                block, first = block.split()
                columns = [first, *columns]
                self.tables[block] = []
            elif columns:
                cells = [read_symbols(cell) for cell in line.split("|")]
                if len(cells) != len(columns):
                    raise ValueError(f"line {number}: {len(cells)} cells for {len(columns)} columns")
                self.tables[block].append(Row(dict(zip(columns, cells, strict=True))))
            else:
                self.rules[block].append(read_symbols(line))

    def _rules(self, call: Call) -> list[str]:
        """The rules that a call may reach."""
        return [r for r in self.rules if (r.startswith(call.rule + ":") if call.key else r == call.rule)]

    def _called(self, rule: str) -> set[str]:
        calls = {symbol for body in self.rules[rule] for symbol in body if isinstance(symbol, Call)}
        for call in calls:
            if not self._rules(call):
                raise ValueError(f"rule {rule}: there is no rule {call.rule}")
        return {name for call in calls for name in self._rules(call)}


def zipf(n: int) -> list[float]:
    """The probabilities of n alternatives, from the commonest to the rarest."""
    weights = [1 / (rank + SHIFT) for rank in range(1, n + 1)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def read_symbols(text: str) -> Symbols:
    """The symbols of an alternative or a cell."""
    return tuple(_read_symbol(part) for part in text.split())


def _read_symbol(text: str) -> Symbol:
    inner = text[1:-1]
    name, _, key = inner.partition(":")
    if text.startswith("<") and text != END:
        return Call(name, _read_say(key) if key else None)
    if text.startswith("{"):
        if key:
            return Draw(name, _read_say(key) if "." in key else key)
        return _read_say(inner)
    return text


def _read_say(text: str) -> Say:
    variable, _, column = text.partition(".")
    return Say(variable, column)
