"""A KubeRay RayJob (`ray.io/v1`, operator 1.7) that starts a cluster, runs `facefill run`, cleans up."""

from typing import Any

from cluster.job import environment, run_command
from cluster.spec import Head, Spec, Workers

IDLE_SECONDS_BEFORE_SCALING_DOWN = 300
SECONDS_TO_READ_THE_LOGS = 600


def ray_job(spec: Spec) -> dict[str, Any]:
    """The manifest as a mapping."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": spec.name},
        "spec": {
            "entrypoint": run_command(spec),
            # The submitter sits in the head's pod, so no log connection between pods can hang.
            "submissionMode": "SidecarMode",
            # Each retry is a new cluster; `facefill run` skips what lies finished under the output.
            "backoffLimit": spec.job.retries,
            "activeDeadlineSeconds": spec.job.deadline_hours * 3600,
            # The time to live means nothing without the shutdown.
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": SECONDS_TO_READ_THE_LOGS,
            "rayClusterSpec": _ray_cluster(spec),
        },
    }


def _ray_cluster(spec: Spec) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "rayVersion": spec.ray_version,
        "authOptions": {"mode": "token", "secretName": spec.secrets.ray_token},
        "headGroupSpec": {
            # No work on the head: what runs there dies with the job's driver when memory runs out.
            "rayStartParams": {"num-cpus": "0"},
            "template": _pod_template(spec, "ray-head", spec.head),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": spec.workers.count,
                "minReplicas": spec.workers.min,
                "maxReplicas": spec.workers.max,
                "template": _pod_template(spec, "ray-worker", spec.workers),
            }
        ],
    }
    if spec.workers.min < spec.workers.max:
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = {
            "version": "v2",
            "idleTimeoutSeconds": IDLE_SECONDS_BEFORE_SCALING_DOWN,
        }
    return cluster


def _pod_template(spec: Spec, container_name: str, machine: Head | Workers) -> dict[str, Any]:
    amounts: dict[str, Any] = {"cpu": str(machine.cpus), "memory": machine.memory}
    gpus = machine.gpus if isinstance(machine, Workers) else 0
    if gpus:
        amounts["nvidia.com/gpu"] = gpus  # Kubernetes refuses GPUs whose limits and requests differ
    container: dict[str, Any] = {
        "name": container_name,
        "image": spec.image.name,
        "env": [{"name": name, "value": value} for name, value in environment(spec).items()],
        "resources": {"limits": amounts, "requests": dict(amounts)},
        # Ray's object store and the loaders live in shared memory; the default 64 MiB ends in a bus error.
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    if spec.secrets.storage:
        container["envFrom"] = [{"secretRef": {"name": spec.secrets.storage}}]
    pod: dict[str, Any] = {
        "restartPolicy": "Never",  # demanded by SidecarMode and autoscaler v2; KubeRay replaces pods itself
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000},
        "containers": [container],
        "volumes": [{"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": machine.memory}}],
    }
    if gpus:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return {"spec": pod}
