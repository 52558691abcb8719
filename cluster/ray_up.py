"""A `ray up` file for machines without Kubernetes: AWS instances, or machines that stand there already.

The dashboard stays on the head's own loopback: who reaches it can run code. `ray dashboard` and `ray exec` go
through ssh, and Ray's token, copied from the user's folder, guards the rest.
"""

import shlex
from typing import Any

from cluster.job import environment
from cluster.spec import Aws, OnPremise, Spec

HOME = "/home/facefill"  # of the image's user


def ray_up(spec: Spec) -> dict[str, Any]:
    """The file as a mapping; the spec must name `aws` or `on_premise`."""
    if spec.aws:
        machines = _aws(spec, spec.aws)
    elif spec.on_premise:
        machines = _on_premise(spec.on_premise)
    else:
        raise ValueError("ray_up needs a spec with aws or on_premise")
    return {
        "cluster_name": spec.name,
        **machines,
        "docker": {
            "image": spec.image.name,
            "container_name": "facefill",
            "pull_before_run": True,
            "run_options": _run_options(spec),
        },
        "file_mounts": {f"{HOME}/.ray/auth_token": "~/.ray/auth_token"},
        # The image has everything; what Ray would install by default is switched off.
        "setup_commands": ["facefill --help > /dev/null"],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [
            "ray stop",
            "ulimit -n 65536; ray start --head --port=6379 --num-cpus=0 --dashboard-host=127.0.0.1"
            " --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", "ulimit -n 65536; ray start --address=$RAY_HEAD_IP:6379"],
    }


def _run_options(spec: Spec) -> list[str]:
    variables = {"RAY_AUTH_MODE": "token", **environment(spec)}
    settings = (shlex.quote(f"{name}={value}") for name, value in variables.items())
    return ["--ulimit nofile=65536:65536", *(f"--env {setting}" for setting in settings)]


def _aws(spec: Spec, aws: Aws) -> dict[str, Any]:
    worker = _instance(aws, aws.worker_type)
    if aws.spot:
        worker["InstanceMarketOptions"] = {"MarketType": "spot"}
    return {
        "max_workers": spec.workers.max,
        "idle_timeout_minutes": 5,
        "provider": {"type": "aws", "region": aws.region},
        "auth": {"ssh_user": aws.ssh_user},
        "head_node_type": "head",
        "available_node_types": {
            "head": {"node_config": _instance(aws, aws.head_type), "resources": {"CPU": 0}, "max_workers": 0},
            "worker": {
                "node_config": worker,
                "resources": {
                    "CPU": spec.workers.cpus,
                    **({"GPU": spec.workers.gpus} if spec.workers.gpus else {}),
                },
                "min_workers": spec.workers.min,
                "max_workers": spec.workers.max,
            },
        },
    }


def _instance(aws: Aws, instance_type: str) -> dict[str, Any]:
    return {
        "InstanceType": instance_type,
        "IamInstanceProfile": {"Arn": aws.instance_profile},
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": aws.disk_gib, "VolumeType": "gp3"}}
        ],
    }


def _on_premise(machines: OnPremise) -> dict[str, Any]:
    # Ray makes the node types of such a cluster itself and refuses any in the file.
    return {
        "max_workers": len(machines.workers),
        "provider": {"type": "local", "head_ip": machines.head, "worker_ips": list(machines.workers)},
        "auth": {"ssh_user": machines.ssh_user, "ssh_private_key": machines.ssh_private_key},
    }
