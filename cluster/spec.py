"""What a cluster is, in one small YAML file: image, job, workers, secrets, machines.

Everything that is rendered comes from this tree, so the container, KubeRay and `ray up` cannot disagree.
Secrets are named here, never written here.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cluster.errors import SpecError
from cluster.reading import read_dataclass

_NAME = re.compile(
    r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?"
)  # a Kubernetes name, with room for KubeRay's own suffixes
_MEMORY = re.compile(r"[1-9][0-9]*(Mi|Gi|Ti)")
_SETTING = re.compile(r"[A-Za-z_][\w.]*=[\w.,:/@%+\-\[\]]*")  # nothing that a shell would read in its own way


@dataclass(frozen=True, kw_only=True)
class Image:
    """The container image: what it is called and which official Python it starts from."""

    name: str
    base: str = "python:3.11-slim-bookworm"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One `facefill run`: its configuration, where the results go, how long and how often it may try."""

    config: str
    output: str
    settings: tuple[str, ...] = ()
    deadline_hours: int = 24
    retries: int = 2
    mlflow_tracking_uri: str | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head takes no work: it holds the driver, the dashboard and the cluster's state."""

    cpus: int = 4
    memory: str = "16Gi"


@dataclass(frozen=True, kw_only=True)
class Workers:
    """`count` machines at the start, scaled between `min` and `max`; equal bounds: no autoscaler."""

    count: int
    min: int
    max: int
    cpus: int
    memory: str
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Names of Kubernetes secrets: Ray's token (key `auth_token`), the object store's environment."""

    ray_token: str
    storage: str | None = None


@dataclass(frozen=True, kw_only=True)
class Aws:
    """Machines for `ray up` on AWS: a head that stays, workers that may be spot instances."""

    region: str
    head_type: str
    worker_type: str
    instance_profile: str
    spot: bool = True
    disk_gib: int = 200
    ssh_user: str = "ubuntu"


@dataclass(frozen=True, kw_only=True)
class OnPremise:
    """Machines for `ray up` that stand there already, reached by ssh, with Docker installed."""

    head: str
    workers: tuple[str, ...]
    ssh_user: str
    ssh_private_key: str = "~/.ssh/id_ed25519"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The whole spec; `aws` or `on_premise` is needed for `ray up` only, and only one of them."""

    name: str
    ray_version: str
    image: Image
    job: Job
    workers: Workers
    secrets: Secrets
    head: Head = field(default_factory=Head)
    environment: dict[str, str] = field(default_factory=dict)
    aws: Aws | None = None
    on_premise: OnPremise | None = None


def load_spec(path: Path) -> Spec:
    """Read and check a spec; raises SpecError with the file, the key and the remedy."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}): give the path of a spec") from error
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        raise SpecError(f"{path}: line {line} is not YAML: compare with cluster/spec.yaml") from error
    try:
        spec = read_dataclass(Spec, document)
        check_spec(spec)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    return spec


def check_spec(spec: Spec) -> None:
    """Refuse what the types allow and a cluster does not."""
    if not _NAME.fullmatch(spec.name):
        raise SpecError(f"name: {spec.name!r} must be at most 40 lower-case letters, digits and dashes")
    for place, memory in (("head.memory", spec.head.memory), ("workers.memory", spec.workers.memory)):
        if not _MEMORY.fullmatch(memory):
            raise SpecError(f"{place}: {memory!r} must be a number with Mi, Gi or Ti, such as 32Gi")
    _check_workers(spec.workers)
    _check_job(spec.job)
    if spec.aws and spec.on_premise:
        raise SpecError("aws, on_premise: both are given: keep the one that `ray up` shall use")
    if spec.on_premise and len(spec.on_premise.workers) < spec.workers.count:
        raise SpecError(
            f"on_premise.workers: {len(spec.on_premise.workers)} machines are too few for workers.count "
            f"{spec.workers.count}: name more of them or lower the count"
        )


def _check_workers(workers: Workers) -> None:
    if not 0 <= workers.min <= workers.count <= workers.max:
        raise SpecError(
            f"workers: min {workers.min}, count {workers.count}, max {workers.max}: "
            "write them so that 0 <= min <= count <= max"
        )
    if workers.count < 1 or workers.cpus < 1 or workers.gpus < 0:
        raise SpecError("workers: count and cpus must be at least 1, gpus at least 0")


def _check_job(job: Job) -> None:
    if job.deadline_hours < 1 or job.retries < 0:
        raise SpecError("job: deadline_hours must be at least 1 and retries at least 0")
    for setting in (f"config={job.config}", f"output={job.output}", *job.settings):
        if not _SETTING.fullmatch(setting):
            raise SpecError(
                f"job: {setting!r} must be key=value without spaces or quotes: put it into a config file"
            )
    if not (job.output.startswith("/") or "://" in job.output):
        raise SpecError(f"job.output: {job.output!r} must be a URL or an absolute path that all machines see")
