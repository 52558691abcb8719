"""How s3:// URLs are reached: from the standard environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_REGION,
AWS_PROFILE, ...), or as a run's `storage:` says.

The run's settings travel to the workers in one environment variable without secrets: it names variables and
a profile, and every machine looks up their values itself.
"""

import json
import os
import socket
from dataclasses import asdict
from typing import Any

from facefill.errors import UserError
from pipelines.config import StorageConfig

VARIABLE = "FACEFILL_STORAGE"
KEYS = {
    "access_key_variable": ("key", "AWS_ACCESS_KEY_ID"),
    "secret_key_variable": ("secret", "AWS_SECRET_ACCESS_KEY"),
    "session_token_variable": ("token", "AWS_SESSION_TOKEN"),
}
TOTAL_ATTEMPTS = 2  # of one request, at once; longer outages are waited for in `storage_faults`


def use(settings: StorageConfig) -> None:
    """From now on this process and the workers that it starts reach s3:// so; defaults change nothing.

    Raises UserError when a variable that they name is not set here.
    """
    chosen = {name: value for name, value in asdict(settings).items() if value}
    if chosen:
        _keys(chosen)
        os.environ[VARIABLE] = json.dumps(chosen, sort_keys=True)


def s3_options() -> dict[str, Any]:
    """The arguments for s3fs on this machine. Raises UserError when a named variable is not set."""
    chosen = json.loads(os.environ.get(VARIABLE, "{}"))
    options: dict[str, Any] = {"config_kwargs": {}} | _keys(chosen)
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        options["config_kwargs"]["retries"] = {"total_max_attempts": TOTAL_ATTEMPTS, "mode": "standard"}
    standard = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint := chosen.get("endpoint_url") or standard:
        options["endpoint_url"] = endpoint
    if region := chosen.get("region") or os.environ.get(
        "AWS_REGION"
    ):  # botocore knows the other variable only
        options["client_kwargs"] = {"region_name": region}
    if "profile" in chosen:
        options["profile"] = chosen["profile"]
    if "anonymous" in chosen:
        options["anon"] = True
    return options


def _keys(chosen: dict[str, Any]) -> dict[str, str]:
    """The keys in the variables that the settings name."""
    keys = {}
    for setting, (argument, standard) in KEYS.items():
        if setting in chosen:
            value = os.environ.get(chosen[setting])
            if not value:  # the name is not printed: it may be a key that was put in the wrong place
                raise UserError(
                    f"storage.{setting}: the environment variable that it names is not set on "
                    f"{socket.gethostname()}; set it there before Ray starts, or use {standard}"
                )
            keys[argument] = value
    return keys
