"""gymnax's `Environment`, without the rest of gymnax.

gymnax imports all its example environments when any part of it is imported, and with them seaborn, SciPy's statistics
and matplotlib, which takes longer than all that a training needs. The module with the contract imports only JAX: it is
loaded from its file, under its own name, and whoever imports gymnax later gets this module as a part of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gymnax.environments.environment import Environment

__all__ = ["Environment"]

_NAME = "gymnax.environments.environment"


def _contract() -> ModuleType:
    """The module, from `sys.modules`, from its file, or by an ordinary import where it has no file to be found."""
    package = None if "gymnax" in sys.modules else importlib.util.find_spec("gymnax")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder, "environments", "environment.py")
        spec = importlib.util.spec_from_file_location(_NAME, file) if file.is_file() else None
        if spec and spec.loader and _NAME not in sys.modules:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules.setdefault(_NAME, module)  # whole, for another thread may be importing gymnax
    return importlib.import_module(_NAME)


if not TYPE_CHECKING:
    Environment = _contract().Environment
