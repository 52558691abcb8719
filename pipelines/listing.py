"""From a dataset's settings to the listing of its pictures: the one place that chooses a reader."""

from facefill.errors import UserError
from pipelines import storage
from pipelines.config import DatasetConfig, RunConfig
from pipelines.sources import celeba, celebamask_hq, three_hundred_w
from pipelines.sources.records import Listing, limited


def synthesized_root(config: RunConfig, source: str) -> str:
    """Where the rendered stand-in of a source lies."""
    return storage.join(config.output, "raw", source.removesuffix("_aligned"))


def inside(root: str, path: str) -> str:
    """A path of the settings: absolute and URLs as they are, relative ones below the dataset's root; ""
    stays.
    """
    return path if not path or path.startswith("/") or "://" in path else storage.join(root, path)


def refuse_ignored(dataset: DatasetConfig) -> None:
    """Raises UserError for a setting that the dataset's source has no use for."""
    where = f"dataset {dataset.name}"
    if dataset.source == "three_hundred_w":
        if dataset.split == "identity":
            raise UserError(
                f"{where}: split: identity is not for three_hundred_w, people are unknown there; "
                "leave split out and photographs are held out"
            )
        if dataset.landmarks or dataset.undetected != "reject":
            name = "landmarks" if dataset.landmarks else "undetected"
            raise UserError(
                f"{where}: {name} is not for three_hundred_w, its .mat files hold them; leave it out"
            )
    if dataset.celeba and dataset.source != "celebamask_hq":
        raise UserError(f"{where}: celeba is for celebamask_hq alone, not for {dataset.source}; leave it out")


def list_dataset(config: RunConfig, dataset: DatasetConfig) -> Listing:
    """Every picture of the dataset. Raises UserError for what the reader refuses or has no use for."""
    refuse_ignored(dataset)
    root = dataset.root or synthesized_root(config, dataset.source)
    landmarks = inside(root, dataset.landmarks)
    if dataset.source == "three_hundred_w":
        listing = three_hundred_w.list_records(
            root, three_hundred_w.ThreeHundredWOptions(dataset.name, held_out=dataset.held_out)
        )
    elif dataset.source == "celebamask_hq":
        partition = inside(root, dataset.celeba)
        if not partition and not dataset.root:
            partition = synthesized_root(config, "celeba")
        listing = celebamask_hq.list_records(
            root,
            celebamask_hq.CelebaMaskHqOptions(
                dataset=dataset.name,
                celeba=partition,
                landmarks68=landmarks,
                undetected=dataset.undetected,
                split=dataset.split,
                held_out=dataset.held_out,
            ),
        )
    else:
        listing = celeba.list_records(
            root,
            celeba.CelebaOptions(
                dataset=dataset.name,
                variant="aligned" if dataset.source == "celeba_aligned" else "in_the_wild",
                landmarks68=landmarks,
                undetected=dataset.undetected,
                split=dataset.split,
                held_out=dataset.held_out,
            ),
        )
    return limited(listing, dataset.limit)
