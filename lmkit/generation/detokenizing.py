"""Words to text that reads well: where spaces belong, which quotation mark opens, where a sentence begins.

Corpora of words have punctuation cut off: WikiText writes `" no " , said the well @-@ known man`, the Penn Treebank
`-LRB-` for a bracket and two kinds of quotation marks. The rules that undo it go from left to right, so that text can
be written as it comes.
"""

from __future__ import annotations

import re

_CLOSING = frozenset([*".,;:!?)]}%…”»。，、！？；：）」』】》〉・", "..", "..."])
_OPENING = frozenset("([{$£€¥#“‘„‚«¿¡「『（【《〈")
# marks that only open, and what then closes: in German the mark that opens in English
_LOW = {"„": "“", "‚": "‘"}
_CLITIC = re.compile(r"(?:['’](?:s|t|re|ve|ll|m|d)|n['’]t)", re.IGNORECASE)
_JOINED = re.compile(r"@([-–,.:/'])@")  # WikiText's marks of what had no spaces around it
_TREEBANK = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uff00-\uffef\U00020000-\U0003ffff]"
)
_SENTENCE_END = frozenset(".!?")
_TRANSPARENT = frozenset("\"'”’)]} \n\t“‘„‚«»¿¡([")  # what may stand between two sentences


class Detokenizer:
    """Takes the words of a text one by one and gives each with the space that belongs before it.

    >>> words = '" It \\'s a well @-@ known fox ( red ) , " she said .'.split()
    >>> detokenizer = Detokenizer()
    >>> "".join(map(detokenizer.push, words))
    '"It\\'s a well-known fox (red)," she said.'
    """

    def __init__(self) -> None:
        self.previous = ""  # the word before, as written; empty at the beginning of a line
        self.joined = True  # whether the next word follows without a space
        self.quoted: set[str] = set()  # quotation marks that are open

    def read(self, text: str) -> None:
        """Go on from a text that is there already, as it is written."""
        line = text[text.rfind("\n") + 1 :]
        words = line.split(" ")
        self.quoted = {mark for mark in ('"',) if line.count(mark) % 2}
        self.quoted |= {
            high for low, high in _LOW.items() if low in line and high not in line[line.rfind(low) :]
        }
        self.previous = words[-1]
        last = line[-1:]
        closed = any(last == high and low in line for low, high in _LOW.items())
        opened = (last in _OPENING and not closed) or (last == '"' and '"' in self.quoted)
        self.joined = not line or line[-1:].isspace() or opened

    def push(self, word: str) -> str:
        """Take one more word; a line end is one, too."""
        if word == "\n":
            self.previous, self.joined, self.quoted = "", True, set()
            return word
        before, after = True, True  # whether there are spaces
        if mark := _JOINED.fullmatch(word):
            word, before, after = mark[1], False, False
        elif word in ("``", "''"):
            before, after = word == "``", word == "''"
            word = '"'
        elif word in ('"', "'") or word in self.quoted:
            before, after = self._quote(word)
        elif word in _LOW:
            self.quoted.add(_LOW[word])
            after = False
        else:
            word = _TREEBANK.get(word, word)
            before, after = not self._leans_on(word), word not in _OPENING
            if word == "”":  # „ yes ”
                self.quoted.discard("“")
        space = " " if before and not self.joined else ""
        self.previous, self.joined = word, not after
        return space + word

    def _leans_on(self, word: str) -> bool:
        """Tell whether a word stands at the one before it without a space."""
        if word == "=":  # a heading of WikiText: = = = Plot = = =
            return self.previous == word
        if self.previous and _UNSPACED.match(word[0]) and _UNSPACED.match(self.previous[-1]):
            return True
        return word in _CLOSING or _CLITIC.fullmatch(word) is not None

    def _quote(self, mark: str) -> tuple[bool, bool]:
        """Tell whether spaces stand before and after a mark that both opens and closes."""
        if mark == '"' and mark not in self.quoted and "“" in self.quoted:  # „ yes "
            mark = "“"
        if mark in self.quoted:
            self.quoted.discard(mark)
            return False, True
        if mark == "'" and self.previous.endswith(("s", "S")):  # of the owls '
            return False, True
        self.quoted.add(mark)
        return True, False


class Capitals:
    """Makes the first letter of each sentence a capital, piece by piece.

    >>> capitals = Capitals()
    >>> capitals.push("it ran. the o") + capitals.push('wl said: "no!" but at 3.5 it')
    'It ran. The owl said: "no!" But at 3.5 it'
    """

    def __init__(self) -> None:
        self.begins = True  # whether the next letter begins a sentence
        self.ended = False  # whether a sentence has ended, if a space comes now

    def push(self, text: str) -> str:
        """Take more text."""
        written = []
        for c in text:
            if c == "\n" or (c.isspace() and self.ended):
                self.begins, self.ended = True, False
            elif c in _SENTENCE_END:
                self.ended = True
            elif c not in _TRANSPARENT:
                c = c.upper() if self.begins and len(c.upper()) == 1 else c
                self.begins = self.ended = False
            written.append(c)
        return "".join(written)
