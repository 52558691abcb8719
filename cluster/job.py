"""What the job runs and which environment it runs in; KubeRay and `ray up` share both."""

import shlex

from cluster.spec import Spec

STAGES = ("morphable", "morphable_finetune", "segment", "inpaint")


def train_workers(spec: Spec) -> int:
    """Ray Train workers that fill the machines: one per GPU, or one per machine where there is none."""
    return spec.workers.count * max(spec.workers.gpus, 1)


def run_arguments(spec: Spec) -> list[str]:
    """Arguments of `facefill`; the spec's own settings come last and win over those of the machines."""
    gpu = "true" if spec.workers.gpus else "false"
    settings = [f"output={spec.job.output}"]
    for stage in STAGES:
        settings.append(f"stages.{stage}.training.workers={train_workers(spec)}")
        settings.append(f"stages.{stage}.training.gpu={gpu}")
    return ["run", spec.job.config, *settings, *spec.job.settings]


def run_command(spec: Spec) -> str:
    """The one command of the job, as a shell line."""
    return shlex.join(["facefill", *run_arguments(spec)])


def environment(spec: Spec) -> dict[str, str]:
    """Variables of head and workers alike; nothing secret among them."""
    variables = dict(spec.environment)
    if spec.job.mlflow_tracking_uri:
        variables["MLFLOW_TRACKING_URI"] = spec.job.mlflow_tracking_uri
    return variables
