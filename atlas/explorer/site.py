"""An atlas as a directory of pages that open from the disk: to publish beside a paper.

The pages are the server's own, less those that answer what is typed (comparisons, SQL, the model).
What a browser searches is a small index in a script, since pages from a disk may read no file.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.answers import Answer
from atlas.atlas import Atlas
from atlas.durability import appearing_directory
from atlas.errors import SettingsError
from atlas.explorer.rendering.links import SiteLinks, file_name
from atlas.explorer.rendering.pages import compact, page, static_file, static_names
from atlas.progress import Advance, Progress
from atlas.reporting import reporting

SERVED = 15  # facts of a neuron on its page
MARK = "atlas-site.json"  # by which a directory is known to be an earlier site


@dataclass(frozen=True)
class Site(Answer, rows="kinds"):
    """A site that was written."""

    directory: str
    kinds: tuple["SiteKind", ...]
    bytes: int


@dataclass(frozen=True)
class SiteKind:
    """The pages of one kind in a site."""

    kind: str  # overview | relation | fact | neuron | edit | other
    pages: int
    bytes: int


def write_site(
    db: Atlas,
    to: Path | str,
    *,
    selection: str | None = None,
    run: str | None = None,
    force: bool = False,
    progress: Progress = None,
) -> Site:
    """Write the pages of a selection into a new directory, which appears whole or not at all.

    With `force` an earlier site is replaced. SettingsError for anything else that is there.
    """
    directory = Path(to)
    _require_free(directory, force)
    with reporting(progress) as report, appearing_directory(directory) as unfinished:
        writer = _Writer(db, unfinished, {"selection": selection, "run": run}, report)
        writer.write()
    return Site(
        str(directory),
        tuple(SiteKind(kind, *found) for kind, found in writer.written.items()),
        sum(size for _, size in writer.written.values()),
    )


def _require_free(directory: Path, force: bool) -> None:
    if not directory.absolute().parent.is_dir():
        raise SettingsError(f"there is no directory {directory.absolute().parent}: make it first")
    if not directory.exists():
        return
    if not directory.is_dir():
        raise SettingsError(f"{directory} is a file: name a new directory", parameters=["file"])
    if not any(directory.iterdir()):
        return
    if not (directory / MARK).is_file():
        raise SettingsError(
            f"{directory} is no earlier site: only those are replaced, name another directory",
            parameters=["directory"],
        )
    if not force:
        raise SettingsError(
            f"{directory} exists: name a new directory, or have it replaced",
            parameters=["directory", "force"],
        )


class _Writer:
    """Writes the pages one after the other; `written` counts them and their bytes by kind."""

    def __init__(
        self,
        db: Atlas,
        directory: Path,
        of: dict[str, Any],
        report: Callable[[object], None],
    ) -> None:
        self._db, self._directory, self._report = db, directory, report
        self._of = of
        self._done, self._total, self._started = 0, 0, time.monotonic()
        self.written: dict[str, tuple[int, int]] = {}

    def write(self) -> None:
        """Every page; the file stays open for reading, which saves opening it for each."""
        db = self._db
        with db.reading():
            overview = db.overview_page(**self._of)
            neurons = db.hubs(limit=None, **self._of).hubs
            edits = db.edit_list()
            facts = sum(relation.facts for relation in overview.relations)
            self._total = facts + len(neurons) + len(overview.relations) + 2 * len(edits.rows) + 3
            self._page("overview", "index.html", "overview", overview)
            self._page("other", "edits.html", "edits", edits)
            self._page("other", "search.html", "site_search", None)
            index: list[list[object]] = []
            for relation in overview.relations:
                name = file_name(relation.relation_id)
                answer = db.relation_page(relation.relation_id, **self._of)
                self._page("relation", f"relation/{name}", "relation", answer)
                for fact in db.fact_pages(relation.relation_id, **self._of):
                    found = fact.fact
                    name = file_name(found.fact_id)
                    self._page("fact", f"fact/{name}", "fact", fact)
                    index.append([found.subject, found.object, relation.relation_id, name])
            for hub in neurons:
                neuron = db.neuron_page(hub.layer, hub.neuron, limit=SERVED, **self._of)
                self._page("neuron", f"neuron/{hub.layer}-{hub.neuron}.html", "neuron", neuron)
            for row in edits.rows:
                number = row.edit_id
                self._page("edit", f"edit/{number}.html", "edit", db.edit_page(number))
                told = db.edit_forecast(number)
                self._page("edit", f"edit/{number}-forecast.html", "forecast", told)
        relations = [
            [r.relation_id, r.relation, file_name(r.relation_id)] for r in overview.relations
        ]
        places = [f"{hub.layer}:{hub.neuron}" for hub in neurons]
        found_by = json.dumps({"facts": index, "relations": relations, "neurons": places})
        self._file("other", "static/index.js", f"const ATLAS_INDEX = {_in_script(found_by)};\n")
        for name in static_names():
            if name != "atlas.js":
                self._file("other", f"static/{name}", static_file(name).decode())
        self._file("other", MARK, json.dumps({"pages": self._done}) + "\n")

    def _page(
        self, kind: str, path: str, template: str, answer: Answer | None, **more: object
    ) -> None:
        links = SiteLinks("../" * path.count("/"))
        self._file(kind, path, compact(page(template, links, self._db.path, answer, **more)))
        self._done += 1
        seconds = time.monotonic() - self._started
        self._report(Advance("Pages", self._done, self._total, self._done, seconds, unit="pages"))

    def _file(self, kind: str, path: str, text: str) -> None:
        place = self._directory / path
        place.parent.mkdir(exist_ok=True)
        data = text.encode("utf-8", "replace")
        place.write_bytes(data)
        pages, size = self.written.get(kind, (0, 0))
        self.written[kind] = (pages + 1, size + len(data))


def _in_script(text: str) -> str:
    """JSON that may stand in a script wherever that stands."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
