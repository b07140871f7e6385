"""How much harm a script accepts of an edit: `flips=3,ppl=5%`."""

import math
from dataclasses import dataclass

from atlas.counted import counted
from atlas.errors import SettingsError
from atlas.side_effects.report import GroupEffect
from atlas.side_effects.scopes import Scope

_NAMES = ("flips", "broken", "ppl")
_EXAMPLE = "write for example flips=3,ppl=5%"


@dataclass(frozen=True)
class Limits:
    """The most that is accepted on the prompts that an edit was not meant to change.

    flips: top answers that changed; broken: of those, from right to wrong; perplexity: its rise as
    a share of what it was. None: no limit.
    """

    flips: int | None = None
    broken: int | None = None
    perplexity: float | None = None

    def exceeded(self, found: GroupEffect | None) -> list[str]:
        """One phrase for every limit that a group of others is over; none holds without a group."""
        if found is None:
            return ["no prompt but its own was looked at, so nothing shows that the limits hold"]
        over = []
        if self.flips is not None and found.flips > self.flips:
            over.append(f"{counted(found.flips, 'flip')}, over {self.flips}")
        if self.broken is not None and found.right_to_wrong > self.broken:
            over.append(f"{counted(found.right_to_wrong, 'answer')} broken, over {self.broken}")
        if self.perplexity is not None and found.perplexity_change > self.perplexity:
            over.append(f"perplexity {found.perplexity_change:+.2%}, over {self.perplexity:.2%}")
        return over


def require_others(scope: Scope, limits: Limits | None) -> None:
    """SettingsError for limits on a scope that holds nothing that they are about."""
    if limits is not None and scope.kind == "own":
        raise SettingsError(
            "limits are about prompts that are not the edit's own, and the scope 'own' has no "
            "other: choose another scope, or leave the limits out",
            parameters=["scope", "fail_over"],
        )


def parse_limits(text: str) -> Limits:
    """Limits from `flips=N`, `broken=N` and `ppl=P%`, separated by commas.

    Raises SettingsError.
    """
    counts: dict[str, int] = {}
    perplexity = None
    for part in text.split(","):
        name, _, value = (side.strip() for side in part.partition("="))
        if name in counts or (name == "ppl" and perplexity is not None):
            raise SettingsError(f"the limit '{name}' is given twice: {_EXAMPLE}")
        if name in ("flips", "broken") and value.isascii() and value.isdigit():
            counts[name] = int(value)
        elif name == "ppl" and value.endswith("%"):
            perplexity = _share(value, part)
        elif name not in _NAMES:
            raise SettingsError(f"no limit '{name}': there are {', '.join(_NAMES)}; {_EXAMPLE}")
        else:
            raise SettingsError(f"cannot read the limit '{part.strip()}': {_EXAMPLE}")
    return Limits(counts.get("flips"), counts.get("broken"), perplexity)


def _share(value: str, part: str) -> float:
    try:
        share = float(value[:-1]) / 100
    except ValueError:
        share = math.nan
    if not (math.isfinite(share) and share >= 0):
        raise SettingsError(f"cannot read the limit '{part.strip()}': {_EXAMPLE}")
    return share
