"""Measure how many prompts mini-bert answers: `python evaluate.py`.

Top-1 over the whole vocabulary, of the prompts it was trained on and of the held-out ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from examples import HERE, Example, examples, split
from transformers import AutoModelForMaskedLM, AutoTokenizer

BATCH = 256


@dataclass(frozen=True)
class Accuracy:
    """Share of prompts whose top answer is right, and the mean P(answer)."""

    prompts: int
    correct: int
    mean_p: float

    def __str__(self) -> str:
        share = 100 * self.correct / self.prompts
        return f"{self.correct} of {self.prompts} ({share:.2f} %), mean P(answer) {self.mean_p:.3f}"


def batches(prompts: list[Example]) -> Iterator[list[Example]]:
    by_length = sorted(prompts, key=lambda example: len(example.text))
    for start in range(0, len(by_length), BATCH):
        yield by_length[start : start + BATCH]


def accuracy(prompts: list[Example]) -> Accuracy:
    """Load the model beside this script and ask it `prompts`."""
    tokenizer = AutoTokenizer.from_pretrained(HERE)
    model = AutoModelForMaskedLM.from_pretrained(HERE).eval()
    correct, total_p = 0, 0.0
    with torch.inference_mode():
        for batch in batches(prompts):
            inputs = tokenizer([e.text for e in batch], return_tensors="pt", padding=True)
            answers = torch.tensor(tokenizer.convert_tokens_to_ids([e.answer for e in batch]))
            masks = inputs["input_ids"] == tokenizer.mask_token_id
            p = model(**inputs).logits[masks].softmax(dim=-1)  # [prompt, token]
            correct += int((p.argmax(dim=-1) == answers).sum())
            total_p += float(p.gather(1, answers[:, None]).sum())
    return Accuracy(len(prompts), correct, total_p / len(prompts))


def main() -> None:
    torch.set_num_threads(2)
    trained, held_out = split(examples())
    print(f"trained prompts: {accuracy(trained)}")
    print(f"held-out prompts: {accuracy(held_out)}")


if __name__ == "__main__":
    main()
