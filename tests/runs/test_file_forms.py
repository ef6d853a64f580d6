"""The files of a training keep their form: keys, order, nesting and types."""

from __future__ import annotations

import csv
import json

import pytest

from mtquant_jax.storage.bundles import read_manifest
from mtquant_jax.storage.paths import RunPaths
from tests.forms import Differs, check_form, form_of, merged


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_results_and_metrics_of_a_phase_keep_their_form(synthetic_run, phase):
    paths = RunPaths(synthetic_run)
    check_form(f"phase{phase}_results", json.loads(paths.phase_results(phase).read_text(encoding="utf-8")))
    with paths.metrics_csv(phase).open(encoding="utf-8", newline="") as stream:
        check_form(f"phase{phase}_metrics", dict.fromkeys(next(csv.reader(stream))))


def test_the_summary_keeps_its_form(synthetic_run):
    summary = json.loads(RunPaths(synthetic_run).training_summary.read_text(encoding="utf-8"))
    assert list(summary["results"]) == ["phase1", "phase2", "phase3"]  # each as in its own file
    # Settings have a reference of their own, which a test keeps complete.
    check_form("training_summary", {**summary, "results": None, "configuration": None})


def test_models_keep_their_form(synthetic_run):
    paths = RunPaths(synthetic_run)
    check_form("specialist_manifest", read_manifest(paths.specialist_bundle("forex")))
    check_form("meta_controller_manifest", read_manifest(paths.meta_bundle))


def test_forms_tell_keys_order_nesting_and_types_and_no_values():
    content = {"a": {"x": 1.5, "y": None}, "b": {"x": -2.0, "y": 3}, "c": [{"n": 1}, {"n": 2}]}
    form = form_of(content)
    assert form == {"a": {"x": "float", "y": "null"}, "b": {"x": "float", "y": "int"}, "c": [{"n": "int"}]}
    assert form_of({"p": content["a"], "q": content["b"]}) == {"each of p, q": {"x": "float", "y": "int"}}
    same = {"a": {"x": 0.0, "y": 7}, "b": {"x": 1.0, "y": None}, "c": []}
    assert merged([form, form_of(same)])["a"] == {"x": "float", "y": "int"}
    for other in (
        {**content, "c": [{"n": 1.0}]},
        {**content, "c": {"n": 1}},
        {**content, "d": 1},
        {name: content[name] for name in ("b", "a", "c")},
        {**content, "a": {"x": 1.5}},
    ):
        with pytest.raises(Differs):
            merged([form, form_of(other)])
