"""Each kind of operation, rendered and compiled, against its reference in NumPy."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.deploy.mql5.compiled import Compiled
from mtquant_jax.deploy.mql5.expressions import literal
from mtquant_jax.deploy.mql5.rendering import Function, render
from mtquant_jax.deploy.tracing import trace

F = np.float32
GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(3, 4)).astype(F)
Y = (GENERATOR.normal(size=(3, 4)) + 3.0).astype(F)
N = np.asarray([[3, -7, 0], [2, 5, -1]], np.int32)


def elementwise(x, y):
    wave = jnp.tanh(x) + jnp.exp(-y) + jax.nn.sigmoid(x) + jnp.log1p(jnp.abs(x)) + jnp.expm1(x)
    return wave + jnp.sqrt(y) * jnp.log(y) - jnp.sign(x) / y + jnp.maximum(x, y) - jnp.minimum(x, 0.5)


def rounding(x, y):
    return jnp.stack([jnp.round(x * 2.0) / 2.0, jnp.floor(x), jnp.ceil(y), jnp.round(jnp.full_like(x, 2.5))])


def reductions(x, y):
    return {
        "sums": jnp.sum(x, axis=0),
        "most": jnp.max(x, axis=1),
        "least": jnp.min(y),
        "best": jnp.argmax(x, axis=1),
        "worst": jnp.argmin(y, axis=0),
        "product": jnp.prod(y, axis=1),
        "any": jnp.any(x > 1.0, axis=0),
    }


def moves(x, y):
    return {
        "joined": jnp.concatenate([x, y[:, 1:3]], axis=1),
        "turned": x.T.reshape(2, 6),
        "picked": x[:, jnp.asarray([3, 0, 0])],
        "diagonal": jnp.diagonal(x @ y.T),
        "upper": (x @ y.T)[np.triu_indices(3, 1)],
        "padded": jnp.pad(x, ((1, 0), (0, 2))),
        "stacked": jnp.stack([x[0], y[1], x[2]], axis=-1),
    }


def choices(x, y):
    return jnp.where((x > 0.0) & ~(y < 3.0), x, y) + (x >= y).astype(F) + jnp.isfinite(x).astype(F)


def windows(x, n):
    row = jax.lax.dynamic_slice(x, (n[0, 0] - 1, 0), (1, 4))
    changed = jax.lax.dynamic_update_index_in_dim(x, row[0] * 2.0, n[1, 0] - 2, 0)
    return {"row": row, "changed": changed, "rest": n % 3, "part": n // jnp.int32(2)}


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (elementwise, (X, Y)),
        (rounding, (X, Y)),
        (reductions, (X, Y)),
        (moves, (X, Y)),
        (choices, (X, Y)),
        (windows, (X, N)),
    ],
)
def test_rendered_functions(compiler, tmp_path: Path, function, given) -> None:
    program = trace(function, *given)
    names = dict.fromkeys([name.split(".")[0] for name in program.inputs], "")
    structs = {name: f"In{i}" for i, name in enumerate(names)}
    structs |= {name.split(".")[0]: f"Out{i}" for i, name in enumerate(program.outputs)}
    made = Function("Computed", program, structs, "A test.")
    text, known = render([made])
    compiled = Compiled(tmp_path, text, [made], known)
    arguments = {name: compiled.packed(structs[name], value) for name, value in zip(names, given, strict=True)}
    found = compiled("Computed", **arguments)
    expected = program.run(dict(zip(program.inputs, given, strict=True)))
    for name, value in expected.items():
        record = found[name.split(".")[0]]
        np.testing.assert_allclose(
            record["values"][: value.size], value.reshape(-1), rtol=3e-7, atol=1e-6, err_msg=name
        )


def test_literals_keep_every_digit() -> None:
    for value in (F(0.1), F(1e-30), F(3.0), F(-123456.79), np.nextafter(F(1.0), F(2.0))):
        assert F(literal(value).rstrip("f")) == value
    assert literal(np.bool_(True)) == "true"
    assert literal(np.int32(-4)) == "-4"
    assert float(literal(F(np.inf)).rstrip("f")) == pytest.approx(float(np.finfo(F).max), rel=1e-7)
    with pytest.raises(ValueError, match="not a number"):
        literal(F(np.nan))


def test_another_struct_of_the_same_name_is_refused() -> None:
    first = Function("A", trace(lambda x: x + 1.0, X), {"x": "One", "output": "Two"}, "A test.")
    second = Function("B", trace(lambda x: x + 1.0, X[:2]), {"x": "One", "output": "Two"}, "A test.")
    with pytest.raises(ValueError, match="another One"):
        render([first, second])
