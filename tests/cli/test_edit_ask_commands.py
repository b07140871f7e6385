"""`atlas edit apply` and `atlas edit live`: questions without edits and with them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from answers import rows_of
from atlas_cli.tables import visible
from invocation import run
from stored_edits import ByHand, Edited, build
from tiny_index import rows

from atlas.edits.applying import applied
from atlas.edits.asking import ask, continued, top_answers
from atlas.edits.edit import Edit
from atlas.errors import PromptError

QUESTION = "The capital of Ireland is [MASK]."


@pytest.fixture(scope="module")
def indexed_bert(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """Edits 1 (Ireland), 2 (France, on the same neurons) and 3 (Italy, on others)."""
    edited = build(tmp_path_factory.mktemp("bert"), saved_bert)
    edited.store("P36-0", seed=1)
    edited.store("P36-1", seed=2, **_neurons_of(edited, 1))
    edited.store("P36-2", seed=3, layers=[1], neurons=[39], deltas=[[0.5] * 24])
    return edited


def _neurons_of(edited: Edited, number: int) -> dict[str, Any]:
    """What makes another edit change the same neurons, by other amounts."""
    (edit,) = edited.atlas.edits(number)
    deltas = -2.0 * edit.deltas[::-1]
    return {"layers": edit.layers, "neurons": edit.neurons, "deltas": deltas}


@pytest.fixture(scope="module")
def gpt2(saved_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    edited = build(tmp_path_factory.mktemp("gpt2"), saved_gpt2)
    edited.store()
    return edited


def _edit(edited: Edited, command: str, *arguments: str, input: str | None = None) -> Any:
    model = ("--model", str(edited.directory))
    return run("edit", command, *arguments, *model, on=edited, input=input)


def _likeliest(edited: Edited, text: str, edits: list[Edit], count: int) -> list[tuple[str, float]]:
    """Top tokens by a plain forward pass of a model whose weights are changed by hand."""
    hand = ByHand(edited.lm)
    tokenizer, model = edited.lm.tokenizer, edited.lm.model
    weights = [hand._weight(layer) for layer in range(edited.lm.layers)]
    saved = [weight.clone() for weight in weights]
    for edit in edits:
        for layer, neuron, delta in zip(edit.layers, edit.neurons, edit.deltas, strict=True):
            weights[layer][int(neuron)] += torch.tensor(delta)
    ids = tokenizer(text)["input_ids"]
    masked = edited.lm.objective == "masked"
    position = ids.index(tokenizer.mask_token_id) if masked else len(ids) - 1
    with torch.no_grad():
        p = model(torch.tensor([ids])).logits[0, position].softmax(-1)
    for weight, original in zip(weights, saved, strict=True):
        weight.copy_(original)
    best = sorted(enumerate(p.tolist()), key=lambda pair: -pair[1])[:count]
    if masked:
        return [(tokenizer.decode([token]).strip(), share) for token, share in best]
    return [(_word(edited, ids, token), share) for token, share in best]


def _word(edited: Edited, ids: list[int], token: int) -> str:
    """What a causal model writes from `token` on, to the end of the word; one row at a time."""
    model, tokenizer, answer = edited.lm.model, edited.lm.tokenizer, [token]
    while len(answer) < 8:
        with torch.no_grad():
            following = int(model(torch.tensor([ids + answer])).logits[0, -1].argmax())
        before, after = tokenizer.decode(answer), tokenizer.decode([*answer, following])
        if not (before[-1:].isalnum() and after[len(before) :][:1].isalnum()):
            break
        answer.append(following)
    return tokenizer.decode(answer).strip()


def test_apply_shows_the_likeliest_answers_before_and_after(indexed_bert: Edited) -> None:
    result = _edit(
        indexed_bert, "apply", "1", "3", "--ask", QUESTION, "--top", "4", "--format", "json"
    )
    assert result.exit_code == 0, result.output
    (found,) = rows_of(result.stdout)
    edits = indexed_bert.atlas.edits(1, 3)
    for when, those in (("before", []), ("after", edits)):
        expected = _likeliest(indexed_bert, QUESTION, those, 4)
        assert [answer["text"] for answer in found[when]] == [text for text, _ in expected]
        assert [a["p"] for a in found[when]] == pytest.approx([p for _, p in expected], rel=1e-4)
    assert found["before"] != found["after"]


def test_apply_writes_a_table_a_question(indexed_bert: Edited) -> None:
    other = "The seat of France is in [Y]."
    result = _edit(indexed_bert, "apply", "1", "--ask", QUESTION, "--ask", other, "--top", "2")
    lines = result.stdout.splitlines()
    assert lines[0] == QUESTION
    assert lines[1].split() == ["before", "P", "after", "P"]
    assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]
    assert lines[6] == other


def test_apply_writes_csv(indexed_bert: Edited) -> None:
    text = _edit(
        indexed_bert, "apply", "1", "--ask", QUESTION, "--top", "2", "--format", "csv"
    ).stdout
    assert text.splitlines()[0] == "question,rank,before,p_before,after,p_after"
    assert len(text.splitlines()) == 3


def test_apply_writes_nothing_into_the_atlas_or_the_model(indexed_bert: Edited) -> None:
    before = indexed_bert.atlas.path.read_bytes()
    weights = (indexed_bert.directory / "model.safetensors").read_bytes()
    _edit(indexed_bert, "apply", "1", "--ask", QUESTION)
    assert indexed_bert.atlas.path.read_bytes() == before
    assert (indexed_bert.directory / "model.safetensors").read_bytes() == weights


def test_edits_of_the_same_neurons_and_facts_that_interfere_are_reported(
    indexed_bert: Edited,
) -> None:
    result = _edit(indexed_bert, "apply", "1", "2", "--ask", QUESTION)
    (edit,) = indexed_bert.atlas.edits(1)
    first = "{}:{}".format(*edit.named_neurons[0])
    overlap, *interference = result.stderr.splitlines()
    assert overlap.startswith(f"Edits 1 and 2 both change {first}, ")
    neurons = set(edit.named_neurons)
    ((mass,),) = rows(
        indexed_bert.atlas.path,
        """
        SELECT sum(positive_mass)
        FROM prompt_results
        JOIN prompts USING (prompt_id)
        WHERE fact_id = 'P36-1'
        """,
    )
    hit = 0.0
    for layer, neuron, score in rows(
        indexed_bert.atlas.path,
        """
        SELECT layer, neuron, score
        FROM attributions
        JOIN prompts USING (prompt_id)
        WHERE fact_id = 'P36-1'
          AND score > 0
        """,
    ):
        hit += score * ((layer, neuron) in neurons)
    expected = f"Edit 1 interferes with edit 2: its neurons hold {hit / mass:.0%} of the score mass"
    assert (hit / mass >= 0.05) == any(line.startswith(expected) for line in interference)
    assert any("interferes with" in line for line in interference)


def test_edits_far_apart_are_not_reported(indexed_bert: Edited) -> None:
    result = _edit(indexed_bert, "apply", "1", "3", "--ask", QUESTION)
    assert "both change" not in result.stderr


def test_apply_without_a_question_needs_an_edit_with_prompts(indexed_bert: Edited) -> None:
    result = _edit(indexed_bert, "apply", "1")
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr == (
        "Error: these edits have no prompt of their own here: say what to ask (--ask TEXT)\n"
    )


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("The capital of Ireland is", "a masked model fills in a [MASK]: write one"),
        ("[MASK] is in [MASK].", "ask for one thing at a time: write one [MASK], not several"),
        ("The capital of " + "Ireland " * 60 + "is [MASK].", "the question has 68 tokens"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(
    indexed_bert: Edited, question: str, says: str
) -> None:
    result = _edit(indexed_bert, "apply", "1", "--ask", question)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr.startswith(f"Error: {says}")
    assert result.stderr.count("\n") == 1


def test_a_causal_model_is_asked_up_to_where_its_answer_begins(gpt2: Edited) -> None:
    text = "The capital of Ireland is"
    expected = _likeliest(gpt2, text, [], 3)
    for question in (text, f"{text} ", f"{text} [MASK].", f"{text} [Y]"):
        found = top_answers(gpt2.lm, question, 3)
        assert [answer.text for answer in found] == [answer for answer, _ in expected]
        assert [answer.p for answer in found] == pytest.approx([p for _, p in expected], rel=1e-4)
    with pytest.raises(PromptError, match="a causal model needs a template that ends in"):
        top_answers(gpt2.lm, "[MASK] is the capital of Ireland")


TEXT = "The capital of Ireland is"


def _written(edited: Edited, text: str, edits: list[Edit], count: int) -> str:
    """What transformers' own generate writes, with the edits on."""
    tokenizer, model = edited.lm.tokenizer, edited.lm.model
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with applied(edited.lm, edits), torch.no_grad():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    return str(tokenizer.decode(out[0])[len(tokenizer.decode(ids[0])) :])


