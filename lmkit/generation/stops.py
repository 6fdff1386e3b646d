"""Strings that end a text, found wherever they fall among the tokens."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through, piece by piece, up to the first stop string; what may be the beginning of one is held back.

    >>> stops = StopStrings(["the end"])
    >>> stops.push("so th"), stops.push("en, the e"), stops.push("nd of it"), stops.found
    ('so ', 'then, ', '', True)
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = [string for string in strings if string]
        self.held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take more text, and give what is certain to come before any stop string."""
        if not self.strings:
            return text
        text, self.held = self.held + text, ""
        places = [place for string in self.strings if (place := text.find(string)) >= 0]
        if places:
            self.found = True
            return text[: min(places)]
        held = max(_begun(text, string) for string in self.strings)
        self.held = text[len(text) - held :]
        return text[: len(text) - held]

    def close(self) -> str:
        """Give what was held back: no more text comes."""
        held, self.held = self.held, ""
        return held


def _begun(text: str, string: str) -> int:
    """Count the characters at the end of a text that a string begins with."""
    return next((n for n in range(min(len(string) - 1, len(text)), 0, -1) if text.endswith(string[:n])), 0)
