"""How much memory may be taken: the machine's, and that of control groups made of files here."""

import psutil
import pytest

from atlas.models import free_memory
from atlas.models.free_memory import _left, _own_groups

GIB = 1 << 30


@pytest.fixture
def group(tmp_path, monkeypatch):
    monkeypatch.setattr(free_memory, "_own_groups", lambda: [tmp_path])
    memory = psutil.virtual_memory()._replace(available=64 * GIB)
    monkeypatch.setattr(free_memory.psutil, "virtual_memory", lambda: memory)
    return tmp_path


def say(group, **files):
    for name, content in files.items():
        (group / f"memory.{name}").write_text(f"{content}\n")


def test_without_a_limit_the_machine_says(group):
    assert free_memory.free_memory() == 64 * GIB
    say(group, max="max", current=GIB)
    assert free_memory.free_memory() == 64 * GIB


@pytest.mark.parametrize("names", [("max", "current"), ("limit_in_bytes", "usage_in_bytes")])
def test_a_control_group_of_either_version_limits_what_is_free(group, names):
    limit, used = names
    say(group, **{limit: 3 * GIB, used: GIB})
    assert free_memory.free_memory() == 2 * GIB


def test_files_in_a_groups_memory_count_as_free(group):
    say(group, max=3 * GIB, current=2 * GIB, stat=f"anon {GIB}\ninactive_file {GIB}")
    assert free_memory.free_memory() == 2 * GIB


def test_a_group_over_its_limit_has_nothing_free(group):
    say(group, max=GIB, current=2 * GIB)
    assert free_memory.free_memory() == 0


def test_the_groups_of_this_process_can_be_asked():
    assert all(_left(group) is None or _left(group) > 0 for group in _own_groups())