def test_a_causal_model_writes_on_as_transformers_generate_does(gpt2: Edited) -> None:
    edits = gpt2.atlas.edits(1)
    (found,) = gpt2.atlas.ask(gpt2.lm, TEXT, edits=[1], tokens=12).answers
    assert found.continued_before == _written(gpt2, TEXT, [], 12)
    assert found.continued_after == _written(gpt2, TEXT, edits, 12)
    assert found.continued_before != found.continued_after
    (plain,) = gpt2.atlas.ask(gpt2.lm, TEXT, edits=[1]).answers
    assert (plain.continued_before, plain.continued_after) == (None, None)
    assert plain.before == found.before


def test_apply_and_live_show_what_a_causal_model_writes(gpt2: Edited) -> None:
    (found,) = gpt2.atlas.ask(gpt2.lm, TEXT, edits=[1], tokens=4).answers
    applied_ = _edit(gpt2, "apply", "1", "--ask", TEXT, "--tokens", "4", "--top", "1")
    live = _edit(gpt2, "live", "1", "--tokens", "4", "--top", "1", input=f"{TEXT}\n")
    for result in (applied_, live):
        assert result.exit_code == 0, result.output
        before, after = result.stdout.splitlines()[-2:]
        assert before == f"before: …{visible(found.continued_before or '')}".rstrip()
        assert after == f" after: …{visible(found.continued_after or '')}".rstrip()
    text = _edit(gpt2, "apply", "1", "--ask", TEXT, "--tokens", "4", "--format", "csv").stdout
    assert text.splitlines()[0].endswith(",continued_before,continued_after")


