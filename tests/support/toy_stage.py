"""A stage that trains in milliseconds, and its data: what the tests of the runner train."""

import logging
import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

from pipelines.run_model import RunModel
from pipelines.train_job import TrainJob


class ToyStage:
    """Learns y = sum of x with two layers, Adam, dropout and a momentum buffer of its own."""

    name = "toy"
    fields = ("x",)

    def __init__(self, job, device, synchronize):
        self.settings = job.config
        self.synchronize = synchronize
        self.step = 0
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), self.settings.get("learning_rate", 1e-2))

    def train_step(self, parts):
        disturb(self.settings, self.step)
        if not os.path.exists(self.settings.get("until", "")):
            time.sleep(self.settings.get("pause", 0.0))
        self.optimizer.zero_grad()
        losses = []
        for part in parts:
            hidden = nn.functional.dropout(part["x"], 0.2)  # a stage may draw from torch's generator
            losses.append((self.network(hidden)[:, 0] - part["y"]).square().mean() / len(parts))
            losses[-1].backward()
        loss = torch.stack(losses).sum()
        self.synchronize(self.network.parameters())
        self.optimizer.step()
        self.step += 1
        losses = {"loss/square": loss.detach()}
        if self.step > self.settings.get("poisoned_loss", self.step):
            losses["loss/apart"] = torch.tensor(float("inf"))  # which no gradient shows
        if self.step % 2:
            losses["loss/odd"] = loss.detach() * 2
        return losses

    @torch.no_grad()
    def evaluate(self, batch):
        return {"metric/error": (self.network(batch["x"])[:, 0] - batch["y"]).abs().mean()}

    def pictures(self, batch):
        return torch.rand(3, 16, 24)

    def state_dict(self):
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def weights(self):
        return {"network": self.network.state_dict()}


def disturb(settings, step):
    """Once, at the step that the settings name: get a signal, raise, or press Ctrl-C."""
    marker = settings.get("marker")
    if marker and step == settings["at"]:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return
        if settings["what"] in ("SIGKILL", "SIGTERM"):
            os.kill(os.getpid(), getattr(signal, settings["what"]))
            return
        raise {"raise": RuntimeError, "interrupt": KeyboardInterrupt}[settings["what"]]("disturbed")


class ToyLoader:
    """Batches that depend on (seed, split, step, rank) only; not finite from step `poison` on."""

    def __init__(self, job, split, rank, world_size):
        self.job, self.split, self.rank = job, split, rank
        self.size = job.batch_size // world_size

    def batches(self, start_step):
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(hash((self.job.seed, len(self.split), step, self.rank)))
            x = torch.rand(self.size, 4, generator=generator)
            poison = self.job.config.get("poison")
            if poison is not None and step >= poison and self.rank == self.job.config.get("poisoned_rank", 0):
                x[0, 0] = float("nan")
            yield {
                "x": x,
                "y": x.sum(1),
                "key": [f"{self.split}/{step}/{self.rank}/{i}" for i in range(self.size)],
            }
            step += 1


def build(job, device, synchronize):
    return ToyStage(job, device, synchronize)


def open_loader(job, split, rank, world_size):
    if warning := job.config.get("warning"):
        logging.getLogger("pipelines.loader").warning(os.path.expandvars(warning))
    return ToyLoader(job, split, rank, world_size)


def toy_job(output, **changes) -> TrainJob:
    """A job of 12 steps."""
    settings = {
        "config": {},
        "digest": "d" * 64,
        "steps": 12,
        "batch_size": 8,
        "report_every": 3,
        "checkpoint_every": 4,
    }
    settings |= {"stage": "toy", "data": (), "builder": "toy_stage:build", "loader": "toy_stage:open_loader"}
    model = RunModel("saved", "toy", "0" * 64)
    return TrainJob(output=str(output), model=model, **(settings | changes))
