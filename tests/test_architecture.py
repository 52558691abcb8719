"""The dependency rule: facefill <- pipelines <- benchmarks, cluster apart, each heavy library in one file.

Imports are read with `ast`, so a forbidden import is found wherever it stands; a second test imports all of
facefill with every library but torch and numpy made unimportable.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("facefill", "pipelines", "benchmarks", "cluster")
MAY_IMPORT = {  # of our own layers
    "facefill": {"facefill"},
    "pipelines": {"facefill", "pipelines"},
    "benchmarks": {"facefill", "pipelines", "benchmarks"},
    "cluster": {"cluster"},
}
STANDARD = set(sys.stdlib_module_names)
AT_FACEFILLS_TOP = STANDARD | {"torch", "numpy", "facefill"}
NEVER_IN_FACEFILL = {"ray", "mlflow", "webdataset", "wids", "fsspec", "s3fs", "pyarrow", "boto3", "botocore"}
INSIDE_CLUSTER = STANDARD | {"yaml", "cluster"}
# Below the stages nothing knows of settings, files or the whole method.
LOWER_PARTS = ("facefill/geometry/", "facefill/networks/", "facefill/losses/")
UPPER_PARTS = (
    "facefill.config",
    "facefill.stages",
    "facefill.weights",
    "facefill.completion",
    "facefill.views",
)
# The longest prefix decides, so `ray.train` has another home than the rest of ray.
HOMES = {
    "fsspec": {"pipelines/storage.py"},
    "s3fs": {"pipelines/storage.py"},
    "pyarrow": {"pipelines/tables.py"},
    "pyarrow.fs": {"pipelines/storage.py"},  # how Ray reads the same storage
    "mlflow": {"pipelines/tracker.py"},
    "webdataset": {"benchmarks/peers*.py"},  # tars are written by ustar.py; tests read them with webdataset
    "ai_edge_litert": {"pipelines/detector_litert.py"},
    "ray": {"pipelines/cluster_session.py", "pipelines/jobs.py", "pipelines/board.py"},
    "ray.train": {"pipelines/train_ray.py"},
    "ray.tune": {"pipelines/sweep.py"},
}
PEERS = "benchmarks/peers"  # what others' libraries do, to compare with: these files may import any of them
LONGEST_FILE = 400  # lines


@dataclass(frozen=True)
class Import:
    """One imported name, such as `ray.train`; `at_top`: it runs when the module is imported."""

    name: str
    line: int
    at_top: bool


def imports_of(source: str, path: str) -> Iterator[Import]:
    """Every import in a file, those inside functions and those by `import_module("…")` as well."""
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(source), True)]
    while pending:
        node, at_top = pending.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_top)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:  # `from ray import train` imports ray.train
                yield Import(f"{module}.{alias.name}", node.lineno, at_top)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(node.args[0].value, node.lineno, at_top)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        pending += [(child, at_top and not inside and not for_types) for child in ast.iter_child_nodes(node)]


def home_of(name: str) -> tuple[str, set[str]] | None:
    """The heavy library that an imported name belongs to, and the files that may import it."""
    matches = [library for library in HOMES if f"{name}.".startswith(f"{library}.")]
    return (max(matches, key=len), HOMES[max(matches, key=len)]) if matches else None


def faults(source: str, path: str) -> list[str]:
    """One sentence per broken rule in a file; `path` is relative to the repository."""
    found = []
    length = len(source.splitlines())
    if length >= LONGEST_FILE:
        found.append(
            f"{path}: {length} lines: a file has fewer than {LONGEST_FILE}, split it by noun or verb"
        )
    layer = path.split("/")[0]
    if layer not in LAYERS:
        return found
    for item in imports_of(source, path):
        root = item.name.split(".")[0]
        place = f"{path}:{item.line}: imports {item.name}"
        home = home_of(item.name)
        if root in LAYERS and root not in MAY_IMPORT[layer]:
            found.append(
                f"{place}: {layer} may import only {', '.join(sorted(MAY_IMPORT[layer]))} of our folders"
            )
        elif layer == "facefill" and root in NEVER_IN_FACEFILL:
            found.append(f"{place}: facefill is the method alone; this belongs into pipelines")
        elif layer == "facefill" and item.at_top and root not in AT_FACEFILLS_TOP:
            found.append(
                f"{place}: at module level facefill takes torch and numpy; import it in the function"
            )
        elif layer == "cluster" and root not in INSIDE_CLUSTER:
            found.append(f"{place}: cluster needs nothing but the standard library and PyYAML")
        elif home and path not in home[1] and not path.startswith(PEERS):
            found.append(f"{place}: {home[0]} is imported only by {', '.join(sorted(home[1]))}; call that")
        elif path.startswith(LOWER_PARTS) and f"{item.name}.".startswith(tuple(f"{p}." for p in UPPER_PARTS)):
            found.append(f"{place}: geometry, networks and losses stand below the stages")
    return found


def python_files() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for layer in (*LAYERS, "tests")
        for path in (ROOT / layer).rglob("*.py")
    )


def test_every_file_keeps_the_rule():
    found = [fault for path in python_files() for fault in faults((ROOT / path).read_text(), path)]
    assert not found, "\n" + "\n".join(found)


def test_all_layers_are_looked_at():
    assert {path.split("/")[0] for path in python_files()} == {*LAYERS, "tests"}


def test_every_package_folder_has_an_init():
    folders = {(ROOT / path).parent for path in python_files() if not path.startswith("tests/")}
    missing = [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()]
    assert not missing, f"these folders would be left out of the wheel: {missing}"


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("facefill/a.py", "import cv2", "at module level facefill takes torch and numpy"),
        ("facefill/a.py", "class A:\n    import PIL.Image", "at module level"),
        ("facefill/a.py", "try:\n    import numba\nexcept ImportError:\n    pass", "at module level"),
        ("facefill/a.py", "def f():\n    import ray", "facefill is the method alone"),
        ("facefill/a.py", "def f():\n    from fsspec.core import url_to_fs", "facefill is the method alone"),
        (
            "facefill/a.py",
            "import importlib\ndef f():\n    importlib.import_module('mlflow')",
            "the method alone",
        ),
        ("facefill/a.py", "def f():\n    import pipelines.storage", "facefill may import only facefill of"),
        ("facefill/geometry/a.py", "from facefill import stages", "stand below the stages"),
        ("facefill/geometry/a.py", "from ..stages.inpaint import InpaintStage", "stand below the stages"),
        ("facefill/geometry/a.py", "from .. import completion", "stand below the stages"),
        ("pipelines/a.py", "import mlflow.pytorch", "mlflow is imported only by pipelines/tracker.py"),
        (
            "pipelines/train.py",
            "import ray",
            "ray is imported only by pipelines/board.py, pipelines/cluster_session.py",
        ),
        (
            "pipelines/jobs.py",
            "def f():\n    from ray import train",
            "ray.train is imported only by pipelines/train_ray.py",
        ),
        (
            "pipelines/train.py",
            "from ray.tune import Tuner",
            "ray.tune is imported only by pipelines/sweep.py",
        ),
        ("pipelines/storage.py", "import pyarrow.parquet", "pyarrow is imported only by pipelines/tables.py"),
        ("pipelines/a.py", "async def f():\n    import webdataset as wds", "webdataset is imported only by"),
        ("pipelines/a.py", "from benchmarks import speed", "pipelines may import only facefill, pipelines"),
        ("pipelines/a.py", "import cluster.render", "pipelines may import only"),
        ("benchmarks/a.py", "import cluster", "benchmarks may import only"),
        ("benchmarks/a.py", "import ray", "ray is imported only by"),
        ("cluster/a.py", "from facefill.errors import UserError", "cluster may import only cluster"),
        ("cluster/a.py", "def f():\n    import pydantic", "nothing but the standard library and PyYAML"),
        ("tests/a.py", "x = 1\n" * 400, "400 lines: a file has fewer than 400"),
    ],
)
def test_violations_are_caught(path, source, message):
    [fault] = faults(source, path)
    assert message in fault
    assert fault.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "facefill/a.py",
            "import math\nimport torch.nn.functional as F\nfrom facefill.errors import UserError",
        ),
        ("facefill/a.py", "def f():\n    import cv2"),
        ("facefill/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from PIL import Image"),
        ("facefill/stages/a.py", "from ..config import InpaintConfig"),
        ("pipelines/train_ray.py", "def f():\n    import ray.train.torch"),
        ("pipelines/storage.py", "def f():\n    from pyarrow.fs import PyFileSystem"),
        ("pipelines/a.py", "import raytracer\nfrom facefill import landmarks\nimport pydantic"),
        ("benchmarks/a.py", "from pipelines import storage"),
        ("benchmarks/peers_data.py", "def f():\n    import webdataset\n    import ray.data"),
        ("cluster/a.py", "import yaml\nfrom cluster.spec import Spec"),
        ("tests/a.py", "import ray, mlflow, cluster"),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert faults(source, path) == []


IMPORT_ALL_OF_FACEFILL = """
import importlib, pkgutil, sys

