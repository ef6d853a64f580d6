"""Compiled programs on disk: a damaged one is compiled again, with a word, and never run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import compilation_cache
from jax._src.lru_cache import LRUCache

from mtquant_jax import jax_setup
from mtquant_jax.program_cache import CheckedCache, check_programs

_unchecked = getattr(compilation_cache.get_file_cache, "inner", compilation_cache.get_file_cache)


@pytest.fixture
def cache(tmp_path: Path) -> CheckedCache:
    found = CheckedCache(LRUCache(str(tmp_path), max_size=-1), "01234567-2")
    found.put("jit_f-123", b"program")
    return found


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*-cache")
    return file


def test_an_entry_is_read_as_it_was_written(cache: CheckedCache, tmp_path: Path) -> None:
    assert cache.get("jit_f-123") == b"program"
    assert cache.get("jit_g-123") is None
    name = only_file(tmp_path).name
    assert name == "jit_f-123-checked-01234567-2-cache"  # other programs of JAX look for jit_f-123-cache


def test_a_program_for_another_machine_is_another(cache: CheckedCache, tmp_path: Path) -> None:
    other = CheckedCache(LRUCache(str(tmp_path), max_size=-1), "01234567-1")
    assert other.get("jit_f-123") is None
    other.put("jit_f-123", b"divided otherwise")
    assert cache.get("jit_f-123") == b"program"
    assert other.get("jit_f-123") == b"divided otherwise"


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "of another program", "of a JAX without checks"])
def test_a_damaged_entry_is_dropped_with_a_word_and_written_again(
    cache: CheckedCache, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = only_file(tmp_path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    changes = {
        "flipped": bytes(content),
        "cut": bytes(content[:-3]),
        "empty": b"",
        "of a JAX without checks": b"program",
    }
    if damage == "of another program":
        cache.put("jit_g-456", b"other")
        (other,) = tmp_path.glob("jit_g-456-*-cache")
        file.write_bytes(other.read_bytes())
    else:
        file.write_bytes(changes.get(damage, b"program"))
    assert cache.get("jit_f-123") is None
    (record,) = caplog.records
    assert record.getMessage() == (
        f"warning: the compiled program jit_f in {tmp_path} is damaged; it is compiled again"
    )
    assert not file.exists()
    cache.put("jit_f-123", b"program")
    assert cache.get("jit_f-123") == b"program"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that JAX keeps even the smallest compiled program in."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_enable_compilation_cache")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path), 0.0, True), strict=True):
        jax.config.update(name, value)
    assert check_programs("01234567-2")
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_jax_reads_and_writes_through_it(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def compiled() -> np.ndarray:
        return np.asarray(jax.jit(lambda x: 3.0 * x + 1.25)(jnp.arange(7.0)))

    expected, arange = compiled(), [*folder.glob("*-cache")]
    assert arange and all("-checked-" in file.name for file in arange)
    for file in arange:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    jax.clear_caches()
    np.testing.assert_array_equal(compiled(), expected)
    assert any("is damaged; it is compiled again" in record.getMessage() for record in caplog.records)
    jax.clear_caches()
    caplog.clear()
    np.testing.assert_array_equal(compiled(), expected)  # from what was written again
    assert not caplog.records


def test_a_process_of_fewer_cores_keeps_programs_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[set[str]] = []
    for cores in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(jax_setup, "available_cores", lambda cores=cores: cores)
            patch.setattr(compilation_cache, "get_file_cache", _unchecked)
            assert jax_setup._checked()
            jax.clear_caches()
            jax.jit(lambda x: 5.0 * x)(3.0)
        known: set[str] = set().union(*names)
        names.append({file.name for file in folder.glob("*-cache")} - known)
    compilation_cache.reset_cache()
    one, two = names
    assert one and {name.replace("-1-cache", "-2-cache") for name in one} == two


def test_a_jax_that_cannot_be_checked_keeps_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jax_setup, "_checked", lambda: False)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
    monkeypatch.delenv("MTQUANT_JAX_NO_CACHE", raising=False)
    jax_setup.prepare_jax()
    assert not jax.config.jax_enable_compilation_cache
    assert "no place to check them for damage" in caplog.records[0].getMessage()
    monkeypatch.delattr(compilation_cache, "get_file_cache")
    assert not check_programs("01234567-2")
