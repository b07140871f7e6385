"""Prompts token by token, as a model is asked them."""

from collections.abc import Sequence

from atlas.models.asked import AskedTokens

from .tables import draw_line

ACROSS = "shares a token with the text beside it"


def draw_asked(prompts: Sequence[AskedTokens]) -> None:
    """Each prompt with the tokens that are read and those that are asked for, `|` between them."""
    for prompt in prompts:
        draw_line(prompt.text)
        if prompt.skipped_because is not None:
            draw_line(f"  skipped: {prompt.skipped_because}")
            continue
        draw_line(f"  reads   {'|'.join(prompt.tokens)}")
        shared = f"  ({ACROSS})" if prompt.across else ""
        draw_line(f"  answer  {'|'.join(prompt.answer_tokens)}{shared}")
