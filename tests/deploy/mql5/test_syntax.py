"""What MetaEditor would read first: the syntax, by the C++ grammar of tree-sitter, and the form of the files."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from mtquant_jax.deploy.mql5.compiled import template
from mtquant_jax.deploy.mql5.export import FIXED, advisor_name, write_files


def as_cpp(text: str) -> str:
    """The text without what only MQL5 has."""
    text = re.sub(r"(?m)^#(property|resource|import)[^\n]*$", "", text)
    return re.sub(r"(?m)^input\s+(group[^\n]*$)?", "", text)


def errors(text: str) -> list[str]:
    """Lines that the grammar does not know."""
    tree_sitter = pytest.importorskip("tree_sitter")
    language = tree_sitter.Language(pytest.importorskip("tree_sitter_cpp").language())
    tree = tree_sitter.Parser(language).parse(as_cpp(text).encode())
    found, nodes = [], [tree.root_node]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {node.text[:60]!r}")
        nodes.extend(node.children)
    return found


@pytest.mark.parametrize("name", [*FIXED, "expert_advisor.mq5"])
def test_fixed_files_parse(name: str) -> None:
    assert errors(template(name)) == []


def test_every_exported_file_parses(advisor) -> None:
    texts = {name: text for name, text in advisor.files.items() if name.endswith((".mq5", ".mqh"))}
    assert len(texts) > len(FIXED)
    assert {name: errors(text) for name, text in texts.items() if errors(text)} == {}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("return done;", "return done"),
        ("for(int i = 0; i < NUM_TRADED; i++)", "for(int i = 0; i < NUM_TRADED, i++)"),
        ("bool MoveAll() {", "bool MoveAll( {"),
    ],
)
def test_a_deliberate_error_is_found(right: str, wrong: str) -> None:
    text = template("orders.mqh")
    assert right in text
    assert errors(text.replace(right, wrong))


def test_every_include_is_exported(advisor) -> None:
    main = advisor.files["MTQuant.mq5"]
    included = re.findall(r'#include "([^"]*)"', main)
    assert set(included) == {name for name in advisor.files if name.endswith(".mqh")}
    assert 'resource "decision.onnx"' in main


def test_files_are_ascii_with_the_line_ends_of_windows(advisor, tmp_path: Path) -> None:
    write_files(advisor.files, tmp_path / "advisor", "test")
    write_files(advisor.files, tmp_path / "advisor.zip", "test")
    with zipfile.ZipFile(tmp_path / "advisor.zip") as archive:
        assert {name.removeprefix("MTQuant-test/") for name in archive.namelist()} == set(advisor.files)
    for name in advisor.files:
        content = (tmp_path / "advisor" / name).read_bytes()
        if name.endswith((".mq5", ".mqh")):
            assert content.isascii()
            assert content.count(b"\n") == content.count(b"\r\n") > 0


def test_a_name_is_one_that_files_may_have() -> None:
    assert advisor_name("my run: 3/4") == "my-run-3-4"
    assert advisor_name("äöü") == "model"


def test_local_variables_fit_what_meta_editor_allows(advisor) -> None:
    for name in ("features.mqh", "account_view.mqh", "risk.mqh", "order_size.mqh"):
        for body in re.split(r"(?m)^void ", advisor.files[name])[1:]:
            sizes = re.findall(r"(?m)^   (float|int|bool) v\d+\[(\d+)\];", body)
            assert 0 < sum(4 * int(size) for _, size in sizes) < 256 * 1024, body[:40]
