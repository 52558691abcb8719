"""`ray up` files are checked by Ray itself: its schema, its defaults and its own validation."""

import json
from pathlib import Path

import jsonschema
import pytest

from cluster.ray_up import ray_up
from cluster.spec import load_spec

ON_PREMISE = {"head": "10.0.0.1", "workers": ["10.0.0.2", "10.0.0.3"], "ssh_user": "me"}


@pytest.fixture(params=["aws", "on_premise"])
def rendered(request, write_spec):
    changes = {} if request.param == "aws" else {"aws": None, "on_premise": ON_PREMISE}
    return ray_up(load_spec(write_spec(changes)))


def ray_schema() -> dict:
    import ray.autoscaler

    return json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())


def test_schema(rendered):
    jsonschema.validate(rendered, ray_schema())


def test_schema_sees_mistakes(rendered):
    rendered["available_node_type"] = {}
    with pytest.raises(jsonschema.ValidationError, match="available_node_type"):
        jsonschema.validate(rendered, ray_schema())


def test_ray_accepts_it_with_its_defaults(rendered):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(rendered)
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    # Nothing of Ray's own installation recipes is left.
    assert "pip install" not in str(prepared)


def test_image_token_and_closed_dashboard(rendered):
    docker = rendered["docker"]
    assert docker["image"] == "registry.example.org/facefill:0.1.0"
    assert "--env RAY_AUTH_MODE=token" in docker["run_options"]
    assert "--env AWS_REGION=eu-central-1" in docker["run_options"]
    assert rendered["file_mounts"] == {"/home/facefill/.ray/auth_token": "~/.ray/auth_token"}
    start = rendered["head_start_ray_commands"][-1]
    assert "--num-cpus=0" in start
    assert "--dashboard-host=127.0.0.1" in start


def test_values_with_spaces_stay_one_value(write_spec):
    spec = load_spec(write_spec({"environment": {"NOTE": "it's two words"}}))
    assert """--env 'NOTE=it'"'"'s two words'""" in ray_up(spec)["docker"]["run_options"]


def test_aws_machines(write_spec):
    types = ray_up(load_spec(write_spec()))["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["worker"]["resources"] == {"CPU": 8, "GPU": 1}
    assert (types["worker"]["min_workers"], types["worker"]["max_workers"]) == (0, 4)
    # Spot machines come and go; the head holds the driver.
    assert "InstanceMarketOptions" in types["worker"]["node_config"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    steady = ray_up(load_spec(write_spec({"aws.spot": False, "workers.gpus": 0})))["available_node_types"]
    assert "InstanceMarketOptions" not in steady["worker"]["node_config"]
    assert steady["worker"]["resources"] == {"CPU": 8}


def test_on_premise_machines(write_spec):
    rendered = ray_up(load_spec(write_spec({"aws": None, "on_premise": ON_PREMISE})))
    assert rendered["provider"] == {
        "type": "local",
        "head_ip": "10.0.0.1",
        "worker_ips": ["10.0.0.2", "10.0.0.3"],
    }
    assert "available_node_types" not in rendered  # Ray refuses them for such a cluster
