"""The one exception for mistakes in a spec; `python -m cluster` prints it and exits with status 2."""


class SpecError(ValueError):
    """A mistake in the spec: one line that names the key and the remedy."""
