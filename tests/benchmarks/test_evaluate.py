"""Evaluations: three cases worked out by plain transformers, in both protocols; bad input."""

import json
from math import exp
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from benchmark_files import FLAT, KNOWEDIT, rome, written
from invocation import run
from stored_edits import Edited, build
from tiny_index import tables, tiny_dataset
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from atlas.answers import plain
from atlas.benchmarks import evaluate as evaluation
from atlas.benchmarks.metrics import ngram_entropy
from atlas.benchmarks.report import EvaluationReport
from atlas.edits.edit import Edit
from atlas.errors import AtlasError, DataError, EditError, ModelError, SettingsError

pytestmark = pytest.mark.usefixtures("one_thread")
CASES = (
    rome(0, "Ireland", "Dublin", "Oslo"),
    rome(1, "France", "Paris", "Ouagadougou"),
    rome(2, "Peru", "Antananarivo", "Paris"),
)
HOW: dict[str, Any] = {"method": "paper", "neurons": 8, "tokens": 20}
CLOSE = {"rel": 1e-3, "abs": 1e-5}


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Edited:
    directory = tmp_path_factory.mktemp("causal")
    return build(directory, save_tiny("gpt2", directory / "gpt2"), tiny_dataset())


@pytest.fixture(scope="module")
def masked(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("masked"), saved_bert)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Edit]:
    """The edits that an evaluation made, in their order."""
    edits: list[Edit] = []
    real = evaluation.make_update

    def noted(*args: Any) -> Any:
        found = real(*args)
        edits.append(found.edit)
        return found

    monkeypatch.setattr(evaluation, "make_update", noted)
    return edits


class Plain:
    """A plain transformers model and what it answers, asked one question at a time."""

    def __init__(self, directory: Path, masked: bool) -> None:
        kind = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        self.model: Any = kind.from_pretrained(directory).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(directory)
        self.masked = masked

    def edited(self, edit: Edit) -> None:
        for layer, neuron, delta in zip(edit.layers, edit.neurons, edit.deltas, strict=True):
            with torch.no_grad():
                if self.masked:
                    weight = self.model.bert.encoder.layer[layer].output.dense.weight
                    weight[:, neuron] += torch.tensor(delta)
                else:
                    self.model.transformer.h[layer].mlp.c_proj.weight[neuron] += torch.tensor(delta)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def log_p(self, ids: list[int]) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=torch.tensor([ids])).logits[0]
        return logits.log_softmax(-1)

    def forced(self, text: str, answer: str) -> tuple[float, list[int], list[int]]:
        """Mean log P of the answer's tokens, the tokens on top, and the answer's."""
        before = self.ids(text)
        wanted = self.ids(f"{text} {answer}")[len(before) :]
        found, top = [], []
        for number, token in enumerate(wanted):
            if self.masked:
                begin, mask = [self.tokenizer.cls_token_id, *before], self.tokenizer.mask_token_id
                masks = [*wanted[:number], *[mask] * (len(wanted) - number)]
                whole = [*begin, *masks, *self.ids("."), self.tokenizer.sep_token_id]
                row = self.log_p(whole)[len(begin) + number]
            else:
                row = self.log_p([*before, *wanted[:number]])[-1]
            found.append(float(row[token]))
            top.append(int(row.argmax()))
        return fmean(found), top, wanted

    def says(self, text: str, answer: str) -> tuple[bool, list[int]]:
        """Whether it says the answer by itself, and its tokens, as many as the answer has."""
        before = self.ids(text)
        wanted = self.ids(f"{text} {answer}")[len(before) :]
        if self.masked:
            begin, mask = [self.tokenizer.cls_token_id, *before], self.tokenizer.mask_token_id
            masks = [mask] * len(wanted)
            rows = self.log_p([*begin, *masks, *self.ids("."), self.tokenizer.sep_token_id])
            own = rows[len(begin) : len(begin) + len(wanted)].argmax(-1).tolist()
            return own == wanted, own
        own = self.writes(text, len(wanted) + 4)
        said = self.tokenizer.decode(own).strip().casefold()
        rest = said.removeprefix(answer.casefold())
        return rest != said and not rest[:1].isalnum(), own[: len(wanted)]

    def writes(self, text: str, tokens: int) -> list[int]:
        ids = self.ids(text)
        given = len(ids)
        for _ in range(tokens):
            token = int(self.log_p(ids)[-1].argmax())
            if token == self.tokenizer.eos_token_id:
                break
            ids.append(token)
        return ids[given:]


