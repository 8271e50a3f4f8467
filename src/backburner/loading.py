"""Finding the app that a command line names."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from backburner.app import Backburner
from backburner.errors import ConfigError


def load_app(path: str) -> Backburner:
    """The app at `module:attribute`; the current folder is on the import path.

    Raises `ConfigError` for a path that names none. What the module itself raises is passed on.
    """
    module, _, attribute = path.partition(":")
    if not (module and attribute):
        raise ConfigError(f"{path!r} names no app: write MODULE:ATTRIBUTE, as in shop.tasks:app")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses one itself
        raise ConfigError(
            f"no module {error.name!r} in {here} or among the installed packages: "
            "run the command in the project's folder, or install the project"
        ) from None
    app = getattr(found, attribute, None)
    if not isinstance(app, Backburner):
        apps = [name for name, value in vars(found).items() if isinstance(value, Backburner)]
        raise ConfigError.unknown(f"app in module {module}", attribute, apps)
    return app
