"""Warnings of this package reach whoever listens, and an outage's not every one."""

import logging

import pytest

from pipelines import storage, storage_faults
from pipelines.overheard import overheard


def test_an_outage_is_told_once_in_a_while_and_other_warnings_at_once(monkeypatch):
    monkeypatch.setattr(storage_faults, "REMOTE_PATIENCE_S", 1.0)
    told = []
    with overheard(told.append):
        with pytest.raises(ValueError, match="does not answer"):
            storage.read_bytes("http://127.0.0.1:1/a.jpg")  # tried three times
        logging.getLogger("pipelines.loader").warning("%d shards", 3)
        logging.getLogger("pipelines.storage_faults").error("lost")
        logging.getLogger("other").warning("not ours")
    logging.getLogger("pipelines.loader").error("nobody listens any more")
    assert told[0].startswith("http://127.0.0.1:1/a.jpg: ") and told[0].endswith("trying again in 0.2 s")
    assert told[1:] == ["3 shards", "lost"]
