"""A spec is read whole or refused with the key and the remedy."""

from pathlib import Path

import pytest

from cluster.errors import SpecError
from cluster.spec import Workers, load_spec


def test_example_is_read(write_spec):
    spec = load_spec(write_spec())
    assert spec.workers == Workers(count=2, min=0, max=4, cpus=8, memory="32Gi", gpus=1)
    assert spec.head.memory == "16Gi"
    assert spec.environment == {"AWS_REGION": "eu-central-1"}


def test_defaults_fill_what_is_left_out(write_spec):
    spec = load_spec(write_spec({"head": None, "workers.gpus": None, "job.settings": None, "aws": None}))
    assert (spec.head.cpus, spec.workers.gpus, spec.job.settings, spec.aws) == (4, 0, (), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers.gpu": 1}, "workers.gpu: unknown key; workers has count, min, max, cpus, memory, gpus"),
        ({"worker": {}}, "worker: unknown key; the spec has name"),
        ({"job.output": None}, "job.output: missing"),
        ({"workers.gpus": "two"}, "workers.gpus: expected a whole number, got 'two'"),
        ({"workers.gpus": True}, "workers.gpus: expected a whole number, got True"),
        ({"ray_version": 2.6}, "ray_version: expected text, got 2.6: put it into quotes"),
        ({"aws.spot": "yes please"}, "aws.spot: expected true or false"),
        ({"job.settings": "seed=1"}, "job.settings: expected a list, got 'seed=1'"),
        ({"job.settings": [1]}, "job.settings[0]: expected text, got 1"),
        ({"environment": ["AWS_REGION"]}, "environment: expected key: value lines"),
        ({"image": "facefill:1"}, "image: expected key: value lines, got 'facefill:1'"),
        ({"name": "Face_Fill"}, "name: 'Face_Fill' must be"),
        ({"name": "f" * 41}, "must be at most 40"),
        ({"workers.memory": "32 GB"}, "workers.memory: '32 GB' must be a number with Mi, Gi or Ti"),
        ({"head.memory": "0Gi"}, "head.memory: '0Gi' must be"),
        ({"workers.count": 5}, "workers: min 0, count 5, max 4"),
        ({"workers.count": 0}, "workers: count and cpus must be at least 1"),
        ({"workers.gpus": -1}, "gpus at least 0"),
        ({"job.deadline_hours": 0}, "job: deadline_hours must be at least 1"),
        ({"job.retries": -1}, "retries at least 0"),
        ({"job.settings": ["name=a b"]}, "job: 'name=a b' must be key=value without spaces"),
        ({"job.settings": ["name=$(id)"]}, "must be key=value without spaces"),
        ({"job.settings": ["seed"]}, "job: 'seed' must be key=value"),
        ({"job.output": "runs/demo"}, "job.output: 'runs/demo' must be a URL or an absolute path"),
        (
            {"on_premise": {"head": "10.0.0.1", "workers": ["10.0.0.2", "10.0.0.3"], "ssh_user": "me"}},
            "aws, on_premise: both are given",
        ),
        (
            {"aws": None, "on_premise": {"head": "10.0.0.1", "workers": ["10.0.0.2"], "ssh_user": "me"}},
            "on_premise.workers: 1 machines are too few for workers.count 2",
        ),
    ],
)
def test_mistakes_are_named(write_spec, changes, message):
    path = write_spec(changes)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


def test_unreadable_files_are_named(tmp_path: Path):
    with pytest.raises(SpecError, match=r"absent\.yaml: cannot be read"):
        load_spec(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: facefill\nworkers: [1, 2\n")
    with pytest.raises(SpecError, match=r"broken\.yaml: line 3 is not YAML"):
        load_spec(broken)
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    with pytest.raises(SpecError, match="the spec: expected key: value lines, got None"):
        load_spec(empty)
