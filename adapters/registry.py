"""The registry: dialects and providers by name, found where their files lie.

Adding a file to `adapters/dialects` or `adapters/providers` is all it takes; nothing lists them. Modules are imported
at first use, once, and importing them does nothing else. A module with an underscore in its name is a part of another
one.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import cast

from adapters import dialects as dialects_package
from adapters import providers as providers_package
from adapters.dialects import Dialect
from adapters.providers import Provider, Registration


class UnknownNameError(LookupError):
    """No such dialect or provider; the message lists those there are."""


@cache
def dialects() -> Mapping[str, Dialect]:
    """Return every dialect by name."""
    found = {name: cast("Dialect", module) for name, module in _modules(dialects_package).items()}
    return MappingProxyType(found)


@cache
def providers() -> Mapping[str, Provider]:
    """Return every provider by name."""
    found: dict[str, Provider] = {}
    for name, module in _modules(providers_package).items():
        provider = module.PROVIDER
        assert isinstance(provider, Provider)
        assert provider.name == name, f"{module.__name__} describes {provider.name}"
        found[name] = provider
    return MappingProxyType(found)


def dialect(name: str) -> Dialect:
    """Return one dialect. Raises `UnknownNameError`."""
    try:
        return dialects()[name]
    except KeyError:
        raise UnknownNameError(f"no dialect {name!r}; there are: {', '.join(dialects())}") from None


def provider(name: str) -> Provider:
    """Return one provider. Raises `UnknownNameError`."""
    try:
        return providers()[name]
    except KeyError:
        raise UnknownNameError(f"no provider {name!r}; there are: {', '.join(providers())}") from None


def providers_from_environment(environ: Mapping[str, str]) -> list[Registration]:
    """Return the providers that environment variables configure, by name. Raises `SettingError` for one that cannot be
    used.
    """
    found = [each.from_environment(environ) for each in providers().values()]
    return [registration for registration in found if registration is not None]


def _modules(package: ModuleType) -> dict[str, ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if "_" not in info.name)
    return {name: import_module(f"{package.__name__}.{name}") for name in names}