allowed = set(sys.argv[1].split(","))

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Blocker())
import facefill
names = [module.name for module in pkgutil.walk_packages(facefill.__path__, "facefill.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def import_all_of_facefill(allowed: set[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT_ALL_OF_FACEFILL, ",".join(sorted(allowed))]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def what_torch_needs() -> set[str]:
    names = {re.match(r"[\w.-]+", line).group() for line in requires("torch") or [] if "extra ==" not in line}
    # torchgen and functorch come in torch's own wheel; mpmath and markupsafe belong to sympy and jinja2
    return {name.replace("-", "_") for name in names} | {"torchgen", "functorch", "mpmath", "markupsafe"}


def test_facefill_imports_with_torch_and_numpy_alone():
    done = import_all_of_facefill(AT_FACEFILLS_TOP | what_torch_needs())
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_the_blocker_blocks():
    done = import_all_of_facefill(STANDARD | {"facefill", "numpy"})
    assert done.returncode != 0
    assert "torch is not there" in done.stderr


def test_help_needs_no_heavy_library():
    script = (
        "import sys, pipelines.cli; pipelines.cli.build_parser().format_help();"
        "print([name for name in sys.modules if '.' not in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    heavy = {"ray", "torch", "mlflow", "fsspec", "pyarrow", "webdataset", "cv2", "numba", "pydantic"}
    assert not heavy & set(ast.literal_eval(done.stdout))
