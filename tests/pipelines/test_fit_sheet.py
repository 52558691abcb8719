"""The contact sheet of a dataset's fits: which faces it shows, and that workers draw the same one."""

from pipelines import storage, tables
from pipelines.fit import COLUMNS, fit_dataset, fit_tasks
from pipelines.fit_sheet import SHOWN, shown_fits, write_fit_sheet
from pipelines.run_model import default_run_model
from tests.support.face_shards import FIVE, GOOD, NONE, write_face_shards


def test_faces_are_evenly_spread_and_refused_ones_left_out(tmp_path):
    manifest = write_face_shards(str(tmp_path / "shards"), [GOOD] * (SHOWN + 5), per_shard=6)
    tasks = fit_tasks(manifest, str(tmp_path / "fits"), default_run_model(), "")
    for task in tasks:
        made = {"fit": [0.0], "landmark_px": 1.0, "photometric": 0.1}
        refused = {"drawn/000": "no landmarks"}
        rows = [{"key": row.key, **made, "reason": refused.get(row.key, "")} for row in task.rows]
        tables.write_table(task.table, rows, COLUMNS)
    shown = shown_fits(tasks)
    keys = [key for _, keys in shown for key in keys]
    assert len(shown) == len(tasks) and len(keys) == SHOWN == len(set(keys)) and keys == sorted(keys)
    assert keys[0] == "drawn/001" and keys[-1] == f"drawn/{SHOWN + 4:03d}"


def test_the_same_sheet_whoever_draws_it(tmp_path, ray_session):
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits" / "drawn")
    write_face_shards(shards, [GOOD, FIVE, NONE], per_shard=2)
    fit_dataset(shards, fits, workers=0)
    url = write_fit_sheet(shards, fits, default_run_model(), workers=0)
    assert url == str(tmp_path / "fits" / "drawn.jpg")
    first = storage.read_bytes(url)
    assert first[:2] == b"\xff\xd8"
    write_fit_sheet(shards, fits, default_run_model(), workers=2)
    assert storage.read_bytes(url) == first


def test_without_a_fit_there_is_no_sheet(tmp_path):
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits")
    write_face_shards(shards, [NONE])
    fit_dataset(shards, fits, workers=0)
    assert write_fit_sheet(shards, fits, default_run_model(), workers=0) is None
    assert not (tmp_path / "fits.jpg").exists()
