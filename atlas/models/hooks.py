"""The one place that registers hooks on a model's modules: gone after the block, on every path."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

Hook = Callable[..., Any]


@contextmanager
def after_forward(modules: nn.Module | Iterable[nn.Module], hook: Hook) -> Iterator[None]:
    """Call `hook(module, args, output)` after each forward; what it returns replaces the output.

    A module that is named several times has the hook once. Every hook is gone after the block,
    also where registering one of them fails.
    """
    with ExitStack() as registered:
        for module in _distinct(modules):
            registered.callback(module.register_forward_hook(hook).remove)
        yield


@contextmanager
def before_forward(
    modules: nn.Module | Iterable[nn.Module], hook: Hook, *, with_kwargs: bool = False
) -> Iterator[None]:
    """Call `hook(module, args)` before each forward; what it returns replaces the arguments.

    with_kwargs: `hook(module, args, kwargs)`. Otherwise as `after_forward`.
    """
    with ExitStack() as registered:
        for module in _distinct(modules):
            handle = module.register_forward_pre_hook(hook, with_kwargs=with_kwargs)
            registered.callback(handle.remove)
        yield


def _distinct(modules: nn.Module | Iterable[nn.Module]) -> Iterable[nn.Module]:
    if isinstance(modules, nn.Module):
        return [modules]
    return {id(module): module for module in modules}.values()
