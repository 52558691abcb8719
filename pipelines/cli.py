"""The command `facefill`: parse, call, and turn a user's mistake into one line and exit status 2."""

import argparse
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from facefill.errors import UserError
from pipelines.stop_notice import Terminated

DESCRIPTION = """\
3D-aware face completion: from raw face datasets to completed photographs.

the whole chain on rendered faces, no licensed file needed:
  facefill run demo
the same on CelebA photographs:
  facefill run celeba_sample datasets.0.root=FOLDER
one photograph, with what that run trained:
  facefill complete photo.png --mask mask.png --weights runs/demo/weights
"""


@dataclass(frozen=True)
class Verb:
    """What a verb does, and a command that one could really give."""

    purpose: str
    example: str


RUN = Verb(
    "walk the whole chain of a config, skipping what is valid",
    "facefill run demo seed=1 stages.inpaint.training.steps=2000",
)
KINDS = {
    "synthesize": Verb(
        "render stand-ins for the datasets, in the layouts of their releases",
        "facefill synthesize demo synthesis.celeba=500",
    ),
    "shard": Verb(
        "align raw pictures and write them as WebDataset tars with a manifest",
        "facefill shard celeba_sample datasets.0.root=/data/celeba shard.workers=8",
    ),
    "fit": Verb(
        "fit the morphable model to every picture of the shards",
        "facefill fit demo output=runs/first",
    ),
    "project": Verb(
        "unwrap texture, visibility and albedo into UV shards",
        "facefill project demo output=runs/first",
    ),
    "train": Verb(
        "train the stages that are not trained yet",
        "facefill train demo stages.inpaint.training.workers=1",
    ),
    "sweep": Verb(
        "search over the inpainter's settings",
        "facefill sweep demo sweep.trials=8 sweep.steps=100",
    ),
    "evaluate": Verb(
        "complete held-back pictures, measure, write the report",
        "facefill evaluate demo evaluate.images=100",
    ),
}
VERIFY = Verb(
    "read finished shards again and hold every byte against the manifest",
    "facefill verify runs/demo",
)
INSPECT = Verb(
    "say what a shard set holds and draw a sheet of its samples",
    "facefill inspect runs/demo/uv/celeba --sheet celeba.jpg",
)
TRACK = Verb(
    "bring the tracker (MLflow) up to date with everything that a run's folder holds; nothing arrives twice",
    "facefill track runs/demo http://mlflow.example:5000",
)
COMPLETE = Verb(
    "complete a photograph under a mask",
    "facefill complete photo.jpg --mask mask.png --landmarks points.txt",
)
VIEWS = Verb(
    "draw the completed face from five viewpoints, and under four lamps",
    "facefill views photo.jpg --mask mask.png --landmarks points.txt",
)
MODELS = Verb(
    "list the morphable models; check and preview the files of one",
    "facefill models ict FaceXModel --preview ict.png --save ict.npz",
)


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="facefill", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def add(name: str, verb: Verb, note: str = "") -> argparse.ArgumentParser:
        return verbs.add_parser(
            name,
            help=verb.purpose + note,
            description=verb.purpose[0].upper() + verb.purpose[1:] + ".",
            epilog=f"example:\n  {verb.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    add_config_arguments(add("run", RUN))
    for kind, verb in KINDS.items():
        add_config_arguments(add(kind, verb, " (one arrow of `run`)"))
    add_verify_arguments(add("verify", VERIFY))
    add_inspect_arguments(add("inspect", INSPECT))
    add_track_arguments(add("track", TRACK))
    add_photo_arguments(add("complete", COMPLETE))
    add_photo_arguments(add("views", VIEWS))
    add_model_arguments(add("models", MODELS))
    return parser


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG [key=value …]."""
    parser.add_argument("config", help="YAML file, or the name of a packaged config (demo, celeba_sample)")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="dotted setting of the config, e.g. datasets.0.limit=100 or stages.inpaint.training.steps=500; "
        "each run writes all of them, with their values, to OUTPUT/config.yaml",
    )


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """What `verify` takes."""
    parser.add_argument("folder", help="a shard set, or a folder with some, such as a run's output; any URL")
    parser.add_argument(
        "--remove-damaged",
        action="store_true",
        help="remove damaged tars, so that the command that made them writes them again",
    )


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """What `inspect` takes."""
    parser.add_argument("folder", help="a finished shard set (the folder with manifest.parquet); any URL")
    parser.add_argument("--split", default="", help="train, validation or test (default: all)")
    parser.add_argument("--sample", default="", metavar="KEY", help="tell everything about this sample")
    parser.add_argument("--sheet", metavar="FILE", help="write pictures of samples to this .jpg or .png")
    parser.add_argument("--count", type=int, default=16, help="samples on the sheet (default: %(default)s)")


def add_track_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER [ADDRESS]."""
    parser.add_argument("folder", help="a run's output, or the folder of a stage in it; any URL")
    parser.add_argument("address", nargs="?", default="", help="tracker (default: the one each run goes to)")


def add_photo_arguments(parser: argparse.ArgumentParser) -> None:
    """What `complete` and `views` take."""
    parser.add_argument("photo", type=Path, help="photograph (any size)")
    parser.add_argument(
        "--mask",
        type=Path,
        help="picture of the photograph's size, white (above 127) = missing; "
        "without it what the segmenter calls an occluder",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        help="text file with 5 or 68 lines `x y`; not needed for CelebA-aligned pictures, "
        "nor with facefill[landmarks] installed, which finds the face",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=Path("runs/demo/weights"),
        help="weights folder (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="morphable model of the weights, a saved .npz or its own files; not needed for the default "
        "model and beside the weights of a run",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("completed"), help="output folder (default: %(default)s)"
    )
    parser.add_argument("--iterations", type=int, default=2, help="refinement passes (default: %(default)s)")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """[KIND [PATH]] and what to write."""
    parser.add_argument("kind", nargs="?", help="one of those that `facefill models` lists")
    parser.add_argument("path", nargs="?", type=Path, help="its files, as `facefill models` says")
    parser.add_argument(
        "--landmarks", type=Path, help="text file with the 68 landmarks, for models whose files have none"
    )
    parser.add_argument("--preview", type=Path, help=".png to draw the model into")
    parser.add_argument("--save", type=Path, help=".npz to save the model into, for model.kind=saved")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 done, 2 a mistake that the printed line names, 130 ended by Ctrl-C, 143 by SIGTERM."""
    options = build_parser().parse_args(arguments)
    try:
        if options.verb in ("complete", "views"):
            from pipelines.complete import complete_files

            complete_files(options)
        elif options.verb in ("verify", "inspect"):
            from pipelines import shard_verbs

            (shard_verbs.verify_files if options.verb == "verify" else shard_verbs.inspect_files)(options)
        elif options.verb == "track":
            from pipelines.tracking import track

            for line in track(options.folder, options.address):
                print(line, flush=True)
        elif options.verb == "models":
            from pipelines.models import show_models

            show_models(options)
        else:
            from pipelines.config_file import load_config
            from pipelines.workflow import run_workflow

            config = load_config(options.config, options.settings)
            run_workflow(config, None if options.verb == "run" else options.verb)
    except UserError as error:
        print(f"facefill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        words = str(stop) or "stopped; the same command continues where it was"
        print(f"facefill: {words}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"facefill: {reason_of(error)}", file=sys.stderr)
        return 2
    return 0


def reason_of(error: OSError) -> str:
    """`PATH: reason` in one line, or the last line of a failure that is not about a file."""
    if error.filename is not None:
        path = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return f"{path}: {error.strerror}"
    lines = str(error).split("\n")
    return next((line for line in reversed(lines) if line.strip()), type(error).__name__).strip()
