"""Five checkpoints of mini-bert, each made in another way, audited: prints a row for each.

    python tests/bench/audits.py --db ATLAS [--scope all] [--keep DIRECTORY]

The atlas, of the embedded facts on mini-bert, is copied. The checkpoints: a rank-one edit over all
neurons of a layer, as ROME makes them (written as a model); a LoRA adapter of rank 4 on both FFN
matrices, trained on 20 facts with other objects until it says nine in ten; a copy whose matrices
went through 8 bits a weight, one scale a row; the mean of two fine-tunes of all weights, each on 20
facts of one relation with other objects, likewise; a model with one relation unlearned, by ascent
until one answer in ten is right.
Columns: changed value vectors and tensors; right answers broken, of those that were right; the
forecast's AUC for them, from stored activations alone; the share of broken answers whose facts are
among the most endangered tenth (chance: 0.1); seconds of the audit; of these the seconds of the
forward passes, timed by themselves behind it; and seconds of the same audit once more, which asks
nothing: what a report takes.
"""

import argparse
import copy
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table

from atlas.atlas import Atlas, open_atlas
from atlas.audit.measure import effects_on
from atlas.audit.scopes import audited_prompts, parse_audit_scope
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model

STEPS = 400  # at most
Pair = tuple[str, str]  # a text with [Y] and the answer to be learnt


