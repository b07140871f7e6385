"""Workers that are actors of a Ray cluster: started, looked at, given tasks, replaced when lost."""

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from atlas.counted import counted
from atlas.distributed.actor import Measurer
from atlas.distributed.dispatch import REPEATS, Done, Lost, in_order
from atlas.distributed.introduction import Introduction, ModelToLoad, require_alike
from atlas.distributed.ray_cluster import connected, nodes
from atlas.distributed.settings import RaySettings
from atlas.distributed.shares import Share, shares
from atlas.distributed.workers import Label, Outcome, Result, Task, Work
from atlas.errors import AtlasError, WorkersError
from atlas.models.checkpoint import one_line
from atlas.models.language_model import LanguageModel

LOOK = 1.0  # seconds between looks at workers that are still to come
PATIENCE = 60.0  # seconds that a cluster may take to find a place for a worker, while none works
BRIEF = 0.25  # seconds: shorter tasks are handed out ahead, so that workers need not wait for them


@contextlib.contextmanager
def ray_workers(settings: RaySettings, model: ModelToLoad) -> Iterator["RayWorkers"]:
    """Actors that begin to load the model at once; they end with the context.

    Raises WorkersError where the cluster does not answer or has no room for them.
    """
    with connected(settings.address) as ray:
        crew = RayWorkers(ray, model)
        try:
            for share in shares(nodes(ray), settings):
                crew.hire(share)
            yield crew
        finally:
            crew.dismiss()


@dataclass(eq=False)
class _Member:
    """An actor and what it has been asked.

    placed, coming: answers to come to `hello` and `introduce`; None: it has a place, is at work.
    deaths: of its forerunners, since one was last at work. tasks: numbers and answers to come, the
    first of which it is at.
    """

    share: Share
    actor: Any
    placed: Any
    coming: Any
    deaths: int = 0
    node: str | None = None
    tasks: "deque[tuple[int, Any]]" = field(default_factory=deque)

    @property
    def open_answers(self) -> list[Any]:
        starting = [ref for ref in (self.placed, self.coming) if ref is not None]
        return starting + [ref for _, ref in self.tasks]


