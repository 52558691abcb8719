"""The container image: official slim Python, the tested dependency set, our wheel, no weights and no data.

One Dockerfile serves CPU and GPU: torch's own wheel carries CUDA, and with the build argument TORCH_INDEX pip
takes the smaller CPU build from the index named there.
"""

from cluster.spec import Spec

# Shell of the last build step: fails the build when Ray is not the pinned one or the package does not start.
SELF_TEST = "ray --version | grep -qx 'ray, version {ray_version}' && facefill --help > /dev/null"

_DOCKERFILE = """\
# Rendered by `python -m cluster render`: change the spec, not this file.
# Build from the repository's root:
#   docker build -f OUT/docker/Dockerfile -t {image} .
# Smaller, without CUDA:
#   docker build --build-arg TORCH_INDEX=<index of torch's CPU builds> -f OUT/docker/Dockerfile -t {image} .

FROM {base} AS wheel
WORKDIR /source
COPY pyproject.toml README.md ./
COPY facefill facefill
COPY pipelines pipelines
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \\
    print(*project['dependencies'], sep='\\n')" > /wheels/requirements.txt

FROM {base}
# `ray up` reaches the workers from inside the head's container.
RUN apt-get update && apt-get install --yes --no-install-recommends openssh-client rsync \\
    && rm -rf /var/lib/apt/lists/*
ARG TORCH_INDEX=""
COPY constraints.txt /install/
COPY --from=wheel /wheels/requirements.txt /install/
# boto3: `ray up` on AWS and MLflow's artifacts on S3. Our wheel comes later: a change of it keeps this layer.
RUN pip install --no-cache-dir ${{TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}} \\
    -c /install/constraints.txt -r /install/requirements.txt boto3
COPY --from=wheel /wheels/*.whl /install/
RUN pip install --no-cache-dir --no-deps /install/*.whl
ENV GIT_PYTHON_REFRESH=quiet PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 facefill
USER facefill
WORKDIR /home/facefill
RUN {self_test}
"""

# Beside the Dockerfile under this name, Docker reads it instead of a .dockerignore at the root.
DOCKERIGNORE = """\
**
!pyproject.toml
!constraints.txt
!README.md
!facefill
!pipelines
**/__pycache__
"""


def dockerfile(spec: Spec) -> str:
    """The text of the Dockerfile."""
    return _DOCKERFILE.format(
        image=spec.image.name,
        base=spec.image.base,
        self_test=SELF_TEST.format(ray_version=spec.ray_version),
    )