def test_writing_stops_where_the_context_does(gpt2: Edited) -> None:
    tokenizer, long = gpt2.lm.tokenizer, TEXT
    while len(tokenizer(f"{long} is")["input_ids"]) <= gpt2.lm.context - 3:
        long += " is"
    room = gpt2.lm.context - len(tokenizer(long)["input_ids"])
    assert 0 < room < 10
    assert continued(gpt2.lm, long, 50) == continued(gpt2.lm, long, room)
    assert continued(gpt2.lm, long, 1) != continued(gpt2.lm, long, 0) == ""


@pytest.mark.parametrize("command", [("apply", "1", "--ask", QUESTION), ("live", "1")])
def test_a_masked_model_writes_no_text_and_says_so_before_it_is_loaded(
    indexed_bert: Edited, command: tuple[str, ...]
) -> None:
    model = ("--model", "nowhere/at-all.gguf")
    result = run("edit", *command, "--tokens", "5", *model, on=indexed_bert, input="")
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr == (
        "Error: a masked model fills in a [MASK] and writes no text: ask it without tokens to "
        "write (--tokens N)\n"
    )


def test_every_answer_says_its_model_run_and_selection(indexed_bert: Edited) -> None:
    arguments = ("apply", "1", "3", "--ask", QUESTION, "--format", "json")
    answer = json.loads(_edit(indexed_bert, *arguments).stdout)
    (edit,) = indexed_bert.atlas.edits(1)
    assert answer["run"]["run_id"] == edit.run_id
    assert answer["selection"]["selection_id"] == edit.selection_id
    assert answer["summary"]["model"] == indexed_bert.directory.name
    assert answer["summary"]["edits"] == [1, 3]


def test_asking_leaves_the_weights_as_they_were(gpt2: Edited) -> None:
    before = [parameter.clone() for parameter in gpt2.lm.model.parameters()]
    found = ask(gpt2.lm, gpt2.atlas.edits(1), "The capital of Ireland is", 2)
    assert found.before != found.after
    after = list(gpt2.lm.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_live_answers_what_is_piped_in_until_it_ends(indexed_bert: Edited) -> None:
    result = _edit(indexed_bert, "live", "1", "--top", "2", input=f"{QUESTION}\n\n{QUESTION}\n")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:5] == lines[5:]
    expected = _edit(indexed_bert, "apply", "1", "--ask", QUESTION, "--top", "2").stdout
    assert lines[:5] == expected.splitlines()


