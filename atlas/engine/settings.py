"""What attribution can be told, checked without torch: the command line reads it at every start."""

from dataclasses import dataclass

from atlas.engine.quadrature import RULES, SIMPSON
from atlas.errors import SettingsError

POSITIONS = ("answer", "subject")  # where neurons are attributed: of a prompt's tokens
BOTH = "both"  # of them, one run each
METHODS = (
    "integrated-gradients",
    "activation",
    "gradient-x-activation",
    "log-probability-increase",
)
AT_THE_ANSWER = ("log-probability-increase",)  # methods that no other position has
DTYPES = ("float32", "bfloat16")


def require_one_of(known: tuple[str, ...], kind: str, name: str) -> None:
    """SettingsError, with the known names, for a name that is none of them."""
    if name not in known:
        raise SettingsError(f"unknown {kind} '{name}'; choose one of {', '.join(known)}")


def require_position(method: str, position: str) -> None:
    """SettingsError for a method that tells nothing of neurons there."""
    if method in AT_THE_ANSWER and position != "answer":
        raise SettingsError(
            f"method {method} reads the residual stream at the answer position: attribute there, "
            "or by another method",
            parameters=["method", "position"],
        )


@dataclass(frozen=True)
class Integration:
    """How the integral is taken.

    rule: one of `quadrature.RULES`; `adaptive` halves intervals of the path until their
        completeness gaps sum to at most `tolerance` × the largest effect of any layer, or a layer
        would take more than `max_evaluations`.
    points: number of points of the fixed rules.
    """

    rule: str = "adaptive"
    points: int = 20
    tolerance: float = 0.01
    max_evaluations: int = 160

    def __post_init__(self) -> None:
        require_one_of(RULES, "rule", self.rule)
        if self.points < 1:
            raise SettingsError(f"points must be at least 1, got {self.points}")
        if not 0 < self.tolerance < 1:
            raise SettingsError(f"tolerance must lie between 0 and 1, got {self.tolerance}")
        if self.max_evaluations < len(SIMPSON.alphas):
            raise SettingsError(
                f"max evaluations must be at least {len(SIMPSON.alphas)}, "
                f"got {self.max_evaluations}"
            )
