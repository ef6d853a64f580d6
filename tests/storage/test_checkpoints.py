"""Checkpoints restore exactly the saved state."""

from __future__ import annotations

import functools
import shutil
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from mtquant_jax.errors import UserError
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.storage.checkpoints import CheckpointWriter, Damaged, check, remove_unfinished, restore


class Statistics(NamedTuple):
    mean: jax.Array
    count: jax.Array


@struct.dataclass
class State:
    params: dict[str, Any]
    optimizer: Any
    statistics: Statistics
    key: jax.Array
    keys: jax.Array
    nothing: Any
    empty: jax.Array
    flags: jax.Array
    step: int
    name: str = struct.field(pytree_node=False, default="state")


def state(seed: int = 0) -> State:
    key = jax.random.key(seed)
    params = {"dense": {"kernel": jax.random.normal(key, (3, 4)), "bias": jnp.ones(4, jnp.bfloat16)}}
    return State(
        params=params,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(1e-3, 0.0, 9))).init(
            params
        ),
        statistics=Statistics(jnp.arange(3.0), jnp.int32(7)),
        key=key,
        keys=jax.random.split(jax.random.key(seed, impl="rbg"), (2, 3)),
        nothing=None,
        empty=jnp.zeros((0, 2)),
        flags=jnp.array([True, False]),
        step=3,
    )


def assert_identical(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(to_named_arrays(actual).items(), to_named_arrays(expected).items(), strict=True):
        assert a[0] == b[0]
        assert a[1].dtype == b[1].dtype or a[0] == "step"  # a Python number comes back as an array
        np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("abstract", [True, False])
def test_everything_is_restored_bit_for_bit(tmp_path: Path, abstract: bool, capfd: pytest.CaptureFixture[str]) -> None:
    saved = jax.tree.map(lambda leaf: jnp.asarray(leaf), state(), is_leaf=lambda leaf: isinstance(leaf, int))
    with CheckpointWriter() as writer:
        writer.save(tmp_path / "checkpoint_10", {"tree": saved}, {})
    like = jax.eval_shape(lambda: saved) if abstract else state(1).replace(step=saved.step)
    loaded = restore(tmp_path / "checkpoint_10", "tree", like)
    assert_identical(loaded, saved)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))
    assert loaded.key.dtype == saved.key.dtype and loaded.keys.dtype == saved.keys.dtype
    np.testing.assert_array_equal(
        jax.random.uniform(loaded.keys[1, 2], (4,)), jax.random.uniform(saved.keys[1, 2], (4,))
    )
    assert capfd.readouterr() == ("", "")


def test_a_single_array_and_64_bits(tmp_path: Path) -> None:
    with CheckpointWriter() as writer:
        writer.save(tmp_path / "a", {"tree": np.arange(3.0)}, {})
    loaded = restore(tmp_path / "a", "tree", np.zeros(3))
    assert loaded.dtype == np.float64
    np.testing.assert_array_equal(loaded, np.arange(3.0))


def test_arrays_may_be_donated_after_save(tmp_path: Path) -> None:
    step = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    tree = {f"a{index}": jnp.full((256, 64), float(index)) for index in range(20)}
    with CheckpointWriter() as writer:
        for round_ in range(3):
            writer.save(tmp_path / f"checkpoint_{round_}", {"tree": tree}, {})
            tree = step(tree)
    for round_ in range(3):
        loaded = restore(tmp_path / f"checkpoint_{round_}", "tree", jax.eval_shape(lambda: tree))
        for index in range(20):
            np.testing.assert_array_equal(loaded[f"a{index}"], index + round_)


def test_a_checkpoint_replaces_one_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Path("run/models/checkpoint_1")
    with CheckpointWriter() as writer:
        writer.save(relative, {"tree": {"a": jnp.zeros(2)}, "old": {"b": jnp.zeros(1)}}, {})
        writer.save(relative, {"tree": {"a": jnp.ones(2)}}, {})
        writer.wait()
        np.testing.assert_array_equal(restore(relative, "tree", {"a": jnp.zeros(2)})["a"], 1.0)
    assert [path.name for path in relative.parent.iterdir()] == ["checkpoint_1"]
    assert sorted(path.name for path in relative.iterdir()) == ["checkpoint.json", "tree"]


def test_the_block_waits_even_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="training"), CheckpointWriter() as writer:
        writer.save(tmp_path / "a", {"tree": {"a": jnp.ones(2)}}, {})
        raise RuntimeError("training")
    np.testing.assert_array_equal(restore(tmp_path / "a", "tree", {"a": jnp.zeros(2)})["a"], 1.0)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": jnp.zeros(3), "b": {"c": jnp.zeros(1)}}, "a is float32[2], expected float32[3]"),
        ({"a": jnp.zeros(2, jnp.int32), "b": {"c": jnp.zeros(1)}}, "a is float32[2], expected int32[2]"),
        ({"a": jnp.zeros(2)}, "b.c is unexpected"),
        ({"a": jnp.zeros(2), "b": {"c": jnp.zeros(1), "d": jnp.zeros(1), "e": 1}}, "b.d is missing (and 1 more)"),
    ],
)
def test_another_structure_is_refused(tmp_path: Path, like: Any, message: str) -> None:
    path = tmp_path / "checkpoint_5"
    with CheckpointWriter() as writer:
        writer.save(path, {"tree": {"a": jnp.zeros(2), "b": {"c": jnp.zeros(1)}}}, {})
    with pytest.raises(UserError) as error:
        restore(path, "tree", like)
    assert str(error.value) == f"checkpoint {path} does not fit this configuration: {message}"


