"""`trading live`: which accounts may trade real money."""

from typing import Annotated

import typer

from trading_orchestration.cli.output import Column, Json, minute, print_json, show

app = typer.Typer(help="Which accounts may trade real money.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(help="The account's number, typed by hand.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]

_COLUMNS = [
    Column("account_number", "account"),
    Column("broker"),
    Column("allowed_by", "by"),
    Column("allowed_at", "since", minute),
    Column("reason"),
    Column("revoked_at", "revoked", minute),
    Column("revoked_by", "by"),
]


@app.command()
def allow(account: Number, reason: Reason, as_json: Json = False) -> None:
    """Let an account trade real money, if TRADING_LIVE_ACCOUNT names it, too."""
    from trading_orchestration.cli.installation import actor, open_installation
    from trading_orchestration.services.live_money import allow_live
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        is_new = allow_live(opened.begin, account, reason=reason, actor=actor(), at=system_clock())
        is_named = opened.settings.trading_live_account == account
    if as_json:
        print_json({"account_number": account, "is_new": is_new, "is_named_in_environment": is_named})
        return
    print(f"Account {account} may trade real money{'' if is_new else ', as it might before'}.")
    if not is_named:
        print("It does so once TRADING_LIVE_ACCOUNT is set to its number, too.")


@app.command()
def revoke(account: Number, reason: Reason, as_json: Json = False) -> None:
    """Send nothing to an account any more, exits neither."""
    from trading_orchestration.cli.installation import actor, open_installation
    from trading_orchestration.services.live_money import revoke_live
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        revoke_live(opened.begin, account, reason=reason, actor=actor(), at=system_clock())
    if as_json:
        print_json({"account_number": account, "is_permitted": False})
    else:
        print(f"Account {account} trades no real money any more. What it holds and has on order stays.")


@app.command("list")
def list_live(as_json: Json = False) -> None:
    """Every permission there is and was."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.live_permissions import list_permissions

    with open_installation() as opened, opened.begin() as connection:
        rows = [dict(row) for row in list_permissions(connection)]
    show(rows, _COLUMNS, as_json=as_json, empty="No account may trade real money.")
