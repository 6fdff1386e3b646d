"""Names for things that are loaded when they are first asked for, ours and those of installed plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from lmkit.errors import UsageError, did_you_mean


class Registry:
    """A table from names to objects, each written `module:attribute` and imported at first use.

    Installed packages add to it through the entry-point group of the same name.

    >>> Registry("lmkit.examples", "example", {"pi": "math:pi"})["pi"]
    3.141592653589793
    """

    def __init__(self, group: str, what: str, builtin: Mapping[str, str]) -> None:
        self.group = group
        self.what = what
        self._places = dict(builtin)

    def names(self) -> list[str]:
        """Give the built-in names, then those of plug-ins, in order."""
        plugins = {entry.name for entry in entry_points(group=self.group)}
        return [*self._places, *sorted(plugins - self._places.keys())]

    def __getitem__(self, name: str) -> Any:
        if name in self._places:
            module, attribute = self._places[name].split(":")
            return getattr(import_module(module), attribute)
        for entry in entry_points(group=self.group, name=name):
            return entry.load()
        raise UsageError(f"there is no {self.what} {name!r}; {did_you_mean(name, self.names())}")
