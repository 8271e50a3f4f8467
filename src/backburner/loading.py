"""Finding the app that a command line names."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from backburner.app import Backburner
from backburner.errors import BackburnerError, ConfigError


def load_app(path: str) -> Backburner:
    """The app at `module:attribute`; the current folder is on the import path.

    Raises `ConfigError` for a path that names none, and for a module that cannot be imported.
    """
    module, _, attribute = path.partition(":")
    if not (module and attribute):
        raise ConfigError(f"{path!r} names no app: write MODULE:ATTRIBUTE, as in shop.tasks:app")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = import_module(module)
    except BackburnerError:
        raise
    except (Exception, SystemExit) as error:
        raise _not_imported(module, error) from error
    app = getattr(found, attribute, None)
    if not isinstance(app, Backburner):
        apps = [f"{module}:{name}" for name, value in vars(found).items() if isinstance(value, Backburner)]
        raise ConfigError.unknown("app", path, apps)
    return app


def _not_imported(module: str, error: BaseException) -> ConfigError:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        return ConfigError(
            f"no module {missing!r} in {Path.cwd()} or among the installed packages: "
            "run the command in the project's folder, or install the project"
        )
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigError(
        f"module {module!r} cannot be imported: {said}; `python -c 'import {module}'` shows where"
    )
