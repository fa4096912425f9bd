"""From ``FILE[:NAME]`` to a loaded model: the user's class, a plain module, or an archive."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from pliant.errors import ConfigError
from pliant.serving.replica.model import Model, load_weights
from pliant.wire.service_api import split_target


class PlainModel(Model):
    """A module that is served as it is: ``predict`` is its call."""

    def __init__(self, net: Any) -> None:
        self.net = net

    def load(self) -> None:
        """Take the weights of ``--checkpoint``, if one was given."""
        if not isinstance(self.net, torch.nn.Module):
            return
        if self.checkpoint is not None:
            names = [path.stem for path in self.checkpoint.glob("*.safetensors") if path.stem != "state"]
            load_weights(self.net, self.checkpoint, "model" if "model" in names or len(names) != 1 else names[0])
        if not isinstance(self.net, torch.fx.GraphModule):  # an exported program has no evaluation mode
            self.net.eval()

    def predict(self, batch: Any) -> Any:
        """Call it."""
        return self.net(**batch) if isinstance(batch, dict) else self.net(batch)


def find_model(target: str) -> Model:
    """Import or open what ``pliant serve`` was given; :meth:`Model.load` has not been called yet.

    Raises:
        ConfigError: There is no such file or name, or it is nothing that can be served.
    """
    path, name = split_target(target)
    file = Path(path)
    if not file.exists():
        raise ConfigError(f"there is no file {file}")
    if file.suffix == ".py":
        return _from_module(_import(file), file, name)
    if name:
        raise ConfigError(f"{target}: only a .py file has names; give just {file}")
    try:
        if file.suffix == ".pt2":
            return PlainModel(torch.export.load(str(file)).module())
        return PlainModel(torch.jit.load(str(file), map_location="cpu"))  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ConfigError(
            f"{file} is neither a Python file (.py), nor a torch.export archive (.pt2), nor TorchScript: {first}"
        ) from error


def import_target(target: str) -> None:
    """Import the file of a target now, so that :func:`find_model` finds it imported; nothing for archives.

    Raises:
        ConfigError: It is no module. Whatever the user's own code raises comes through.
    """
    file = Path(split_target(target)[0])
    if file.suffix == ".py" and file.exists():
        _import(file)


def _from_module(module: ModuleType, file: Path, name: str) -> Model:
    candidates = {key: value for key, value in vars(module).items() if _is_servable(value, module.__name__)}
    if not name:
        models = {k: v for k, v in candidates.items() if isinstance(v, type) and issubclass(v, Model)} or candidates
        if len(models) != 1:
            found = f"has {', '.join(sorted(models))}: say which, as in {file}:{min(models)}" if models else "has none"
            raise ConfigError(f"{file} should have one pliant.Model or torch.nn.Module, and {found}")
        name = next(iter(models))
    if name not in vars(module):
        raise ConfigError(f"{file} has no {name}; it has {', '.join(sorted(candidates)) or 'nothing to serve'}")
    chosen = vars(module)[name]
    try:
        made = chosen() if isinstance(chosen, type) else chosen
    except TypeError as error:
        raise ConfigError(f"{file}:{name} cannot be made without arguments: {error}") from error
    if isinstance(made, Model):
        return made
    if isinstance(made, torch.nn.Module):
        return PlainModel(made)
    raise ConfigError(f"{file}:{name} is a {type(made).__name__}, neither a pliant.Model nor a torch.nn.Module")


def _is_servable(value: object, module: str) -> bool:
    """A module object, or a class for one that was written in this file."""
    if isinstance(value, type):
        return issubclass(value, (Model, torch.nn.Module)) and value.__module__ == module
    return isinstance(value, torch.nn.Module)


def _import(file: Path) -> ModuleType:
    """As a module of its own name, with its directory importable, as ``python FILE`` would have it; once."""
    known = sys.modules.get(file.stem)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    sys.path.insert(0, str(file.resolve().parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[file.stem]
        raise
    return module
