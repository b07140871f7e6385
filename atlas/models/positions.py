"""How many tokens a model has positions for, as the model itself says."""

from typing import Any

from torch import nn

UNBOUNDED = 10**9


def longest_input(model: Any) -> int:
    """The longest input, in tokens, that a transformers model has positions for.

    Its config's number, or what its table of positions holds if that is less: RoBERTa, MPNet, ESM
    and all that were built on them count positions from behind the table's padding row.
    """
    config = model.config
    if hasattr(config, "get_text_config"):  # a model of a user's own need not have it
        config = config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or UNBOUNDED
    return min([int(limit), *map(_counted_from_behind_padding, _tables(model))])


def _tables(model: Any) -> list[nn.Module]:
    """The tables of absolute positions that have a padding row."""
    return [
        module
        for name, module in model.base_model.named_modules()
        if "position" in name.rpartition(".")[2]
        and getattr(module, "padding_idx", None) is not None
        and getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]


def _counted_from_behind_padding(table: Any) -> int:
    rows: int = len(table.weight)
    return rows - int(table.padding_idx) - 1
