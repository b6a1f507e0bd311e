"""`trading db`: the databases of this installation."""

from typing import Annotated

import typer

from trading_orchestration.cli.output import Json, print_json

app = typer.Typer(help="The databases of this installation.", no_args_is_help=True)


@app.command()
def upgrade(as_json: Json = False) -> None:
    """Create the databases where they are missing, bring the schema to the version of this code, and grant.

    DATABASE_OWNER_URL's role does it; those of DATABASE_URL and DATABASE_READER_URL get what they need.
    """
    from trading_orchestration.settings import read_settings
    from trading_orchestration.store.database import ensure_database
    from trading_orchestration.store.installed import open_databases, upgrade_database

    with open_databases(read_settings()) as urls:
        ensure_database(urls.owner or urls.trading)
        ensure_database(urls.dagster)
        applied = upgrade_database(urls)
    if as_json:
        print_json({"applied": applied})
    else:
        print(f"Applied {', '.join(applied)}." if applied else "The database is up to date.")


@app.command()
def url(
    dagster: Annotated[bool, typer.Option("--dagster", help="That of Dagster's own storage.")] = False,
    owner: Annotated[bool, typer.Option("--owner", help="As the role that owns the tables.")] = False,
    show_password: Annotated[bool, typer.Option("--show-password", help="With the password.")] = False,
    as_json: Json = False,
) -> None:
    """Print where the database is.

    The embedded server runs while something uses it: `trading exec -- sh -c 'psql "$(trading db url
    --show-password)"'` holds it for a program of your own.
    """
    from trading_orchestration.settings import read_settings
    from trading_orchestration.store.installed import open_databases

    with open_databases(read_settings()) as urls:
        found = urls.dagster if dagster else (owner and urls.owner) or urls.trading
    shown = found if show_password else without_password(found)
    if as_json:
        print_json({"url": shown})
    else:
        print(shown)


def without_password(url: str) -> str:
    """The URL without a password, wherever in it PostgreSQL would find one."""
    from urllib.parse import parse_qsl, quote, urlencode, urlsplit

    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    given = parse_qsl(parts.query, keep_blank_values=True)
    kept = urlencode(
        [(name, value) for name, value in given if name != "password"], quote_via=quote, safe="/"
    )
    question = "?" if kept else ""
    return f"{parts.scheme}://{login.partition(':')[0]}{at}{host}{parts.path}{question}{kept}"
