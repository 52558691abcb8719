"""The smallest config that walks every arrow of the chain on rendered faces."""

from typing import Any


def tiny_tree(output: str, workers: int | list[int], celeba: int = 24) -> dict[str, Any]:
    """Settings as a YAML file would hold them; `workers` of every training stage."""

    def stage(data: list[str], steps: int, **widths: float) -> dict[str, Any]:
        training = {
            "data": data,
            "steps": steps,
            "batch_size": 2,
            "workers": workers,
            "checkpoint_every": 2,
            "report_every": 1,
            "evaluate_batches": 1,
        }
        return {"training": training, "model": {"width": 0.125, **widths}}

    return {
        "name": "tiny",
        "output": output,
        "seed": 3,
        "cluster": {"num_cpus": 4},
        "synthesis": {
            "celeba": celeba,
            "three_hundred_w": 8,
            "celebamask_hq": 16,
            "pictures_per_identity": 2,
        },
        "datasets": [
            {"name": "celeba", "source": "celeba", "landmarks": "landmarks68.csv"},
            {"name": "300w", "source": "three_hundred_w", "ground_truth": "facefill-head-cc0"},
            {"name": "celebamask_hq", "source": "celebamask_hq", "fit": False},
        ],
        "shard": {"samples_per_shard": 8, "workers": 2},  # each job starts its workers anew
        "stages": {
            "morphable": stage(["300w", "celeba"], 2),
            "morphable_finetune": stage(["celeba"], 1),
            "segment": stage(["celebamask_hq"], 1),
            "inpaint": stage(["celeba"], 2, discriminator_width=0.125, encoder_width=0.125),
        },
        "sweep": {"trials": 2, "steps": 1, "space": {"loss_weights.symmetry": [0.0, 1.0]}},
        "evaluate": {"data": ["celeba"], "images": 4},
    }
