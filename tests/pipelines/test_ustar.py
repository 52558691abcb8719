"""Our tar writer against webdataset's: the same bytes, and every reader takes them."""

import io
import tarfile

import pytest
from webdataset import TarWriter

from pipelines.ustar import RECORD, TarStream, member_header

MEMBERS = {
    "a/1.image.jpg": b"\xff\xd8" + bytes(range(256)) * 3,
    "a/1.landmarks.npy": b"",
    "a/2.image.jpg": b"x" * 512,
    "a/" + "n" * 90 + ".json": b"y" * 513,
}


def ours(members: dict[str, bytes]) -> tuple[bytes, list[int]]:
    stream = io.BytesIO()
    tar = TarStream(stream)
    places = [tar.add(name, data) for name, data in members.items()]
    tar.close()
    assert tar.offset == len(stream.getvalue())
    return stream.getvalue(), places


def test_same_bytes_as_webdatasets_writer():
    stream = io.BytesIO()
    with TarWriter(stream, mtime=0, encoder=False) as writer:
        for name, data in MEMBERS.items():
            key, extension = name.split(".", 1)
            writer.write({"__key__": key, extension: data})
    assert ours(MEMBERS)[0] == stream.getvalue()


@pytest.mark.parametrize("count", [0, 1, 8, 9, 10, 25])
def test_ends_as_tarfile_ends_it(count):
    members = {f"{number}.bin": bytes(512 * (number % 3)) for number in range(count)}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uname, info.gname = len(data), 0o444, "bigdata", "bigdata"
            tar.addfile(info, io.BytesIO(data))
    assert ours(members)[0] == stream.getvalue()
    assert len(stream.getvalue()) % RECORD == 0


def test_places_are_where_the_bytes_lie():
    content, places = ours(MEMBERS)
    for place, data in zip(places, MEMBERS.values(), strict=True):
        assert content[place : place + len(data)] == data


def test_largest_size_and_longest_name_are_read_back():
    info = tarfile.TarInfo.frombuf(member_header("n" * 100, 8**11 - 1), "utf-8", "strict")
    assert (info.name, info.size) == ("n" * 100, 8**11 - 1)


@pytest.mark.parametrize("name", ["", "ü.jpg", "n" * 101, "folder/", "a\0b"])
def test_names_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError):
        member_header(name, 1)


def test_members_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="too many"):
        member_header("a", 8**11)
