"""Everything that can go wrong, as one tree; each message says what to do next.

AtlasError
├── DataError            a dataset, a fact file or a template is missing or malformed
├── PromptError          a prompt or answer that the model cannot be asked
├── SettingsError        an option outside its range (rule, tolerance, threshold, …)
├── EditError            an edit that cannot be made, read, or applied to this model
├── ModelError           a model cannot be loaded, trusted or understood
│   ├── ModelNotFound
│   ├── UnsafeCheckpoint
│   ├── CorruptCheckpoint
│   └── UnsupportedArchitecture
├── WorkersError         a Ray cluster cannot be reached, or its workers disagree or keep dying
└── StoreError           the atlas file
    ├── NotAnAtlas
    ├── NewerAtlas
    ├── LockedAtlas
    ├── ReadOnlyAtlas
    ├── DiskFull
    ├── NotFound         an id or a name that the atlas does not hold
    │   └── AmbiguousFact    a name that several facts go by
    ├── NoScores         a question that only scores answer, about a run that has none
    └── BadQuery         SQL that does not parse, or that would write
"""

from collections.abc import Sequence


class AtlasError(Exception):
    """Base of all errors that a user can mend; `str()` of it is one line.

    The message suits Python and the command line alike. `parameters` are the Python names of what
    the user would give otherwise; the command line says which of its options those are.
    """

    def __init__(self, message: str = "", *, parameters: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.parameters = tuple(parameters)


class DataError(AtlasError):
    """A dataset, a fact file or a template is missing or malformed."""


class PromptError(AtlasError):
    """A prompt or answer that the model cannot be asked."""


class SettingsError(AtlasError):
    """An option lies outside its range."""


class EditError(AtlasError):
    """An edit that cannot be made, read, or applied to this model."""


class ModelError(AtlasError):
    """A model cannot be loaded, trusted or understood."""


class ModelNotFound(ModelError):
    """Neither a directory, nor a file, nor a hub id that can be reached."""


class UnsafeCheckpoint(ModelError):
    """The checkpoint is a pickle, which can run code; only safetensors and GGUF are read."""


class CorruptCheckpoint(ModelError):
    """The checkpoint is truncated, fails its checksum, or holds NaN."""


class UnsupportedArchitecture(ModelError):
    """No entry of the architecture table fits, and discovery failed."""


class WorkersError(AtlasError):
    """A Ray cluster cannot be reached, or its workers disagree or keep dying."""


class StoreError(AtlasError):
    """The atlas file cannot be used as asked."""


class NotAnAtlas(StoreError):
    """The file is not DuckDB, or is a DuckDB file of something else."""


class NewerAtlas(StoreError):
    """The file was written by a newer version of the atlas."""


class LockedAtlas(StoreError):
    """Another process holds the file."""


class ReadOnlyAtlas(StoreError):
    """The file or its directory cannot be written."""


class DiskFull(StoreError):
    """The disk filled up; what was committed is intact."""


class NotFound(StoreError):
    """An id or a name that the atlas does not hold."""


class AmbiguousFact(NotFound):
    """A name that several facts go by, where one is wanted."""


class NoScores(StoreError):
    """A question that only scores answer, about a run that has none (an imported one)."""


class BadQuery(StoreError):
    """SQL that does not parse, or that would write."""


class GuessedArchitecture(UserWarning):
    """A model is used whose architecture no entry of the table describes; the guess was tried."""


class UnknownIdentity(UserWarning):
    """A model is used for a run or an edit of which no configuration and tokenizer are recorded."""
