"""The paper's schedule as a packaged config: its numbers are those of the supplementary (4.2, 4.3)."""

import math

from facefill.config import STAGES
from pipelines.config import config_tree
from pipelines.config_file import load_config

ROOTS = [f"datasets.{place}.root=s3://bucket/{name}" for place, name in enumerate(("celeba", "300w", "hq"))]
STEPS = {"morphable": 100_000, "morphable_finetune": 30_000, "segment": 50_000, "inpaint": 30_000}
LEARNING_RATES = {"morphable": 1e-4, "morphable_finetune": 1e-5, "segment": 1e-4, "inpaint": 1e-4}
TRAINED_ON = {
    "morphable": ("300w", 61_225),
    "morphable_finetune": ("celeba", 162_770),
    "segment": ("celebamask_hq", 24_183),
    "inpaint": ("celeba", 162_770),
}


def test_schedule_is_the_papers() -> None:
    tree = config_tree(load_config("paper", [*ROOTS, "datasets.2.celeba=s3://bucket/celeba"]))
    assert set(STEPS) == set(STAGES)
    for name, steps in STEPS.items():
        training, model = tree["stages"][name]["training"], tree["stages"][name]["model"]
        data, pictures = TRAINED_ON[name]
        assert (training["steps"], training["batch_size"], training["data"]) == (steps, 28, [data])
        assert training["gpu"] and training["workers"] == 1
        assert model["width"] == 1
        optimizer = model["optimizer"]
        assert math.isclose(optimizer["learning_rate"], LEARNING_RATES[name])
        assert optimizer["decay"] == 0.98
        assert abs(optimizer["decay_every"] - pictures / 28) <= 1
    inpaint = tree["stages"]["inpaint"]["model"]
    assert inpaint["discriminator_learning_rate"] == 3e-4
    assert (inpaint["encoder_width"], inpaint["discriminator_width"], inpaint["averaging"]) == (1, 1, 0)
    assert (
        set(inpaint["loss_weights"].values()) == {1, 10} and inpaint["loss_weights"]["gradient_penalty"] == 10
    )
    supervised = tree["stages"]["morphable"]["model"]["loss_weights"]
    assert supervised.pop("landmark_distance") == 0 and set(supervised.values()) == {1}
    for name in ("morphable", "morphable_finetune"):
        assert not tree["stages"][name]["model"]["located"]
    kept = tree["stages"]["morphable_finetune"]["model"]["loss_weights"]
    assert {name for name, weight in kept.items() if weight} == {
        "landmarks", "reconstruction", "symmetry", "constancy"
    }  # fmt: skip


def test_data_are_the_papers() -> None:
    config = load_config("paper", ROOTS)
    assert [(dataset.source, dataset.split, dataset.limit) for dataset in config.datasets] == [
        ("celeba", "official", None),
        ("three_hundred_w", "official", None),
        ("celebamask_hq", "official", None),
    ]
    assert config.synthesis.celeba == config.synthesis.three_hundred_w == config.synthesis.celebamask_hq == 0