def written(path: Path) -> Path:
    """A checkpoint of two trees."""
    with CheckpointWriter() as writer:
        writer.save(path, {"one": {"a": jnp.arange(2)}, "two": {"b": jnp.zeros(3)}}, {"step": 7})
    return path


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    description = check(path)
    assert description["step"] == 7
    there = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert set(description["files"]) == there - {"checkpoint.json"}


def test_every_file_that_is_changed_missing_or_added_is_named(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"checkpoint .*/absent does not exist"):
        check(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Damaged, match=r"checkpoint .*/empty is incomplete: it has no checkpoint.json"):
        check(tmp_path / "empty")
    original = written(tmp_path / "original")
    for number, file in enumerate(sorted(path for path in original.rglob("*") if path.is_file())):
        name = file.relative_to(original)
        flipped, cut, gone, linked = (tmp_path / f"{what}_{number}" for what in ("flipped", "cut", "gone", "linked"))
        for copy in (flipped, cut, gone, linked):
            shutil.copytree(original, copy)
        content = bytearray(file.read_bytes())
        (cut / name).write_bytes(content[: len(content) // 2])
        if content:  # one file of Orbax is empty
            content[len(content) // 2] ^= 1
            (flipped / name).write_bytes(content)
        else:
            (flipped / name).write_bytes(b"x")
        (gone / name).unlink()
        (linked / name).unlink()
        (linked / name).symlink_to(file)
        for copy in (flipped, gone, *([cut] if content else [])):
            with pytest.raises(Damaged, match=r"checkpoint .* (damaged|incomplete|checksum|JSON)"):
                check(copy)
        if name.name != "checkpoint.json":
            with pytest.raises(Damaged, match="has other bytes than were written"):
                check(linked)
    (original / "one" / "more").touch()
    with pytest.raises(Damaged, match="one/more is not part of it"):
        check(original)


def test_an_absent_tree_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    with pytest.raises(Damaged, match="it has no three"):
        restore(path, "three", {})
    (path / "one" / "manifest.ocdbt").unlink()
    with pytest.raises(Damaged, match=r"checkpoint .*/a cannot be read: "):
        restore(path, "one", {"a": jnp.arange(2)})


def test_what_follows_runs_once_the_checkpoint_is_there(tmp_path: Path) -> None:
    seen: list[bool] = []
    with CheckpointWriter() as writer:
        writer.save(tmp_path / "a", {"tree": jnp.zeros(2)}, {}, lambda: seen.append((tmp_path / "a").is_dir()))
    assert seen == [True]


def test_a_folder_that_cannot_be_written_is_an_error_of_a_later_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"checkpoint .*/file/a cannot be written: Not a directory"
    tree, gate = {"tree": jnp.zeros(2)}, threading.Event()
    with CheckpointWriter() as writer:
        writer.save(tmp_path / "before", tree, {}, lambda: gate.wait(60.0) and None)
        writer.save(tmp_path / "file" / "a", tree, {})
        writer.save(tmp_path / "behind", tree, {})
        gate.set()
        with pytest.raises(UserError, match=message):
            writer.wait()
        assert (tmp_path / "behind").is_dir()  # all are waited for
        writer.save(tmp_path / "file" / "a", tree, {})
        while not writer._background._pending[0].done():
            time.sleep(0.01)
        with pytest.raises(UserError, match=message):
            writer.save(tmp_path / "b", tree, {})
    assert not (tmp_path / "b").exists()


def test_several_wait_for_their_turn(tmp_path: Path) -> None:
    done: list[int] = []
    with CheckpointWriter() as writer:
        for index in range(4):
            writer.save(tmp_path / f"{index}", {"tree": jnp.full(2, index)}, {}, functools.partial(done.append, index))
        writer.wait()
        assert done == [0, 1, 2, 3]
    like = jax.eval_shape(lambda: jnp.zeros(2, jnp.int32))
    assert [int(restore(tmp_path / f"{index}", "tree", like)[0]) for index in range(4)] == [0, 1, 2, 3]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = written(tmp_path / "phase1" / "checkpoint_5" / "forex")
    (path.parent / ".unfinished.equity.123" / "policy").mkdir(parents=True)
    remove_unfinished(tmp_path)
    assert [folder.name for folder in path.parent.iterdir()] == ["forex"]


def test_colliding_names_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        to_named_arrays({"a.b": 1, "a": {"b": 2}})
