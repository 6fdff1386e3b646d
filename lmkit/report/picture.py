"""A picture: an empty one, and its file (extra `plot`: matplotlib)."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import UsageError, missing_package

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg", "pdf")


def blank(*, width: float = 8.0, height: float = 6.0) -> Figure:
    """Give an empty picture of so many inches.

    Raises:
        ResourceError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "plot", "lmkit plot") from None
    return Figure(figsize=(width, height), layout="constrained")  # without pyplot: no window, no state


def kind_of(file: str) -> str:
    """Give the kind of a picture by the name of its file.

    Raises:
        UsageError: it is none of the kinds.
    """
    kind = Path(file).suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise UsageError(f"{file}: the name of a picture ends in .{', .'.join(KINDS)}; give such a name")
    return kind


def render(figure: Figure, *, kind: str) -> bytes:
    """Give the content of a `png`, `svg` or `pdf` file: for the same curves, the same bytes."""
    import matplotlib

    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    content = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "lmkit"}):
        warnings.filterwarnings("ignore", message="Glyph")  # of a script that the font lacks: a box will do
        figure.savefig(content, format=kind, dpi=150, metadata=undated)
    return content.getvalue()
