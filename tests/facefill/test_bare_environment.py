"""The method on a machine that has torch and numpy and nothing else: a stage trains, a face is completed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TRAIN_AND_COMPLETE = """
import sys

ABSENT = {
    "numba", "cv2", "PIL", "scipy", "safetensors", "lpips", "torchvision", "yaml", "pydantic", "simplejpeg",
    "ray", "mlflow", "webdataset", "fsspec", "pyarrow", "matplotlib",
}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"{name} is not there", name=name)


sys.meta_path.insert(0, Absent())
import importlib.util

found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ABSENT else found(name, package)

import torch

from facefill.completion import complete
from facefill.config import InpaintConfig
from facefill.networks.encoder import Encoder
from facefill.stages import Assets, build_stage
from facefill.views import render_views
from tests.support.faces import make_batch, model_and_atlas

model, atlas = model_and_atlas()
batch = make_batch(2)
encoder = Encoder(0.125)
config = InpaintConfig(width=0.125, discriminator_width=0.125, encoder_width=0.125)
assets = Assets(model, atlas, {"encoder": encoder.state_dict()})
stage = build_stage("inpaint", config, assets, torch.device("cpu"))
print({name: float(value) for name, value in stage.train_step([batch]).items()})
image, hole = batch["image"][:1, :, 16:240, 16:240], torch.zeros(1, 1, 224, 224)
hole[..., 100:140, 90:150] = 1
with torch.no_grad():
    completion = complete(image, hole, encoder.eval(), stage.inpainter.eval(), model, atlas)[-1]
    print(render_views(completion, model, atlas).shape)
"""


def test_training_and_completion_need_torch_and_numpy_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_COMPLETE],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss/albedo" in done.stdout
    assert "(5, 3, 224, 224)" in done.stdout.replace("torch.Size([", "(").replace("])", ")")
