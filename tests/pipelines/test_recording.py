"""The driver's record: what is written is whole, goes on where it was, and says how fast it went."""

import io

import numpy as np
import pytest

from pipelines.progress import Event, Progress
from pipelines.recording import Recorder, read_metrics, speed


def test_a_record_goes_on_where_the_run_goes_on(tmp_path):
    for start in (0, 10):
        recorder = Recorder(str(tmp_path), Progress(io.StringIO()), 8)
        recorder(Event("toy", "start", start, 40))
        for step in range(start + 5, start + 20, 5):
            values = {"loss/a": float("inf") if step == 5 else 1.0, "time/step": 0.25, "time/data": 0.05}
            recorder(Event("toy", "metrics", step, 40, values))
        recorder(Event("toy", "picture", start, 40, picture=np.zeros((4, 6, 3), np.uint8)))
        recorder.close()
    lines = read_metrics(str(tmp_path / "metrics.jsonl"))
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 25]
    assert [line["loss/a"] for line in lines] == [None, 1.0, 1.0, 1.0, 1.0]
    assert all(line["speed/images_per_s"] == 32.0 for line in lines)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["0000000.jpg", "0000010.jpg"]


def test_speed_is_derived_from_the_times_of_a_step():
    assert speed({"time/step": 0.25, "time/data": 0.05}, 8) == {
        "speed/images_per_s": 32.0,
        "speed/data_wait_share": pytest.approx(0.2),
    }
    assert speed({"time/step": 0.25}, 8) == {"speed/images_per_s": 32.0}
    assert speed({"metric/error": 1.0}, 8) == {}
