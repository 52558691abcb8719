"""Which failures of a storage pass by themselves, how long they are waited for, and what the user is told."""

import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from facefill.errors import UserError

T = TypeVar("T")
log = logging.getLogger(__name__)

DISK_PATIENCE_S = 3.0
REMOTE_PATIENCE_S = 60.0  # a server that restarts, or a network that is gone for half a minute
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
PERMANENT = FULL | {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSYS),
}
OF_NETWORKS = ("botocore", "aiohttp", "gcsfs", "azure")  # modules whose exceptions are no OSError
# What S3 calls a client's error (4xx) although sending it again helps: the request was cut, or too slow.
CUT_REQUESTS = {"IncompleteBody", "BadDigest", "RequestTimeout", "XAmzContentSHA256Mismatch", "SlowDown"}
MAY_PASS = {408, 425, 429}
SETTINGS_AT_FAULT = ("ParamValidationError", "ProfileNotFound", "InvalidRegionError", "InvalidConfigError")


def retried(action: Callable[[], T], url: str, patience: float) -> T:
    """Do it, again and again with growing pauses while the failure may pass by itself.

    Raises UserError when it still fails `patience` seconds after its first failure, when keys are missing,
    and when the server refuses the request as such; other errors as they are, with the URL as file name.
    """
    pause, gives_up = FIRST_PAUSE_S, 0.0
    while True:
        try:
            return action()
        except Exception as error:
            _refuse_for_good(error, url)
            reason = in_one_line(error)
            gives_up = gives_up or time.monotonic() + patience
            if time.monotonic() + pause > gives_up:
                raise UserError(
                    f"{url}: the storage does not answer ({reason}); check its address, network and keys, "
                    "then give the same command again"
                ) from error
            log.warning("%s: %s; trying again in %.1f s", url, reason, pause)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def disk_full(error: OSError, folder: Any, what: str, remedy: str) -> UserError:
    """What the user is told of a disk, a quota or a file size limit that is used up."""
    return UserError(
        f"{folder}: {(error.strerror or str(error)).lower()} while writing {what}: {remedy}, then give the "
        "same command again; it goes on where it stopped"
    )


def in_one_line(error: BaseException) -> str:
    """The error's words, or its kind when it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _refuse_for_good(error: Exception, url: str) -> None:
    """Raise what trying again would not change; nothing happens for what may pass."""
    if isinstance(error, UserError):
        raise error
    if "Credentials" in type(error).__name__:
        raise UserError(
            f"{url}: no keys for this storage on {socket.gethostname()}: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY there (on a cluster: on its machines, before Ray starts)"
        ) from error
    if isinstance(error, FileNotFoundError | PermissionError):
        if error.filename is None and "://" in url:  # object stores name no file
            number = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EACCES
            raise type(error)(number, in_one_line(error), url) from error
        raise error
    code, status = _answer(error)
    refused = 400 <= status < 500 and status not in MAY_PASS and code not in CUT_REQUESTS
    if refused or type(error).__name__ in SETTINGS_AT_FAULT:
        raise UserError(
            f"{url}: the storage refuses this ({in_one_line(error)}); check its settings"
        ) from error
    if isinstance(error, OSError):
        if error.errno in PERMANENT:
            raise error
    elif not type(error).__module__.startswith(OF_NETWORKS):
        raise error


def _answer(error: BaseException) -> tuple[str, int]:
    """Code and HTTP status of a server's answer, as botocore and aiohttp keep them, or ("", 0)."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response["Error"].get("Code", "")), int(status)
    status = getattr(error, "status", 0)
    return "", status if isinstance(status, int) else 0
