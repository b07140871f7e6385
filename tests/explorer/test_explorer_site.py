"""The site of files: whole, small, and every link of it leads somewhere."""

import html
import json
import re
from pathlib import Path

import pytest
from invocation import run
from synthetic import Synthetic

from atlas.errors import SettingsError
from atlas.explorer import site
from atlas.explorer.rendering.links import file_name
from atlas.explorer.site import write_site


@pytest.fixture(scope="module")
def pages(synthetic: Synthetic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site") / "pages"
    write_site(synthetic.atlas, directory)
    return directory


def test_every_fact_relation_and_neuron_has_its_page(pages: Path, synthetic: Synthetic) -> None:
    facts = [f for r in synthetic.dataset.relations for f in r.facts]
    for fact in facts:
        assert (pages / "fact" / file_name(fact.fact_id)).is_file()
    assert len(list((pages / "relation").iterdir())) == 2
    assert len(list((pages / "neuron").iterdir())) == 1 + 2 + len(facts)
    assert "Land 0" in (pages / "fact" / "P36-0.html").read_text(encoding="utf-8")


def test_every_link_leads_to_a_file(pages: Path) -> None:
    found = 0
    for page in pages.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href|src|action)="?([^" >]+)', text):
            target = html.unescape(link).partition("#")[0]
            if target:
                assert (page.parent / target).resolve().is_file(), f"{page}: {link}"
                found += 1
    assert found > 100


def test_the_index_finds_every_fact(pages: Path) -> None:
    script = (pages / "static" / "index.js").read_text(encoding="utf-8")
    index = json.loads(script.removeprefix("const ATLAS_INDEX = ").removesuffix(";\n"))
    assert ["Land 0", "Town 0", "P36", "P36-0.html"] in index["facts"]
    assert ["P36", "capital", "P36.html"] in index["relations"]
    assert "3:0" in index["neurons"]


def test_a_site_is_written_whole_or_not_at_all(
    synthetic: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: object, **options: object) -> str:
        raise RuntimeError("no room")

    monkeypatch.setattr(site, "compact", failing)
    with pytest.raises(RuntimeError):
        write_site(synthetic.atlas, tmp_path / "pages")
    assert list(tmp_path.iterdir()) == []


def test_only_an_earlier_site_is_replaced(
    synthetic: Synthetic, pages: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="is no earlier site"):
        write_site(synthetic.atlas, tmp_path, force=True)
    again = run("site", "--to", str(pages), on=synthetic)
    assert again.exit_code == 1
    assert "have it replaced (--to DIR, --force)" in again.stderr
    done = run("site", "--to", str(pages), "--force", "--format", "json", on=synthetic)
    assert done.exit_code == 0, done.stderr
    kinds = {row["kind"]: row["pages"] for row in json.loads(done.stdout)["rows"]}
    assert (kinds["fact"], kinds["neuron"]) == (12, 15)


def test_ids_that_are_no_file_names_get_one() -> None:
    assert file_name("P36-0") == "P36-0.html"
    names = [file_name(name) for name in ("a/b", "A/B", "..", "con", "é", "x" * 300)]
    assert len(set(names)) == 6
    assert all(re.fullmatch(r"[0-9a-f]{14}\.html", name) for name in names)
