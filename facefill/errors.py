"""The one exception for what a user can mend."""


class UserError(ValueError):
    """A user's mistake: one line that names the thing and the remedy; the command exits with status 2."""
