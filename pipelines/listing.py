"""From a dataset's settings to the listing of its pictures."""

from facefill.errors import UserError
from pipelines import storage
from pipelines.config import DatasetConfig, RunConfig
from pipelines.sources.records import Listing, SourceSettings, limited
from pipelines.sources.table import SOURCES


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
    source = SOURCES[dataset.source]
    wanted = {
        "landmarks": bool(dataset.landmarks),
        "undetected": dataset.undetected != "reject",
        "celeba": bool(dataset.celeba),
        "identity": dataset.split == "identity",
    }
    for setting, given in wanted.items():
        if given and setting not in source.uses:
            what = "split: identity" if setting == "identity" else setting
            others = ", ".join(name for name, other in SOURCES.items() if setting in other.uses)
            raise UserError(f"{where}: {what} is not for {dataset.source}, only for {others}; leave it out")
    if dataset.fit and not source.photographs:
        raise UserError(f"{where}: {dataset.source} has no photographs that could be fitted; set fit: false")
    if dataset.detect and not source.photographs:
        raise UserError(f"{where}: {dataset.source} has no photographs to find faces in; set detect: false")


def check_dataset(config: RunConfig, dataset: DatasetConfig) -> None:
    """Raise UserError for what a listing would refuse and can be seen without one: settings without a use, a
    root, folder or list that is not there. What is still to be rendered is not looked for.
    """
    refuse_ignored(dataset)
    if dataset.detect:
        from pipelines.detector_litert import read_bundle

        read_bundle()
    root, settings = settings_of(config, dataset)
    places = {"root": root, "landmarks": settings.landmarks, "celeba": settings.celeba}
    for setting, url in places.items():
        named = getattr(dataset, setting)
        if named and (dataset.root or url == named) and not storage.exists(url):
            raise UserError(f"dataset {dataset.name}: {setting}: {url} is not there; correct the path")
    find_lists = SOURCES[dataset.source].find_lists
    if dataset.root and find_lists is not None:
        find_lists(root, settings)


def list_dataset(config: RunConfig, dataset: DatasetConfig) -> Listing:
    """Every picture of the dataset. Raises UserError for what the reader refuses or has no use for."""
    refuse_ignored(dataset)
    root, settings = settings_of(config, dataset)
    return limited(SOURCES[dataset.source].list_records(root, settings), dataset.limit)


def settings_of(config: RunConfig, dataset: DatasetConfig) -> tuple[str, SourceSettings]:
    """The root of a dataset, named or rendered, and what its reader gets."""
    root = dataset.root or synthesized_root(config, dataset.source)
    celeba = inside(root, dataset.celeba)
    if not dataset.root and not celeba and "celeba" in SOURCES[dataset.source].uses:
        celeba = synthesized_root(config, "celeba")
    settings = SourceSettings(
        dataset=dataset.name,
        landmarks=inside(root, dataset.landmarks),
        undetected=dataset.undetected,
        split=dataset.split,
        held_out=dataset.held_out,
        celeba=celeba,
    )
    return root, settings