class RayWorkers:
    """`Workers` and their `Pool`. Nobody is given a task before `meet`."""

    def __init__(self, ray: Any, model: ModelToLoad) -> None:
        self.ray, self.model = ray, model
        self.members: list[_Member] = []
        self.lm: LanguageModel | None = None
        self.first: Introduction | None = None
        self.work: Any = None
        self.depth = 1
        self.waiting_since = time.monotonic()

    # Who there is

    @property
    def count(self) -> int:
        return sum(member.coming is None for member in self.members)

    @property
    def threads(self) -> int:
        assert self.first is not None, "they have not introduced themselves yet"
        return self.first.threads

    @property
    def size(self) -> int:
        return max(1, len(self.members))

    def hire(self, share: Share, deaths: int = 0) -> None:
        """Start a worker; it comes when the cluster has a place for it."""
        options = {"num_cpus": share.cores, "num_gpus": share.gpus, "max_restarts": 0}
        actor = self.ray.remote(Measurer).options(**options).remote(self.model, share)
        placed, coming = actor.hello.remote(), actor.introduce.remote()
        self.members.append(_Member(share, actor, placed, coming, deaths))

    def meet(self, lm: LanguageModel) -> Introduction:
        """Wait for all of them; WorkersError if one does not measure as this model would."""
        self.lm = lm
        while any(member.coming is not None for member in self.members):
            self.wait()
        assert self.first is not None, "no worker, no meeting"
        return self.first

    def dismiss(self) -> None:
        """End every worker, whatever it is at."""
        for member in self.members:
            with contextlib.suppress(Exception):
                self.ray.kill(member.actor)
        self.members.clear()

    # Workers

    def outcomes(
        self, work: Work[Task, Result], steps: Iterable[tuple[Label, Task | None]]
    ) -> Generator[tuple[Label, Outcome[Result]], None, None]:
        self.work = self.ray.put(work)
        for label, outcome in in_order(self, steps):
            if outcome.result is not None:
                outcome = replace(outcome, result=work.from_tables(outcome.result))
            yield label, outcome

    # Pool

    def has_room(self) -> bool:
        return any(self._free(member) for member in self.members)

    def start(self, number: int, task: Any) -> None:
        member = min(filter(self._free, self.members), key=lambda member: len(member.tasks))
        member.tasks.append((number, member.actor.measure.remote(self.work, task)))

    def wait(self) -> Sequence[Done | Lost]:
        asked = [ref for member in self.members for ref in member.open_answers]
        answered, _ = self.ray.wait(asked, num_returns=1, timeout=LOOK)
        if answered:  # and who else has answered by now
            answered, _ = self.ray.wait(asked, num_returns=len(asked), timeout=0)
        events: list[Done | Lost] = []
        for member in list(self.members):
            for receive in (self._placed, self._came, self._finished):
                if member in self.members:  # not lost a moment ago
                    events += receive(member, answered)
        self._require_somebody()
        return events

    def _free(self, member: _Member) -> bool:
        return member.coming is None and len(member.tasks) < self.depth

    def _placed(self, member: _Member, answered: Sequence[Any]) -> list[Done | Lost]:
        """The cluster has found a place for a worker."""
        if member.placed is None or member.placed not in answered:
            return []
        answer = self._answer(member, member.placed)
        if isinstance(answer, Lost):
            return [answer]
        member.node, member.placed = answer, None
        return []

    def _came(self, member: _Member, answered: Sequence[Any]) -> list[Done | Lost]:
        """A worker has its model, and it is the right one."""
        if member.coming is None or member.coming not in answered:
            return []
        answer = self._answer(member, member.coming)
        if isinstance(answer, Lost):
            return [answer]
        assert self.lm is not None, "nobody can tell yet whether it is right"
        self.first = self.first or answer
        require_alike(answer, self.first, self.lm)
        member.coming, member.deaths = None, 0
        return []

    def _answer(self, member: _Member, ref: Any) -> Any:
        """What a worker says at its start, or `Lost`."""
        try:
            return self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise self._refused(member, error) from error
        except self.ray.exceptions.RayError as error:
            return self._lost(member, error)

    def _finished(self, member: _Member, answered: Sequence[Any]) -> list[Done | Lost]:
        done: list[Done | Lost] = []
        while member.tasks and member.tasks[0][1] in answered:
            number, ref = member.tasks[0]
            try:
                tables, seconds = self.ray.get(ref)
            except self.ray.exceptions.RayTaskError as error:
                if not _out_of_memory(error.cause):
                    raise error.cause from error
                return [*done, self._lost(member, error.cause)]
            except self.ray.exceptions.RayError as error:
                return [*done, self._lost(member, error)]
            member.tasks.popleft()
            self.depth = 2 if seconds < BRIEF else 1
            done.append(Done(number, tables, seconds))
        return done

    def _lost(self, member: _Member, error: BaseException) -> Lost:
        """Another in its place, as far as that has not failed too often."""
        with contextlib.suppress(Exception):
            self.ray.kill(member.actor)
        self.members.remove(member)
        numbers = [number for number, _ in member.tasks]
        deaths = member.deaths + 1 if member.coming is not None else 0
        if deaths <= REPEATS:
            self.hire(member.share, deaths)
        elif not self.members:
            raise WorkersError(
                f"no worker stays alive: {counted(deaths, 'time')} one died while it loaded the "
                f"model ({_because(error)})"
            ) from error
        if not self.count:
            self.waiting_since = time.monotonic()
        return Lost(numbers[0] if numbers else None, numbers[1:], _because(error))

    def _require_somebody(self) -> None:
        """WorkersError if the cluster has had no place for anybody for too long."""
        if any(member.node is not None for member in self.members):
            self.waiting_since = time.monotonic()
        elif time.monotonic() - self.waiting_since > PATIENCE:
            free = self.ray.available_resources()
            raise WorkersError(
                f"the cluster has had no place for a worker for {PATIENCE:.0f} s: one needs "
                f"{counted(self.members[0].share.cores, 'core')}, and "
                f"{free.get('CPU', 0):g} of all are free",
                parameters=["workers"],
            )

    def _refused(self, member: _Member, error: Any) -> AtlasError:
        """Why a worker cannot have the model, with the machine's name."""
        cause = error.cause
        where = f"the worker on {member.node}" if member.node else "a worker"
        parameters = cause.parameters if isinstance(cause, AtlasError) else ()
        return WorkersError(f"{where}: {one_line(cause, 300)}", parameters=parameters)


def _out_of_memory(error: BaseException) -> bool:
    """Also torch's own, of a GPU."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _because(error: BaseException) -> str:
    """How a worker was lost, in a few words."""
    text = str(error).lower()
    if _out_of_memory(error) or "out of memory" in text or "memory pressure" in text:
        return "out of memory"
    if "node has died" in text or "its node" in text or "node died" in text:
        return "its node was lost"
    return "its worker was killed"
