"""A picture: an empty one, and its file (extra `plot`: matplotlib)."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

from lmkit.errors import missing_package

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


def render(figure: Figure, *, kind: str) -> bytes:
    """Give the content of a `png`, `svg` or `pdf` file: for the same curves, the same bytes."""
    import matplotlib

    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    content = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "lmkit"}):
        warnings.filterwarnings("ignore", message="Glyph")  # of a script that the font lacks: a box will do
        figure.savefig(content, format=kind, dpi=150, metadata=undated)
    return content.getvalue()
