"""The environment in which Dagster's own commands find this installation."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from trading_orchestration.errors import SettingsError
from trading_orchestration.settings import Settings

if TYPE_CHECKING:
    from trading_orchestration.store.installed import DatabaseUrls

INSTANCE_FILE = "dagster.yaml"


def dagster_environment(settings: Settings, urls: "DatabaseUrls") -> dict[str, str]:
    """The variables that a Dagster process needs besides those it inherits.

    Makes Dagster's home in the home folder, with a link to the packaged `dagster.yaml`; a file that a person
    put there instead stays. Raises SettingsError when the folder cannot be written.
    """
    from trading_orchestration.store.database import dagster_storage_url

    return {
        "TRADING_HOME": str(settings.home),
        "DAGSTER_HOME": str(_dagster_home(settings.home)),
        "DAGSTER_POSTGRES_URL": dagster_storage_url(urls.dagster),
    }


def _dagster_home(home: Path) -> Path:
    folder = home / "dagster"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with resources.as_file(resources.files("trading_orchestration") / INSTANCE_FILE) as packaged:
            _link(folder / INSTANCE_FILE, packaged)
    except OSError as error:
        raise SettingsError(
            f"Dagster's home {folder} cannot be made: {error.strerror}; "
            "set TRADING_HOME to a folder you may write to."
        ) from error
    return folder


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    if link.exists() and not link.is_symlink():
        return
    # Several processes may do this at once; a rename replaces the link whole.
    new = link.with_name(f"{link.name}.{uuid4().hex}")
    new.symlink_to(target)
    new.replace(link)
