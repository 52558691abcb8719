"""One number out of several, for independent random streams."""

import numpy as np


def seed_of(*numbers: int) -> int:
    """A 63-bit seed that depends on all of the numbers and on their order."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