def test_live_switches_edits_on_and_off(indexed_bert: Edited) -> None:
    lines = f":off 1\n{QUESTION}\n:on 3\n:on 1\n:list\n:off 1\n:off 3\n:list\n"
    result = _edit(indexed_bert, "live", "1", "--top", "1", input=lines)
    off, asked = result.stderr.splitlines(), result.stdout.splitlines()
    assert off == ["On: none", "On: 3", "On: 3, 1", "On: 3", "On: none"]
    (base,) = _likeliest(indexed_bert, QUESTION, [], 1)
    assert asked[3].split()[1] == asked[3].split()[3] == base[0]
    assert [line.split()[:2] for line in asked[4:]] == [
        ["1", "on"],
        ["3", "on"],
        ["1", "off"],
        ["3", "off"],
    ]


def test_live_says_that_an_edit_is_not_on_or_not_there(indexed_bert: Edited) -> None:
    result = _edit(indexed_bert, "live", "1", input=":off 3\n:off 9\n:on 1\n")
    assert result.stderr.splitlines() == [
        "Edit 3 is not on.",
        "On: 1",
        "Error: no edit 9: the atlas has 1, 2, 3 (see `atlas edit list`)",
        "Edit 1 is on already.",
        "On: 1",
    ]


def test_live_stops_at_quit(indexed_bert: Edited) -> None:
    result = _edit(indexed_bert, "live", "1", input=f":quit\n{QUESTION}\n")
    assert (result.stdout, result.exit_code) == ("", 0)


def test_live_goes_on_after_what_it_cannot_do(indexed_bert: Edited) -> None:
    lines = f"no mask\n:on\n:on x\n:on 99\n:frobnicate\n:help\n{QUESTION}\n"
    result = _edit(indexed_bert, "live", "1", "--top", "1", input=lines)
    assert result.exit_code == 0
    errors = result.stderr.splitlines()
    assert errors[0].startswith("Error: a masked model fills in a [MASK]")
    assert errors[1:3] == ["Error: write the number of an edit, e.g. :on 1"] * 2
    assert errors[3] == "Error: no edit 99: the atlas has 1, 2, 3 (see `atlas edit list`)"
    assert errors[4].startswith("Error: no command ':frobnicate'; there are :on, :off, :list,")
    assert ":quit" in result.stdout
    assert QUESTION in result.stdout


def test_live_reports_edits_that_get_in_each_others_way_when_both_are_on(
    indexed_bert: Edited,
) -> None:
    result = _edit(indexed_bert, "live", "1", input=":on 2\n")
    assert "Edits 1 and 2 both change " in result.stderr
    assert "Edits 1 and 2 both change " in _edit(indexed_bert, "live", "1", "2", input="").stderr


@pytest.mark.parametrize("command", ["apply", "live"])
def test_an_edit_named_twice_is_refused(indexed_bert: Edited, command: str) -> None:
    result = _edit(indexed_bert, command, "1", "1")
    assert result.stderr == "Error: edit 1 is named twice: name it once\n"
    assert result.exit_code == 1


def test_edits_of_two_models_are_not_applied_together(indexed_bert: Edited, tmp_path: Path) -> None:
    edited = indexed_bert.copied(tmp_path / "own.duckdb")
    number = edited.store(weights_sha256="ab" * 32, run_id=None, selection_id=None)
    result = _edit(edited, "apply", "1", str(number), "--ask", QUESTION)
    assert result.exit_code == 1
    assert f"edit {number} for abababababab: name edits of one model" in result.stderr


def test_an_edit_of_a_model_that_the_atlas_does_not_know_asks_for_it(
    indexed_bert: Edited, tmp_path: Path
) -> None:
    edited = indexed_bert.copied(tmp_path / "own.duckdb")
    number = edited.store(weights_sha256="ab" * 32, run_id=None, selection_id=None)
    result = _edit(edited, "apply", str(number), "--ask", QUESTION)
    assert result.exit_code == 1
    assert "the atlas does not know the model with weights abababababab" in result.stderr
