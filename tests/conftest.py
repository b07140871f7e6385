"""Fixtures that several test modules share.

Helper modules lie in `tests/support`, which is on the import path: tests write
`from tiny_models import tiny`.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Workers that test side by side share the cores; torch reads this when it is imported.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))

pytest_plugins = ["synthetic_fixtures"]
pytest.register_assert_rewrite("model_directories", "tiny_index", "refusals")


def pytest_configure() -> None:
    """Heed Ctrl-C also where the runner ignores it (nohup, a background job).

    Processes inherit that, and tests that interrupt themselves or a child would wait for ever.
    `atlas` itself leaves it ignored: what is started with nohup shall survive a Ctrl-C.
    """
    os.environ.pop("COLUMNS", None)  # which would fold what tests expect in one line
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def smollm2_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SmolLM2-135M-Instruct as GGUF; skips when ATLAS_TEST_GGUF does not name a file.

    It is converted once for all tests, into a cache that goes with them.
    """
    named = os.environ.get("ATLAS_TEST_GGUF")
    if not named:
        pytest.skip("ATLAS_TEST_GGUF is not set to the path of SmolLM2 as a GGUF file")
    path = Path(named)
    if not path.is_file():
        pytest.skip("ATLAS_TEST_GGUF does not name a file")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATLAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield path


@pytest.fixture(scope="session", autouse=True)
def new_atlases_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New atlases in this process are copies of one that the migrations made: 0.4 s saved each.

    How they are really made is tested in processes of their own and where `write_empty` is called.
    """
    from atlas.store import atlas_file

    real = atlas_file._write_empty
    empty = tmp_path_factory.mktemp("empty") / "atlas.duckdb"

    def copied(file: Path) -> None:
        if not empty.exists():
            real(empty)
        shutil.copyfile(empty, file)

    atlas_file._write_empty = copied
    yield
    atlas_file._write_empty = real


@pytest.fixture(scope="session")
def saved_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT as a directory, written once; tests take their own copy, `bert`."""
    from tiny_models import save_tiny  # transformers is slow to import, and few tests need it

    return save_tiny("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def saved_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny GPT-2 as a directory, written once, for tests that only read it."""
    from tiny_models import save_tiny

    return save_tiny("gpt2", tmp_path_factory.mktemp("models") / "gpt2")


@pytest.fixture
def bert(saved_bert: Path, tmp_path: Path) -> Path:
    """A directory with the tiny BERT, to be changed at will."""
    return shutil.copytree(saved_bert, tmp_path / "bert")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A directory with the tiny Llama, to be changed at will."""
    from tiny_models import save_tiny

    return save_tiny("llama", tmp_path / "llama")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread within the test: tiny models gain nothing from more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