def by_hand(directory: Path, masked: bool, edits: list[Edit]) -> dict[tuple[str, str, str], float]:
    """Every number of the three cases, worked out again."""
    per_case = []
    for case, edit in zip(CASES, edits, strict=True):
        before, after = Plain(directory, masked), Plain(directory, masked)
        after.edited(edit)
        rewrite = case["requested_rewrite"]
        new, true = rewrite["target_new"]["str"], rewrite["target_true"]["str"]
        own = [rewrite["prompt"].format(rewrite["subject"])]
        found: dict[tuple[str, str, str], float] = {}
        for about, texts in (("efficacy", own), ("paraphrase", case["paraphrase_prompts"]),
                             ("neighbourhood", case["neighborhood_prompts"])):  # fmt: skip
            first, second = (new, true) if about != "neighbourhood" else (true, new)
            leads, right, said, same, still = [], [], [], [], []
            for text in texts:
                log_first, top, tokens = after.forced(text, first)
                log_second, _, _ = after.forced(text, second)
                leads.append(exp(log_first) - exp(log_second))
                right.append(fmean(a == b for a, b in zip(top, tokens, strict=True)))
                said.append(after.says(text, first)[0])
                old = before.forced(text, first)[1]
                same.append(fmean(a == b for a, b in zip(top, old, strict=True)))
                still.append(before.says(text, first)[1] == after.says(text, first)[1])
            found[about, "score", "teacher-forced"] = fmean(lead > 0 for lead in leads)
            found[about, "magnitude", "teacher-forced"] = fmean(leads)
            found[about, "accuracy", "teacher-forced"] = fmean(right)
            found[about, "accuracy", "free-running"] = fmean(said)
            if about == "neighbourhood":
                found[about, "unchanged", "teacher-forced"] = fmean(same)
                found[about, "unchanged", "free-running"] = fmean(still)
        if not masked:
            (text,) = case["generation_prompts"]
            given = len(after.ids(text))
            whole = text + after.tokenizer.decode(after.writes(text, 20 - given))
            if (entropy := ngram_entropy(whole)) is not None:
                found["fluency", "entropy", "free-running"] = entropy
        per_case.append(found)
    names = {name for found in per_case for name in found}
    return {name: fmean(f[name] for f in per_case if name in f) for name in names}


def numbers(found: EvaluationReport) -> dict[tuple[str, str, str], float]:
    return {(s.about, s.number, s.protocol): s.after for s in found.scores}


@pytest.mark.parametrize(
    ("kind", "method"), [("causal", "paper"), ("causal", "spare"), ("masked", "solve")]
)
def test_three_cases_give_the_numbers_of_plain_transformers(
    kind: str, method: str, tmp_path: Path, made: list[Edit], request: pytest.FixtureRequest
) -> None:
    edited: Edited = request.getfixturevalue(kind)
    weights = {name: w.clone() for name, w in edited.lm.model.state_dict().items()}
    before = tables(edited.atlas.path, clocks=True)
    path = written(tmp_path / "cases.json", *CASES)
    found = edited.atlas.evaluate(path, lm=edited.lm, **HOW | {"method": method})
    assert (found.evaluated, found.not_made, len(made)) == (3, 0, 3)
    assert numbers(found) == pytest.approx(
        by_hand(edited.directory, kind == "masked", made), **CLOSE
    )
    assert {s.cases for s in found.scores if s.about != "fluency"} == {3}
    for name, weight in edited.lm.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    assert tables(edited.atlas.path, clocks=True) == before


