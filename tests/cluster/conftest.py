"""The example spec, and a way to change one value of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLE = Path(__file__).resolve().parents[2] / "cluster" / "spec.yaml"


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., Path]:
    """write_spec({"workers.gpus": 2, "aws": None}) writes the example with keys set, or removed by None."""

    def write(changes: dict[str, Any] | None = None) -> Path:
        document = yaml.safe_load(EXAMPLE.read_text())
        for dotted, value in (changes or {}).items():
            *parents, last = dotted.split(".")
            node = document
            for parent in parents:
                node = node.setdefault(parent, {})
            if value is None:
                node.pop(last)
            else:
                node[last] = value
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write
