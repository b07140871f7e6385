"""Peak memory of attributing long prompts on BERT-large's shape, under a budget: prints one line.

python tests/bench/attribution_memory.py [--memory-budget GIB] [--tokens 128] [--prompts 2]
"""

import argparse
import resource

import torch
from transformers import BertConfig, BertForMaskedLM

from atlas.engine.attribution import attribute_targets
from atlas.engine.settings import Integration
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import Target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory-budget", type=float, help="GiB; default: the engine's own")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=2)
    options = parser.parse_args()
    lm = bert_large()
    generator = torch.Generator().manual_seed(0)
    targets = [
        [
            Target(
                tuple(torch.randint(5, 30000, (options.tokens,), generator=generator).tolist()),
                9,
                7,
            )
        ]
        for _ in range(options.prompts)
    ]
    budget = None if options.memory_budget is None else int(options.memory_budget * 2**30)
    result = attribute_targets(
        lm, targets, method="integrated-gradients", how=Integration(), memory_budget=budget
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.prompts} prompts of {options.tokens} tokens, budget "
        f"{options.memory_budget or 'default'}: peak {peak:.2f} GiB, "
        f"{result.evaluations.mean():.1f} evaluations per layer, "
        f"{int(result.over_tolerance.sum())} over tolerance"
    )


def bert_large() -> LanguageModel:
    """BERT-large's shape with seeded weights; the tokenizer is never asked."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )
    return LanguageModel.from_parts(
        model=BertForMaskedLM(config),
        tokenizer=load_model("mini-bert").tokenizer,
        name="bert-large-shape",
        revision=None,
        weights_sha256="0" * 64,
        dtype="float32",
        device="cpu",
    )


if __name__ == "__main__":
    main()