def test_the_free_answer_has_to_be_whole_where_teacher_forcing_counts_tokens(
    causal: Edited, tmp_path: Path
) -> None:
    found = causal.atlas.evaluate(written(tmp_path / "c.json", *CASES), lm=causal.lm, **HOW)
    own = numbers(found)
    for about in ("efficacy", "paraphrase", "neighbourhood"):
        assert own[about, "accuracy", "free-running"] <= own[about, "accuracy", "teacher-forced"]


@pytest.mark.parametrize(
    ("protocol", "named"), [("teacher-forced", "teacher-forced"), ("free", "free-running")]
)
def test_a_protocol_alone_gives_its_part_of_both(
    masked: Edited, tmp_path: Path, protocol: str, named: str
) -> None:
    path = written(tmp_path / "c.json", *CASES)
    both = masked.atlas.evaluate(path, lm=masked.lm, **HOW)
    alone = masked.atlas.evaluate(path, lm=masked.lm, protocol=protocol, **HOW)
    assert alone.scores == tuple(s for s in both.scores if s.protocol == named)


def test_python_and_the_command_line_say_the_same(causal: Edited, tmp_path: Path) -> None:
    path = written(tmp_path / "c.json", *CASES)
    db, lm = causal.atlas, causal.lm
    found = plain(db.evaluate(path, lm=lm, cases=tmp_path / "a", **HOW).to_json())
    options = ["evaluate", str(path), "--method", "paper", "--neurons", "8", "--tokens", "20",
               "--model", str(causal.directory), "--db", str(db.path)]  # fmt: skip
    told = run(*options, "--format", "json", "--cases", str(tmp_path / "b"))
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    for one in (found, said):
        for case in one["summary"]["cases"]:
            del case["seconds"]
        del one["summary"]["directory"], one["summary"]["model"]
    assert said == found
    table = run(*options, "--edits", "1", "--verbose")
    assert table.exit_code == 0, table.output
    for heading in ("by paper (8 neurons), teacher-forced", "by paper (8 neurons), free-running"):
        assert heading in table.stdout
    csv = run(*options, "--edits", "1", "--protocol", "free", "--format", "csv")
    assert csv.stdout.startswith("about,number,protocol,before,after,low,high,cases\n")


def test_rome_reads_the_files_and_finds_the_same(causal: Edited, tmp_path: Path) -> None:
    path = written(tmp_path / "c.json", *CASES)
    found = causal.atlas.evaluate(path, lm=causal.lm, cases=tmp_path / "run_000", **HOW)
    files = sorted((tmp_path / "run_000").glob("case_*.json"))
    assert [file.name for file in files] == ["case_0.json", "case_1.json", "case_2.json"]
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert [one["case_id"] for one in results] == [0, 1, 2]
    own = {(s.about, s.number): s for s in found.scores if s.protocol == "teacher-forced"}
    for prefix, name in (("pre", "before"), ("post", "after")):
        for key, about, sign in (("rewrite", "efficacy", 1), ("paraphrase", "paraphrase", 1),
                                 ("neighborhood", "neighbourhood", -1)):  # fmt: skip
            rows = [one[prefix][f"{key}_prompts_probs"] for one in results]
            success = [
                fmean(sign * (x["target_true"] - x["target_new"]) > 0 for x in r) for r in rows
            ]
            diff = [
                fmean(sign * (exp(-x["target_new"]) - exp(-x["target_true"])) for x in r)
                for r in rows
            ]
            assert fmean(success) == pytest.approx(getattr(own[about, "score"], name))
            assert fmean(diff) == pytest.approx(getattr(own[about, "magnitude"], name))
    assert all(one["time"] > 0 for one in results)
    with pytest.raises(SettingsError, match="holds results of cases"):
        causal.atlas.evaluate(path, lm=causal.lm, cases=tmp_path / "run_000", **HOW)


def test_portability_and_a_file_without_true_objects(causal: Edited, tmp_path: Path) -> None:
    silent = {name: value for name, value in KNOWEDIT.items() if name != "ground_truth"}
    found = causal.atlas.evaluate(written(tmp_path / "k.json", silent), lm=causal.lm, **HOW)
    own = {(s.about, s.number): s for s in found.scores}
    assert own["portability", "accuracy"].cases == 1
    assert ("efficacy", "score") not in own
    assert (own["efficacy", "accuracy"].low, own["efficacy", "accuracy"].cases) == (None, 1)


