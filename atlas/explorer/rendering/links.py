"""Where things have their pages: on the server, in a site of files, or nowhere."""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode

_AS_FILE = re.compile(r"P[0-9]{1,8}(-[0-9]{1,8})?")


class Links:
    """Of a page that stands alone: nothing has a page, `static` alone has a name."""

    is_site = False
    has_answers = False  # whether there are pages that answer what is typed

    def home(self) -> str | None:
        return None

    def relation(self, relation_id: str) -> str | None:
        return None

    def fact(self, fact_id: str) -> str | None:
        return None

    def neuron(self, layer: int, neuron: int) -> str | None:
        return None

    def edit(self, edit_id: int) -> str | None:
        return None

    def forecast(self, edit_id: int) -> str | None:
        return None

    def edits(self) -> str | None:
        return None

    def object(self, name: str) -> str | None:
        return None

    def search(self, text: str = "") -> str | None:
        return None

    def compare(self, kind: str, a: str = "", b: str = "") -> str | None:
        return None

    def sql(self, statement: str = "") -> str | None:
        return None

    def ask(self, **typed: str) -> str | None:
        return None

    def static(self, name: str) -> str:
        return f"static/{name}"


@dataclass(frozen=True)
class ServerLinks(Links):
    """Of a page that the server answers with; `selection` goes with every link where one is."""

    selection: str | None = None
    has_answers = True

    def home(self) -> str:
        return self._to("/")

    def relation(self, relation_id: str, **how: str) -> str:
        return self._to(f"/relation/{_part(relation_id)}", **how)

    def fact(self, fact_id: str) -> str:
        return self._to(f"/fact/{_part(fact_id)}")

    def neuron(self, layer: int, neuron: int) -> str:
        return self._to(f"/neuron/{layer}:{neuron}")

    def edit(self, edit_id: int) -> str:
        return self._to(f"/edit/{edit_id}")

    def forecast(self, edit_id: int) -> str:
        return self._to(f"/edit/{edit_id}/forecast")

    def edits(self) -> str:
        return self._to("/edits")

    def object(self, name: str) -> str:
        return self._to("/object", name=name)

    def search(self, text: str = "") -> str:
        return self._to("/search", q=text)

    def compare(self, kind: str, a: str = "", b: str = "") -> str:
        return self._to("/compare", kind=kind, a=a, b=b)

    def sql(self, statement: str = "") -> str:
        return self._to("/sql", q=statement)

    def ask(self, **typed: str) -> str:
        return self._to("/ask", **typed)

    def question(self, number: int, state: str = "") -> str:
        """The page of a question that was asked; `state`: how far it has come."""
        return self._to(f"/ask/{number}{state}")

    def static(self, name: str) -> str:
        return f"/static/{name}"

    def _to(self, path: str, **parameters: str) -> str:
        given = {name: value for name, value in parameters.items() if value}
        if self.selection is not None:
            given["selection"] = self.selection
        return f"{path}?{urlencode(given)}" if given else path


@dataclass(frozen=True)
class SiteLinks(Links):
    """Of a file in a site: `up` leads from its directory to the site's own."""

    up: str = ""
    is_site = True

    def home(self) -> str:
        return f"{self.up}index.html"

    def relation(self, relation_id: str) -> str:
        return f"{self.up}relation/{file_name(relation_id)}"

    def fact(self, fact_id: str) -> str:
        return f"{self.up}fact/{file_name(fact_id)}"

    def neuron(self, layer: int, neuron: int) -> str:
        return f"{self.up}neuron/{layer}-{neuron}.html"

    def edit(self, edit_id: int) -> str:
        return f"{self.up}edit/{edit_id}.html"

    def forecast(self, edit_id: int) -> str:
        return f"{self.up}edit/{edit_id}-forecast.html"

    def edits(self) -> str:
        return f"{self.up}edits.html"

    def search(self, text: str = "") -> str:
        return f"{self.up}search.html" + (f"#{quote(text)}" if text else "")

    def static(self, name: str) -> str:
        return f"{self.up}static/{name}"


def file_name(name: str) -> str:
    """A file name for an id: the same for the same id, and another for another, in any case."""
    if _AS_FILE.fullmatch(name):
        return f"{name}.html"
    return f"{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:14]}.html"


def _part(name: str) -> str:
    return quote(name, safe="")
