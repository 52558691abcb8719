"""The RayJob has the fields that KubeRay 1.7 demands, no field that it does not know, and honest numbers."""

import shlex
from typing import Any

import pytest

from cluster.kuberay import ray_job
from cluster.spec import load_spec
from facefill.config import STAGES
from pipelines.cli import build_parser
from pipelines.config_file import load_config

# Path of an object in the manifest -> (fields that must be there, fields that may be). Written from the
# operator's API; a `*` stands for every item of a list. What is not listed is free (labels, amounts).
FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "": ({"apiVersion", "kind", "metadata", "spec"}, set()),
    "metadata": ({"name"}, {"namespace", "labels", "annotations"}),
    "spec": (
        {"entrypoint", "rayClusterSpec", "activeDeadlineSeconds", "shutdownAfterJobFinishes"},
        {"submissionMode", "backoffLimit", "ttlSecondsAfterFinished", "runtimeEnvYAML", "jobId", "metadata"}
        | {
            "entrypointNumCpus",
            "entrypointNumGpus",
            "entrypointResources",
            "preRunningDeadlineSeconds",
            "suspend",
        },
    ),
    "spec.rayClusterSpec": (
        {"headGroupSpec", "rayVersion", "workerGroupSpecs", "authOptions"},
        {
            "enableInTreeAutoscaling",
            "autoscalerOptions",
            "gcsFaultToleranceOptions",
            "networkPolicy",
            "tlsOptions",
        },
    ),
    "spec.rayClusterSpec.authOptions": ({"mode", "secretName"}, set()),
    "spec.rayClusterSpec.autoscalerOptions": (
        set(),
        {"version", "idleTimeoutSeconds", "upscalingMode", "image", "resources", "env", "envFrom"},
    ),
    "spec.rayClusterSpec.headGroupSpec": (
        {"template"},
        {"rayStartParams", "serviceType", "headService", "labels", "resources"},
    ),
    "spec.rayClusterSpec.workerGroupSpecs.*": (
        {"groupName", "minReplicas", "maxReplicas", "template"},
        {"replicas", "rayStartParams", "numOfHosts", "idleTimeoutSeconds", "labels", "resources", "priority"},
    ),
}
POD = (
    {"containers"},
    {
        "volumes",
        "tolerations",
        "nodeSelector",
        "affinity",
        "serviceAccountName",
        "restartPolicy",
        "securityContext",
    },
)
CONTAINER = (
    {"name", "image", "resources", "volumeMounts"},
    {"env", "envFrom", "ports", "securityContext", "imagePullPolicy", "lifecycle"},
)
for group in ("headGroupSpec", "workerGroupSpecs.*"):
    template = f"spec.rayClusterSpec.{group}.template"
    FIELDS[template] = ({"spec"}, {"metadata"})
    FIELDS[f"{template}.spec"] = POD
    FIELDS[f"{template}.spec.containers.*"] = CONTAINER


def faults(node: Any, path: str = "") -> list[str]:
    """What KubeRay would refuse: missing and unknown fields, by path."""
    if isinstance(node, list):
        return [fault for item in node for fault in faults(item, f"{path}.*")]
    if not isinstance(node, dict):
        return []
    found = []
    if path in FIELDS:
        required, optional = FIELDS[path]
        found += [f"{path}: missing {name}" for name in sorted(required - set(node))]
        found += [f"{path}: unknown {name}" for name in sorted(set(node) - required - optional)]
    for name, value in node.items():
        found += faults(value, f"{path}.{name}".lstrip("."))
    return found


@pytest.fixture
def job(write_spec):
    return ray_job(load_spec(write_spec()))


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_fields(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert faults(job) == []


def test_the_check_of_fields_sees_mistakes(job):
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    group["maxReplica"] = group.pop("maxReplicas")
    group["template"]["spec"]["containers"][0]["image_name"] = "x"
    path = "spec.rayClusterSpec.workerGroupSpecs.*"
    assert faults(job) == [
        f"{path}: missing maxReplicas",
        f"{path}: unknown maxReplica",
        f"{path}.template.spec.containers.*: unknown image_name",
    ]


def test_job_ends_and_cleans_up(job):
    spec = job["spec"]
    assert spec["submissionMode"] == "SidecarMode"
    assert "submitterPodTemplate" not in spec  # refused in this mode
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (24 * 3600, 2)
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert all(pod["restartPolicy"] == "Never" for pod in pods(job))


def test_head_takes_no_work_and_the_cluster_has_a_token(job):
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert cluster["authOptions"] == {"mode": "token", "secretName": "facefill-ray-token"}


def test_gpus(write_spec):
    spec = load_spec(write_spec({"workers.gpus": 4}))
    job = ray_job(spec)
    head, worker = pods(job)
    for pod in (head, worker):
        resources = pod["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"]
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert "tolerations" not in head
    per_machine = worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert per_machine == 4
    assert worker["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    # As many Ray Train workers as the machines have GPUs, in every stage.
    settings = dict(word.split("=", 1) for word in shlex.split(job["spec"]["entrypoint"]) if "=" in word)
    replicas = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"]
    for stage in STAGES:
        assert int(settings[f"stages.{stage}.training.workers"]) == replicas * per_machine
        assert settings[f"stages.{stage}.training.gpu"] == "true"


def test_without_gpus_no_trace_of_them(write_spec):
    job = ray_job(load_spec(write_spec({"workers.gpus": 0})))
    assert "nvidia" not in str(job)
    assert "training.gpu=false" in job["spec"]["entrypoint"]
    assert "training.workers=2" in job["spec"]["entrypoint"]


def test_shared_memory_environment_and_secrets(job):
    for pod in pods(job):
        [container] = pod["containers"]
        [mount] = container["volumeMounts"]
        [volume] = pod["volumes"]
        assert (mount["mountPath"], mount["name"]) == ("/dev/shm", volume["name"])
        assert volume["emptyDir"]["medium"] == "Memory"
        assert volume["emptyDir"]["sizeLimit"] == container["resources"]["limits"]["memory"]
        assert container["envFrom"] == [{"secretRef": {"name": "facefill-storage"}}]
        names = {variable["name"] for variable in container["env"]}
        assert names == {"AWS_REGION", "MLFLOW_TRACKING_URI"}
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_autoscaler_only_where_there_is_room(write_spec):
    scaled = ray_job(load_spec(write_spec()))["spec"]["rayClusterSpec"]
    assert scaled["enableInTreeAutoscaling"] is True
    assert scaled["autoscalerOptions"]["version"] == "v2"
    fixed = ray_job(load_spec(write_spec({"workers.min": 2, "workers.max": 2})))["spec"]["rayClusterSpec"]
    assert not {"enableInTreeAutoscaling", "autoscalerOptions"} & set(fixed)


def test_entrypoint_is_a_command_that_facefill_takes(write_spec):
    spec = load_spec(write_spec({"job.settings": ["seed=7", "stages.inpaint.training.workers=1"]}))
    command, *arguments = shlex.split(ray_job(spec)["spec"]["entrypoint"])
    assert command == "facefill"
    options = build_parser().parse_args(arguments)
    config = load_config(options.config, options.settings)
    assert (options.verb, config.output, config.seed) == ("run", "s3://faces/runs/demo", 7)
    assert config.stages.segment.training.workers == 2
    assert config.stages.segment.training.gpu is True
    assert config.stages.inpaint.training.workers == 1  # the spec's own setting wins
