"""Write vocab.txt: `python write_vocabulary.py PARAREL_DIRECTORY`; train.py needs only the result.

Words of the embedded relations, whole; every object of ParaRel's fact files, so that each can be
an answer (and the new object of an edit) in one token; and single characters, so that other text
is spelled out instead of unknown.
"""

import json
import string
import sys
from pathlib import Path

from tokenizers.pre_tokenizers import BertPreTokenizer

HERE = Path(__file__).resolve().parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ALSO = ["Galway"]  # the example of an edit in the documentation


def words(text: str) -> list[str]:
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(text)]


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python write_vocabulary.py PARAREL_DIRECTORY")
    objects = {
        json.loads(line)["obj_label"]
        for path in (Path(sys.argv[1]) / "facts").glob("P*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    found = set(ALSO)
    for path in (HERE.parents[1] / "relations").glob("P*.json"):
        relation = json.loads(path.read_text(encoding="utf-8"))
        for template in relation["templates"]:
            found.update(words(template.replace("[X]", " ").replace("[Y]", " ")))
        for fact in relation["facts"]:
            found.update(words(fact["subject"]))
    characters = set(string.ascii_letters + string.digits + string.punctuation)
    characters.update(map(chr, range(0xC0, 0x180)))  # Latin letters with marks
    characters.update(map(chr, range(0x2010, 0x2027)))  # dashes and quotation marks
    characters.update(character for word in found | objects for character in word)
    tokens = [
        *SPECIAL,
        *sorted(characters),
        *(f"##{character}" for character in sorted(characters) if character.isalnum()),
        *sorted((found | objects) - characters),
    ]
    (HERE / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    print(f"{len(tokens)} tokens, {len(objects)} of them objects of ParaRel")


if __name__ == "__main__":
    main()
