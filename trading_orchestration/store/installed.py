"""The databases of an installation: where they are, as whom each is opened, how they are upgraded."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from pydantic import SecretStr

from trading_orchestration.settings import Settings
from trading_orchestration.store import embedded_postgres, migrations, roles
from trading_orchestration.store.database import create_engine, derive_dagster_url, role_of


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """Where our tables are and where Dagster's are, as `postgresql://…`.

    `trading` is opened as the role that trades; `owner` and `reader` are the same database as the role that
    migrates and as one that only reads, where they are others. `ensure_running` brings the embedded server
    back when nothing watches it any more; it costs milliseconds.
    """

    trading: str
    dagster: str
    ensure_running: Callable[[], None] = lambda: None
    owner: str | None = None
    reader: str | None = None


@contextmanager
def open_databases(settings: Settings) -> Iterator[DatabaseUrls]:
    """The databases of this installation: those of `DATABASE_URL`, or the embedded server, held while in use.

    Raises DatabaseUnavailableError when the embedded server cannot be started.
    """
    given = settings.dagster_database_url
    with ExitStack() as stack:
        if settings.database_url is not None:
            trading = settings.database_url.get_secret_value()
            urls = DatabaseUrls(
                trading,
                derive_dagster_url(trading),
                owner=_secret(settings.database_owner_url),
                reader=_secret(settings.database_reader_url),
            )
        else:
            server = stack.enter_context(embedded_postgres.use(settings.home))
            urls = DatabaseUrls(
                server.engine_url,
                server.dagster_url,
                server.ensure_running,
                owner=server.trading_url,
                reader=server.reader_url,
            )
        yield replace(urls, dagster=given.get_secret_value()) if given else urls


def _secret(given: SecretStr | None) -> str | None:
    return given.get_secret_value() if given else None


def upgrade_database(urls: DatabaseUrls) -> list[str]:
    """Bring the schema to the version of this code, and grant its roles what they need.

    Answers the names of what was applied. Raises as `migrations.upgrade` and `roles.grant` do.
    """
    owner = create_engine(urls.owner or urls.trading, application_name="trading upgrade")
    try:
        applied = migrations.upgrade(owner)
        roles.grant(owner, engine=role_of(urls.trading), reader=role_of(urls.reader or urls.trading))
    finally:
        owner.dispose()
    return applied
