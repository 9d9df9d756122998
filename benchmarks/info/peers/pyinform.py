"""pyinform: entropy of blocks of one symbol and transfer entropy, in C, bits turned into nats."""

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from pyinform.blockentropy import block_entropy
from pyinform.transferentropy import transfer_entropy as pyinform_transfer_entropy

PACKAGES = ("pyinform",)


def plugin_entropy(data: cases.Data) -> Callable[[], Any]:
    """`block_entropy` with k = 1."""
    return lambda: float(block_entropy(data["x"], k=1)) * np.log(2)


def transfer_entropy(data: cases.Data) -> Callable[[], Any]:
    """`transfer_entropy` with k = 1."""
    source, target = data.values()
    return lambda: float(pyinform_transfer_entropy(source, target, k=1)) * np.log(2)


TASKS = {"plugin_entropy": plugin_entropy, "discrete.transfer_entropy": transfer_entropy}