@dataclass(frozen=True)
class Material:
    """What checkpoints are made from. facts: by relation, each fact's prompts and its object."""

    db: Atlas
    lm: LanguageModel
    facts: dict[str, list[tuple[list[str], str]]]

    def swapped(self, relation: str, count: int) -> list[Pair]:
        """Prompts of the relation's first facts with the object of another one each."""
        some = self.facts[relation][:count]
        others = [answer for _, answer in self.facts[relation]]
        found = []
        for texts, answer in some:
            other = next(o for o in reversed(others) if o != answer)
            others.remove(other)
            found += [(text, other) for text in texts]
        return found

    def own(self, relation: str) -> list[Pair]:
        return [(text, answer) for texts, answer in self.facts[relation] for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--scope", default="all")
    parser.add_argument("--keep", type=Path, help="directory for the checkpoints")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        place = options.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        copied = Path(temporary) / "atlas.duckdb"
        shutil.copy(options.db, copied)
        db = open_atlas(copied)
        lm = load_model("mini-bert", device="cpu")
        material = Material(db, lm, known(db))
        table = Table(
            "checkpoint", "vectors", "tensors", "broken", "AUC", "top tenth", "s", "of it"
        )
        for name, make in CHECKPOINTS.items():
            directory = place / name
            if not directory.exists():
                make(material, directory)
            table.add_row(name, *audited(material, directory, options.scope))
            Console().print(table)


def known(db: Atlas) -> dict[str, list[tuple[list[str], str]]]:
    with db.reading() as connection:
        rows = connection.execute(
            """
            SELECT f.relation_id,
                   list(p.text ORDER BY p.prompt_id),
                   f.object
            FROM facts AS f
            JOIN prompts AS p USING (fact_id)
            JOIN prompt_results AS m USING (prompt_id)
            JOIN runs AS r USING (run_id)
            WHERE f.null_of IS NULL
              AND m.answer_rank = 1
              AND r.method = 'integrated-gradients'
              AND r.position = 'answer'
            GROUP BY f.relation_id, f.fact_id, f.object
            ORDER BY f.relation_id, f.fact_id
            """
        ).fetchall()
    found: dict[str, list[tuple[list[str], str]]] = {}
    for relation, texts, answer in rows:
        found.setdefault(relation, []).append((texts, answer))
    return found


def whole_layer_edit(material: Material, directory: Path) -> None:
    made = material.db.edit_update(
        "France", "London", relation="P36", neurons=1 << 20, lm=material.lm
    )
    material.db.edit_export(made.edit_id, to=directory, lm=material.lm)


def lora(material: Material, directory: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["intermediate.dense", "output.dense"])
    model = get_peft_model(copy.deepcopy(material.lm.model), config)
    train(material.lm, model, material.swapped("P36", 20), 1e-3)
    model.save_pretrained(directory)


def int8(material: Material, directory: Path) -> None:
    model = copy.deepcopy(material.lm.model)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
                weight.copy_((weight / scale).round() * scale)
    save(material.lm, model, directory)


def merged(material: Material, directory: Path) -> None:
    tuned = []
    for relation in ("P103", "P140"):
        model = copy.deepcopy(material.lm.model).requires_grad_(True)
        train(material.lm, model, material.swapped(relation, 20), 5e-5)
        tuned.append(model.state_dict())
    model = copy.deepcopy(material.lm.model)
    model.load_state_dict({name: (tuned[0][name] + tuned[1][name]) / 2 for name in tuned[0]})
    save(material.lm, model, directory)


def unlearned(material: Material, directory: Path) -> None:
    model = copy.deepcopy(material.lm.model).requires_grad_(True)
    train(material.lm, model, material.own("P37"), 5e-5, forget=True)
    save(material.lm, model, directory)


CHECKPOINTS: dict[str, Callable[[Material, Path], None]] = {
    "edit of a layer": whole_layer_edit,
    "LoRA adapter": lora,
    "int8 copy": int8,
    "merge of two": merged,
    "unlearned relation": unlearned,
}


def train(
    lm: LanguageModel, model: torch.nn.Module, pairs: Sequence[Pair], rate: float, *,
    forget: bool = False,
) -> None:  # fmt: skip
    """Lower the loss of the answers' first tokens, 64 prompts a step, until nine in ten are right.

    forget: raise it, until one in ten is.
    """
    weights = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    texts = [text.replace("[Y]", lm.tokenizer.mask_token) for text, _ in pairs]
    encoded = lm.tokenizer(texts, return_tensors="pt", padding=True)
    at = encoded["input_ids"] == lm.tokenizer.mask_token_id
    answers = torch.tensor(
        [lm.tokenizer(a, add_special_tokens=False)["input_ids"][0] for _, a in pairs]
    )
    order = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        if step % 5 == 0:
            model.eval()
            with torch.no_grad():
                right = model(**encoded).logits[at].argmax(-1) == answers
            share = float(right.float().mean())
            if share <= 0.1 if forget else share >= 0.9:
                break
            model.train()
        chosen = torch.randperm(len(pairs), generator=order)[:64]
        logits = model(**{name: value[chosen] for name, value in encoded.items()}).logits
        loss = torch.nn.functional.cross_entropy(logits[at[chosen]], answers[chosen])
        optimizer.zero_grad()
        (-loss if forget else loss).backward()
        optimizer.step()
    else:
        print(f"after {STEPS} steps {share:.0%} are right")
    model.eval()


def save(lm: LanguageModel, model: torch.nn.Module, directory: Path) -> None:
    model.save_pretrained(directory)  # type: ignore[operator]
    lm.tokenizer.save_pretrained(directory)


def audited(material: Material, directory: Path, scope: str) -> Iterable[str]:
    started = time.perf_counter()
    report = material.db.audit(directory, scope=scope, lm=material.lm, device="cpu", limit=None)
    whole = time.perf_counter() - started
    selection = report.selection
    assert selection is not None
    other = load_model(str(directory), device="cpu")
    with material.db.reading() as connection:
        prompts = audited_prompts(connection, selection.run_id, parse_audit_scope(scope))
    started = time.perf_counter()
    effects_on(material.lm, other, prompts)
    forward = time.perf_counter() - started
    started = time.perf_counter()
    material.db.audit(directory, scope=scope, lm=material.lm, device="cpu", limit=None)
    again = time.perf_counter() - started
    everybody = report.groups[0]
    tenth = report.forecast[: max(1, report.forecast_facts // 10)]
    endangered = {one.fact_id for one in tenth}
    broken = [one for one in report.worst if one.right_to_wrong]
    caught = sum(one.right_to_wrong for one in broken if one.fact_id in endangered)
    lost = sum(one.right_to_wrong for one in broken)
    return (
        f"{report.changed_neurons:,}",
        f"{report.changed_tensors}",
        f"{everybody.right_to_wrong:,} of {sum(r.right_before for r in report.relations):,}",
        "–" if report.foretold is None else f"{report.foretold:.3f}",
        "–" if not lost or report.foretold is None else f"{caught / lost:.2f}",
        f"{whole:.0f}",
        f"{forward:.0f}",
        f"{again:.0f}",
    )


if __name__ == "__main__":
    main()
