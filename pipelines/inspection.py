"""Look into a finished shard set: what it holds, how its faces are spread, any single sample, and a sheet."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from facefill.errors import UserError
from facefill.face_parsing import BACKGROUND, FACE, OCCLUDER
from facefill.geometry.reconstruction import NUM_EXPRESSION, NUM_IDENTITY
from facefill.samples import FIELD_BY_EXTENSION, Array, decode_sample
from pipelines.contact_sheet import Tile
from pipelines.manifest import SPLITS, UNKNOWN_IDENTITY, Manifest, Row
from pipelines.rows import values_of
from pipelines.sample_sheet import sample_sheet
from pipelines.shard_reader import ShardReader

LOOKED_AT = 256  # samples that the statistics of pictures are taken from, spread over the set
REASONS_SHOWN = 5
SHOWN = 16


def summary(manifest: Manifest) -> list[str]:
    """What the manifest says: samples, tars, people, annotations, and why pictures were rejected."""
    rows, size = manifest.rows, sum(shard.filesize for shard in manifest.shards)
    counts = manifest.counts()
    people: set[int] = set()
    kinds: Counter[int] = Counter()
    extensions: set[str] = set()
    labelled = 0
    for identity, kind, members, parsing in values_of(
        rows, ("identity", "landmarks", "members", "has_parsing")
    ):  # once, and no row is kept
        people.add(identity)
        kinds[kind] += 1
        extensions.update(members)
        labelled += parsing
    people.discard(UNKNOWN_IDENTITY)
    marked = [f"{kinds[kind]} with {kind} landmarks" for kind in (68, 5) if kinds[kind]]
    marked += [f"{kinds[0]} without landmarks"] if kinds[0] else []
    fields = sorted({FIELD_BY_EXTENSION[e].name for e in extensions if e in FIELD_BY_EXTENSION})
    lines = [
        f"{manifest.dataset}: {len(rows)} samples in {len(manifest.shards)} tars, {size / 1e6:.1f} MB, "
        f"{size / max(len(rows), 1) / 1e3:.1f} kB a sample",
        "splits: " + ", ".join(f"{name} {counts[name]}" for name in SPLITS if name in counts),
        f"people: {len(people) or 'unknown'}",
        f"annotations: {', '.join(marked)}; {labelled} with face parsing",
        f"fields: {', '.join(fields)}",
        f"rejected: {len(manifest.rejected)}",
    ]
    reasons = Counter(rejected.reason for rejected in manifest.rejected)
    lines += [f"  {count} × {reason}" for reason, count in reasons.most_common(REASONS_SHOWN)]
    rest = len(manifest.rejected) - sum(count for _, count in reasons.most_common(REASONS_SHOWN))
    return [*lines, f"  {rest} for other reasons"] if rest else lines


def statistics(samples: Sequence[tuple[Row, dict[str, Array]]]) -> list[str]:
    """How magnification, brightness, pose and visibility are spread over decoded samples: 5, 50 and 95 %."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: Any) -> None:
        found.setdefault(name, []).append(float(value))

    for row, sample in samples:
        note("magnification of the source", np.hypot(row.similarity[0], row.similarity[3]))
        if "image" in sample:
            note("brightness, of 255", sample["image"].mean())
        if (parsing := sample.get("parsing")) is not None:
            for name, label in (("face", FACE), ("occluder", OCCLUDER), ("background", BACKGROUND)):
                note(f"{name}, % of pixels", 100 * (parsing == label).mean())
        if (fit := sample.get("fit")) is not None:
            shape, expression = np.split(fit[: NUM_IDENTITY + NUM_EXPRESSION], [NUM_IDENTITY])
            angles = NUM_IDENTITY + NUM_EXPRESSION + 1
            for name, angle in zip(("pitch", "yaw", "roll"), fit[angles : angles + 3], strict=True):
                note(f"{name}, degrees", np.degrees(angle))
            note("identity, root mean square of σ", np.sqrt(np.square(shape).mean()))
            note("expression, root mean square of σ", np.sqrt(np.square(expression).mean()))
        if (visible := sample.get("uv_visible")) is not None:
            note("visible, % of texels", 100 * visible.mean())
    width = max(map(len, found), default=0)
    lines = []
    for name, values in found.items():
        low, middle, high = np.percentile(values, (5, 50, 95))
        lines.append(f"  {name:<{width}}  {low:8.2f} {middle:8.2f} {high:8.2f}")
    return [f"{'':<{width + 4}}     5 %     50 %     95 %   of {len(samples)} samples", *lines]


def sample_lines(row: Row, members: dict[str, bytes]) -> list[str]:
    """Everything about one sample: where it came from, where it lies, and every field's shape and range."""
    lines = [
        f"{row.key}: {row.split}, sample {row.index} of {row.shard}",
        f"source: {row.source}",
        f"identity: {row.identity if row.identity != UNKNOWN_IDENTITY else 'unknown'}",
        "source to stored pixels: " + " ".join(f"{value:.4g}" for value in row.similarity),
        f"sha256: {row.sha256}",
    ]
    decoded = decode_sample(members)
    for extension, data in members.items():
        field = FIELD_BY_EXTENSION.get(extension)
        value = decoded[field.name] if field is not None else None
        told = (
            f"{value.dtype} {value.shape} {value.min():.4g} to {value.max():.4g}" if value is not None else ""
        )
        lines.append(f"  {extension:<16} {len(data):>8} bytes  {told}")
    return lines


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` rows, evenly over all of them."""
    count = min(count, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def rows_of(manifest: Manifest, split: str, key: str) -> Sequence[Row]:
    """The rows asked for ("" asks for all), read when they are looked at. Raises UserError for none."""
    rows = manifest.of_split(split) if split else manifest.rows
    if not rows:
        held = ", ".join(manifest.counts()) or "nothing"
        raise UserError(f"{manifest.folder}: a sample of split {split} is not in this set; it holds {held}")
    if not key:
        return rows
    place = next((place for place, (name,) in enumerate(values_of(rows, ("key",))) if name == key), None)
    if place is None:
        within = f"split {split} of this set" if split else "this set"
        raise UserError(f"{manifest.folder}: a sample {key} is not in {within}; its first is {rows[0].key}")
    return [rows[place]]


def inspect(manifest: Manifest, split: str = "", key: str = "", count: int = SHOWN) -> tuple[list[str], Tile]:
    """Lines to print and a sheet of `count` samples; with `key`, of that one alone."""
    rows = rows_of(manifest, split, key)
    reader = ShardReader()
    shown = spread(rows, count)
    lines = sample_lines(rows[0], reader.members(manifest, rows[0])) if key else summary(manifest)
    if not key:
        looked_at = [(row, decode_sample(reader.members(manifest, row))) for row in spread(rows, LOOKED_AT)]
        lines += statistics(looked_at)
    faces = [(row.key, decode_sample(reader.members(manifest, row))) for row in shown]
    return lines, sample_sheet(faces)
