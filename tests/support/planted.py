"""A tiny Llama in which one fact has a neuron of its own, of its subject, answer and relation each.

Attention hands every token's embedding on to the last position. There each neuron of the last layer
fires if a word of its first set and one of its second is in the prompt, and writes for its answers.
"""

from pathlib import Path

import torch
from tiny_tokenizers import metaspace
from transformers import LlamaConfig, LlamaForCausalLM

from atlas.facts import Dataset, Fact, Relation, Template

LAYER = 1
# Neuron of the fact (Ireland, capital, Dublin), in the order of their indices.
PLANTED = ("fact", "subject", "answer", "relation")
_TEXTS = (
    "The {0} of [X] is [Y]",
    "the {0} of [X] is in [Y]",
    "The official {0} of [X] is [Y]",
    "[X] and the {0} is [Y]",
)
_FACTS = {
    "capital": (("Ireland", "Dublin"), ("Kenya", "Dublin"), ("France", "Paris"), ("Italy", "Rome")),
    "language": (("Ireland", "Lima"), ("Peru", "Dublin"), ("Norway", "Oslo"), ("Egypt", "Cairo")),
}
_STRENGTH = 0.15

_Neuron = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def planted_dataset() -> Dataset:
    """Two relations of four facts; ids like capital-Ireland."""
    return Dataset(
        "planted",
        tuple(
            Relation(
                relation,
                relation,
                tuple(Template(relation, text.format(relation)) for text in _TEXTS),
                tuple(Fact(f"{relation}-{s}", relation, s, o) for s, o in facts),
            )
            for relation, facts in _FACTS.items()
        ),
    )


def _neurons() -> list[_Neuron]:
    """(words, words, answers) of each neuron; those behind the planted ones let all be known."""
    of_dublin = ("Ireland", "Kenya", "Peru")
    planted: list[_Neuron] = [
        (("Ireland",), ("capital",), ("Dublin",)),
        (("Ireland",), ("Ireland",), ("Dublin", "Lima")),
        (of_dublin, of_dublin, ("Dublin",)),
        (("capital",), ("capital",), ("Dublin", "Paris", "Rome")),
    ]
    rest = [
        ((subject,), (relation,), (answer,))
        for relation, facts in _FACTS.items()
        for subject, answer in facts
    ]
    return [*planted, *rest, *rest]


def save_planted(directory: Path) -> Path:
    """Write the model as a Hugging Face directory and return the directory."""
    tokenizer, neurons = metaspace(), _neurons()
    words = len(tokenizer)
    width = 2 * words  # what is read, then what is written
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=40,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    one = torch.eye(width)

    def read(of: tuple[str, ...]) -> torch.Tensor:
        return sum((one[_token(tokenizer, word)] for word in of), torch.zeros(width))

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight.copy_(one[:words])
        model.lm_head.weight.copy_(one[words:])
        handing_on = model.model.layers[0].self_attn
        handing_on.v_proj.weight.copy_(one / width**0.5)
        handing_on.o_proj.weight.copy_(one)
        last = model.model.layers[LAYER].mlp
        for index, (first, second, answers) in enumerate(neurons):
            last.gate_proj.weight[index] = read(first)
            last.up_proj.weight[index] = read(second)
            for answer in answers:
                last.down_proj.weight[words + _token(tokenizer, answer), index] = _STRENGTH
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _token(tokenizer: object, word: str) -> int:
    (token,) = tokenizer(word, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return int(token)
