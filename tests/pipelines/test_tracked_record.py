"""The record of a tracked run: on disk, and in a folder that moves."""

import pytest

from pipelines.tracked_record import RecordFile, RunRecord, read_record, records_in
from pipelines.tracker import flatten, missing_points


@pytest.mark.parametrize("output", ["memory://record/run", "{tmp}/run"])
def test_paths_are_relative_to_the_record(output, tmp_path):
    output = output.format(tmp=tmp_path)
    file = RecordFile(f"{output}/stages/toy/mlflow_run.json", RunRecord("e", "n", {"a": 1}))
    file.add_file("card.json", f"{output}/weights/toy/card.json")
    again = read_record(file.url)
    assert again.record == file.record and again.record.files == {"card.json": "../../weights/toy/card.json"}
    assert again.resolved("../../weights/toy/card.json") == f"{output}/weights/toy/card.json"
    assert again.metrics == f"{output}/stages/toy/metrics.jsonl"
    assert [found.url for found in records_in(output)] == [file.url]
    assert [found.url for found in records_in(f"{output}/stages/toy")] == [file.url]


def test_what_is_added_has_not_arrived(tmp_path):
    file = RecordFile(str(tmp_path / "mlflow_run.json"), RunRecord("e", "n", {}))
    for path in ("a.txt", "b.txt"):
        file.add_file(path, str(tmp_path / path))
        file.mark("sqlite:///x", f"file {path}")
    file.mark("sqlite:///x", run_id="1", complete=True)
    file.add_file("a.txt", str(tmp_path / "a.txt"))
    arrived = read_record(file.url).arrived("sqlite:///x")
    assert (arrived.sent, arrived.complete, arrived.run_id) == (["file b.txt"], False, "1")


def test_missing_points_are_what_is_finite_and_not_there():
    lines = [
        {"step": 1, "kind": "metrics", "time": 1.5, "loss/a": 1.0, "loss/b": None},
        {"step": 2, "kind": "metrics", "time": 2.0, "loss/a": 2.0},
        {"step": 2, "kind": "metrics", "time": 9.0, "loss/a": 3.0},
    ]
    assert list(missing_points(lines, {})) == [("loss/a", 1.0, 1500, 1), ("loss/a", 2.0, 2000, 2)]
    assert list(missing_points(lines, {"loss/a": {1}})) == [("loss/a", 2.0, 2000, 2)]


def test_settings_become_dotted_parameters():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1, 2]}) == {
        "a.b": "1",
        "a.c.d": "None",
        "e": "[1, 2]",
    }
