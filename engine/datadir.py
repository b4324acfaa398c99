"""Where the data lies: one directory with the store's file, the workers' journals, and the spool of the log.

Who names it first decides: the command line (`--data`, or the variable HEDGEROW_DATA that stands in for it), the
configuration's `[store] directory`, the platform's place for an application's data. Nothing is made here, and nothing
is looked at: the store makes its directory, and says what is wrong with it.
"""

from pathlib import Path

VARIABLE = "HEDGEROW_DATA"
APPLICATION = "hedgerow"


def data_directory(given: Path | None, configured: Path | None) -> Path:
    """Return the directory, absolute, so that a process that is elsewhere finds it too."""
    import platformdirs  # noqa: PLC0415 - who only asks for `VARIABLE` need not load it

    named = given or configured
    return platformdirs.user_data_path(APPLICATION) if named is None else named.absolute()


def database(directory: Path) -> Path:
    """Return the store's file."""
    return directory / "hedgerow.db"


def journal(directory: Path) -> Path:
    """Return the directory of the workers' journals."""
    return directory / "journal"


def spool(directory: Path) -> Path:
    """Return the directory of rows that are on their way into the request log."""
    return directory / "spool"
