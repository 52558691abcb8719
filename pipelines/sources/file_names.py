"""Names of files: which are pictures, what lists call them, and the keys they get in tars."""

import unicodedata
from urllib.parse import quote

from facefill.errors import UserError
from pipelines import storage

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")  # in any case
PRINTABLE = "".join(map(chr, range(32, 127))).replace("%", "")


def pictures_in(folder: str, recursive: bool = True) -> list[str]:
    """The URLs of the pictures in a folder, sorted; empty where there is no folder."""
    return [url for url in storage.list_files(folder, recursive=recursive) if has_suffix(url, PICTURES)]


def has_suffix(url: str, suffixes: str | tuple[str, ...]) -> bool:
    """Whether a name ends so, in capitals or not."""
    return url.lower().endswith(suffixes)


def image_id(folder: str, url: str) -> str:
    """What lists call a picture: its path below the folder of pictures."""
    return url[len(storage.join(folder)) + 1 :]


def key_of(dataset: str, stem: str) -> str:
    """A key in ASCII without dots: the first dot of a tar member ends the key, and other letters would cost
    a second header. `Zoë.v2` becomes `Zo%C3%AB_v2`, in either of its two Unicode spellings.
    """
    plain = unicodedata.normalize("NFC", stem).replace(".", "_").replace("%", "_")
    return f"{dataset}/{quote(plain, safe=PRINTABLE, errors='surrogateescape')}"


def is_unicode(text: str) -> bool:
    """Whether a file name was made of letters, not of bytes that mean none."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def first_existing(root: str, candidates: tuple[str, ...], what: str) -> str:
    """The first of the relative paths that exists below root. Raises UserError naming the expected ones."""
    url = find_first(root, candidates)
    if url is None:
        raise UserError(f"{root}: {what} not found; expected {' or '.join(candidates)}")
    return url


def find_first(root: str, candidates: tuple[str, ...]) -> str | None:
    """The first of the relative paths that exists below root; None means that none does, not that the
    storage failed (UserError).
    """
    urls = (storage.join(root, candidate) for candidate in candidates)
    return next((url for url in urls if storage.exists(url)), None)


def stem_of(url: str) -> str:
    """The file name without its ending."""
    return storage.name_of(url).rsplit(".", 1)[0]
