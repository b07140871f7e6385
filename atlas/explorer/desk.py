"""What is asked of the model: one request at a time, behind pages that show how far it has come.

The model is loaded on the first request, in a thread of its own, and kept. A request is a job with
a number; its page can be left and come back to. Old answers are forgotten.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from atlas.answers import Answer
from atlas.atlas import Atlas, ModelOrName
from atlas.errors import AtlasError
from atlas.progress import Advance, Loading, Working

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

WAITING = 4  # jobs that are not done, at most
KEPT = 50  # jobs that are

State = Literal["waiting", "loading", "working", "done", "failed"]
Work = Callable[["LanguageModel", Callable[[object], None]], Answer]


class Busy(AtlasError):
    """As many questions wait for the model as may."""


@dataclass
class Job:
    """A question to the model."""

    number: int
    title: str
    state: State = "waiting"
    said: str = "Waiting for its turn"
    share: float | None = None  # of the work that is done; None: it cannot be told
    answer: Answer | None = None
    fault: str | None = None
    typed: Mapping[str, Any] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


class Desk:
    """The model of an atlas, and the jobs that wait for it."""

    def __init__(self, db: Atlas, lm: ModelOrName = None) -> None:
        self._db, self._named = db, lm
        self._lm: LanguageModel | None = None
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def state(self) -> str:
        """What the model is doing, in a few words."""
        if self._lm is None:
            loading = any(job.state == "loading" for job in self._jobs.values())
            return "being loaded" if loading else "not loaded yet"
        return "loaded"

    def take(self, title: str, work: Work) -> Job:
        """Queue a job; Busy where too many wait."""
        with self._lock:
            if sum(not job.done.is_set() for job in self._jobs.values()) >= WAITING:
                raise Busy(
                    f"{WAITING} questions wait for the model: ask again when one is answered"
                )
            job = Job(max(self._jobs, default=0) + 1, title)
            self._jobs[job.number] = job
            finished = [n for n, j in self._jobs.items() if j.done.is_set()]
            for number in finished[: max(0, len(finished) - KEPT)]:
                del self._jobs[number]
        self._worker.submit(self._do, job, work)
        return job

    def job(self, number: int) -> Job | None:
        """The job with this number; None if there is none, or no longer."""
        with self._lock:
            return self._jobs.get(number)

    def close(self) -> None:
        """Take no more, and forget what waits."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _do(self, job: Job, work: Work) -> None:
        def tell(event: object) -> None:
            if isinstance(event, Loading):
                job.state, job.said = "loading", f"Loading {event.model}"
            elif isinstance(event, Working):
                job.state, job.said, job.share = "working", event.what, None
            elif isinstance(event, Advance):
                job.state, job.share = "working", event.done / max(event.total, 1)
                job.said = f"{event.what}: {job.share:.0%}"

        try:
            job.state, job.said = "loading" if self._lm is None else "working", "Loading the model"
            if self._lm is None:
                self._lm = self._db.model(self._named, progress=tell)
            job.state, job.said = "working", "Asking the model"
            job.answer = work(self._lm, tell)
            job.state, job.said, job.share = "done", "Answered", 1.0
        except AtlasError as e:
            job.state, job.fault = "failed", str(e)
        except Exception as e:  # a thread's exception would be lost
            job.state, job.fault = "failed", f"{type(e).__name__}: {e}"
        finally:
            job.done.set()