def test_what_is_held_out_is_not_among_what_an_edit_is_made_from(
    masked: Edited, tmp_path: Path
) -> None:
    near = {"locality_prompt": "The capital of France is"}
    found = masked.atlas.evaluate(written(tmp_path / "c.json", FLAT | near), lm=masked.lm, **HOW)
    rows = masked.atlas.sql(
        """
        SELECT count(*)
        FROM prompt_results AS m JOIN prompts AS p USING (prompt_id) JOIN facts USING (fact_id)
        WHERE skipped_because IS NULL
          AND (subject = 'Ireland' AND object = 'Dublin'
               OR text IN ('The capital of France is [Y].', 'The city of Ireland is [Y].'))
        """
    ).rows
    assert found.left_out_prompts == rows[0][0] > 1


def test_as_many_cases_as_are_wanted_the_first_or_drawn(masked: Edited, tmp_path: Path) -> None:
    bad = rome(9, "Ireland", "Dublin", "ŋŋŋ")
    path = written(tmp_path / "c.json", bad, *CASES)
    first = masked.atlas.evaluate(path, edits=2, lm=masked.lm, **HOW)
    assert [case.case for case in first.cases] == [0, 1]
    assert [(one.case, one.whole_case) for one in first.inexpressible] == [(9, True)]
    drawn = [masked.atlas.evaluate(path, edits=2, seed=s, lm=masked.lm, **HOW) for s in (1, 1, 2)]
    cases = [tuple(case.case for case in found.cases) for found in drawn]
    assert cases[0] == cases[1]
    assert len(set(cases)) == 2 or cases[0] != (0, 1)


def test_an_edit_that_cannot_be_made_counts_as_no_change(masked: Edited, tmp_path: Path) -> None:
    same = rome(5, "Norway", "Oslo", "Oslo")
    path = written(tmp_path / "c.json", CASES[0], same)
    found = masked.atlas.evaluate(path, lm=masked.lm, **HOW)
    assert (found.evaluated, found.not_made) == (2, 1)
    assert "is the object of" in str(found.cases[1].problem)
    with pytest.raises(EditError, match="no edit could be made; the first: 'Oslo' is the object"):
        masked.atlas.evaluate(written(tmp_path / "d.json", same), lm=masked.lm, **HOW)


def test_bad_input_is_one_line_and_stores_nothing(
    masked: Edited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = written(tmp_path / "good.json", *CASES)
    unknown = written(tmp_path / "unknown.json", rome(1, "Ireland", "Dublin", "ŋŋŋ"))
    other = written(tmp_path / "other.json", {"src": "a", "rephrase": "b", "answers": ["c"]})
    before = tables(masked.atlas.path, clocks=True)
    refused: list[tuple[type[AtlasError], str, dict[str, Any]]] = [
        (DataError, "looks like zsRE, as EasyEdit has it, but lacks", {"file": other}),
        (DataError, "does not exist", {"file": tmp_path / "none.json"}),
        (DataError, "can be asked none of the cases", {"file": unknown}),
        (ModelError, "none-such", {"lm": "none-such"}),
        (SettingsError, "not run by method 'hypernetwork'", {"method": "hypernetwork"}),
        (SettingsError, "unknown protocol", {"protocol": "strict"}),
        (SettingsError, "edits is 0", {"edits": 0}),
        (SettingsError, "tokens is -1", {"tokens": -1}),
        (SettingsError, "is a file", {"cases": good}),
        (SettingsError, "no setting 'nonsense'", {"nonsense": 1}),
    ]
    for kind, said, changes in refused:
        given = {"file": good, "lm": masked.lm, "cases": tmp_path / "out"} | changes
        with pytest.raises(kind, match=said) as caught:
            masked.atlas.evaluate(given.pop("file"), **given)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
    told = run("evaluate", str(other), "--db", str(masked.atlas.path))
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
    assert tables(masked.atlas.path, clocks=True) == before
