"""A page by itself: what a notebook shows, and what can be kept as one file."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.explorer.rendering.links import Links
from atlas.explorer.rendering.pages import page

TEMPLATES = ("overview", "relation", "fact", "neuron", "edit")


@dataclass(frozen=True, repr=False)
class ShownPage:
    """A page of the explorer as one text of HTML, with its style and without scripts or links."""

    what: str
    html: str

    def __repr__(self) -> str:
        return f"ShownPage({self.what!r}, {len(self.html):,} characters)"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style and the notebook's stay apart."""
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" sandbox title="{html.escape(self.what)}" '
            'style="width:100%;height:36em;border:1px solid #ccc"></iframe>'
        )


def shown_page(what: str, answer: Any, file: Path) -> ShownPage:
    """The page about an answer, by itself."""
    how = {"by": "subject", "standing": "all", "containing": "", "limit": 0, "kept": {}}
    return ShownPage(what, page(what, Links(), file, answer, how=how))
