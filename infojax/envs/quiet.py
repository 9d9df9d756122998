"""Silence for what other libraries say while they load, which no user of infojax can act on."""

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings about the age of model files, of environments, or of the libraries themselves."""
    mujoco: Any = importlib.import_module("mujoco")  # its stubs do not know the two functions below
    level, warns = logging.root.manager.disable, mujoco.get_mju_user_warning()
    logging.disable(logging.WARNING)
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        # Mujoco's extensions print which optional engines are absent.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        mujoco.set_mju_user_warning(warns)
