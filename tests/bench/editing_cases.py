"""Write small benchmark files, CounterFact- and zsRE-like, of facts that a model knows.

    python tests/bench/editing_cases.py --model mini-bert --to cases --cases 20

Of the facts below those are taken whose prompt the model answers rightly by itself, each
to be given the object of another fact of its relation, relations in turn.
"""

import argparse
import json
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from atlas.benchmarks.asking import said
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model


class Wording(NamedTuple):
    """How a relation is asked: {} is the subject."""

    prompt: str
    paraphrases: tuple[str, ...]
    question: str
    rephrased: str
    generation: tuple[str, ...]
    facts: dict[str, str]  # objects with their subjects, by commas


WORDINGS = {
    "P30": Wording(
        "{} is a country that lies in",
        ("Look for {} on a map, and you will find it in", "Anyone who lives in {} lives in"),
        "Q: Which continent is {} in? A:",
        "Q: On which of the continents does {} lie? A:",
        ("A traveller who comes to {} sees", "The history of {}"),
        {
            "Africa": "Egypt, Kenya, Nigeria, Ghana, Morocco, Ethiopia, Angola, Uganda",
            "Europe": "France, Germany, Italy, Poland, Austria, Norway, Portugal, Hungary",
            "Asia": "China, Japan, India, Vietnam, Thailand, Nepal, Mongolia, Pakistan",
        },
    ),
    "P17": Wording(
        "{} is a city in",
        ("The streets of {} are full of people from all over", "The town hall of {} stands in"),
        "Q: In which country is {}? A:",
        "Q: Which country does the city of {} belong to? A:",
        ("The streets of {} are", "Somebody who was born in {}"),
        {
            "France": "Lyon, Marseille, Toulouse, Bordeaux, Lille, Strasbourg",
            "Italy": "Milan, Turin, Naples, Florence, Bologna, Venice",
            "Japan": "Osaka, Kyoto, Nagoya, Hiroshima, Sapporo, Kobe",
            "Germany": "Hamburg, Munich, Cologne, Frankfurt, Stuttgart, Leipzig",
            "India": "Mumbai, Delhi, Chennai, Kolkata, Bangalore, Hyderabad",
        },
    ),
    "P37": Wording(
        "The official language of {} is",
        ("The laws of {} are written in", "Children in the schools of {} learn to read in"),
        "Q: What is the official language of {}? A:",
        "Q: Which language do offices in {} use? A:",
        ("At school in {}, children learn", "A letter from {} says"),
        {
            "French": "France, Senegal, Monaco, Haiti, Gabon, Mali",
            "Spanish": "Spain, Mexico, Cuba, Peru, Chile, Argentina",
            "German": "Germany, Austria, Liechtenstein",
            "English": "Australia, Jamaica, Ghana, Nigeria, Barbados",
            "Portuguese": "Portugal, Brazil, Angola, Mozambique",
            "Arabic": "Egypt, Iraq, Kuwait, Yemen, Jordan",
        },
    ),
}
ASIDE = (  # unrelated questions with their answers, for zsRE's `loc`
    ("Q: What is the capital of France? A:", "Paris"),
    ("Q: What is the capital of Italy? A:", "Rome"),
    ("Q: What is the capital of Japan? A:", "Tokyo"),
    ("Q: What is the capital of England? A:", "London"),
)
NEIGHBOURS = 4


class Case(NamedTuple):
    relation: str
    subject: str
    true: str
    new: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--to", type=Path, default=Path("cases"))
    parser.add_argument("--cases", type=int, default=20)
    wanted = parser.parse_args()
    lm = load_model(wanted.model, device="cpu")
    wanted.to.mkdir(parents=True, exist_ok=True)
    for name, entry in (("counterfact", counterfact), ("zsre", zsre)):
        known = [known_cases(lm, relation) for relation in WORDINGS]
        dealt = [case for turn in zip_longest(*known) for case in turn if case is not None]
        entries = [entry(number, case) for number, case in enumerate(dealt[: wanted.cases])]
        path = wanted.to / f"{name}.json"
        path.write_text(json.dumps(entries, indent=1, ensure_ascii=False), encoding="utf-8")
        print(f"{path}: {len(entries)} of {len(dealt)} cases that {lm.name} knows")


def known_cases(lm: LanguageModel, relation: str) -> list[Case]:
    """Cases of the relation of which the model says the prompt's answer right by itself."""
    wording = WORDINGS[relation]
    objects = list(wording.facts)
    pairs = [(s, o) for o, subjects in wording.facts.items() for s in subjects.split(", ")]
    found = said(lm, [(wording.prompt.format(subject), (true,)) for subject, true in pairs])
    known = [pair for pair, one in zip(pairs, found, strict=True) if one.right]
    cases = []
    for number, (subject, true) in enumerate(known):
        others = [o for o in objects if o != true]
        cases.append(Case(relation, subject, true, others[number % len(others)]))
    return cases


def counterfact(number: int, case: Case) -> dict[str, object]:
    """A case in ROME's layout; its neighbourhood has the same true object."""
    wording = WORDINGS[case.relation]
    near = [s for s in wording.facts[case.true].split(", ") if s != case.subject]
    return {
        "case_id": number,
        "requested_rewrite": {
            "prompt": wording.prompt,
            "relation_id": case.relation,
            "target_new": {"str": case.new, "id": ""},
            "target_true": {"str": case.true, "id": ""},
            "subject": case.subject,
        },
        "paraphrase_prompts": [text.format(case.subject) for text in wording.paraphrases],
        "neighborhood_prompts": [wording.prompt.format(subject) for subject in near[:NEIGHBOURS]],
        "attribute_prompts": [],
        "generation_prompts": [text.format(case.subject) for text in wording.generation],
    }


def zsre(number: int, case: Case) -> dict[str, object]:
    """A case in EasyEdit's layout of zsRE."""
    wording = WORDINGS[case.relation]
    aside, answer = ASIDE[number % len(ASIDE)]
    question = wording.question.format(case.subject)
    return {
        "case_id": number,
        "subject": case.subject,
        "src": question,
        "pred": case.true,
        "rephrase": wording.rephrased.format(case.subject),
        "alt": case.new,
        "answers": [case.true],
        "loc": aside,
        "loc_ans": answer,
        "cond": f"{case.true} >> {case.new} || {question}",
    }


if __name__ == "__main__":
    main()
