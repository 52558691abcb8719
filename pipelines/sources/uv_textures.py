"""A folder of UV textures that others unwrapped, as UVDB-MPIE: no photographs, and not our atlas.

Such a texture is stored at the atlas's size but in its own layout, as `uv_texture` with `uv_visible`: good
for completing textures of that one layout (the paper's comparison with UV-GAN), of no use for rendering on
our meshes or for the symmetry of our atlas. Black is taken for unseen. The official split is 80 to 20,
train to test, by person where names begin as Multi-PIE's do (001_...), else by picture: all are put in an
order that their names alone decide, and its first fifth is for test.
"""

import re
from dataclasses import dataclass

from facefill.errors import UserError
from pipelines.manifest import UNKNOWN_IDENTITY
from pipelines.sources.file_names import PICTURES, image_id, key_of, pictures_in, stem_of
from pipelines.sources.records import (
    Listing,
    Source,
    SourceSample,
    SourceSettings,
    finished,
    place_of,
    read_picture,
    split_by_share,
)

PERSON = re.compile(r"(\d{3})(_.*)?")
TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class UvTextureRecord:
    """One texture."""

    key: str
    split: str
    source: str
    identity: int

    def load(self) -> SourceSample:
        """Read the texture. Raises RejectedSample."""
        return SourceSample(read_picture(self.source), None, is_uv_texture=True)


def list_records(root: str, settings: SourceSettings) -> Listing:
    """Every picture below root. Raises UserError when there is none."""
    pictures = pictures_in(root)
    if not pictures:
        raise UserError(f"{root}: no textures in this folder; expected files {', '.join(PICTURES)}")
    stems = {url: image_id(root, url).rsplit(".", 1)[0] for url in pictures}
    names = {url: PERSON.fullmatch(stem_of(url)) for url in pictures}
    people = {url: name[1] if name else stems[url] for url, name in names.items()}
    drawn = sorted(set(people.values()), key=place_of)
    test = set(drawn[: round(TEST_SHARE * len(drawn))])
    records = []
    for url, name in names.items():
        stem, person = stems[url], people[url]
        official = "test" if person in test else "train"
        split = official if settings.split == "official" else split_by_share(person, settings.held_out)
        identity = int(name[1]) if name else UNKNOWN_IDENTITY
        key = key_of(settings.dataset, stem.replace("/", "-"))
        records.append(UvTextureRecord(key, split, url, identity))
    unknown = sum(record.identity == UNKNOWN_IDENTITY for record in records)
    notes = [f"{root}: the person is unknown for {unknown} of {len(records)} textures"] if unknown else []
    return finished(settings, root, records, [], notes)


SOURCE = Source(list_records, ("identity",), photographs=False)
