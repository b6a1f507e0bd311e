"""The command `trading`: its commands, and how it ends when something is wrong.

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input. An error is one line on stderr; `TRADING_DEBUG=1`
shows where it came from.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from trading_orchestration.cli import (
    actions,
    alert,
    bars,
    books,
    db,
    demo,
    doctor,
    execute,
    explain,
    export,
    halt,
    jobs,
    live,
    notify,
    portfolio,
    replay,
    report,
    simulate,
    strategy,
    stream,
    up,
)
from trading_orchestration.cli.redaction import without_secrets
from trading_orchestration.errors import InvalidInputError, SettingsError, TradingError

FAILED = 1
BAD_INPUT = 2

app = typer.Typer(
    name="trading",
    help="Scheduled, rule-based trading: portfolios, strategies, six jobs, and a ledger that balances.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for name, group in (
    ("db", db.app),
    ("bars", bars.app),
    ("actions", actions.app),
    ("portfolio", portfolio.app),
    ("strategy", strategy.app),
    ("alert", alert.app),
    ("jobs", jobs.app),
    ("notify", notify.app),
    ("live", live.app),
):
    app.add_typer(group, name=name)
app.command()(demo.demo)
app.command()(up.up)
app.command()(books.trades)
app.command()(books.positions)
app.command()(books.snapshots)
app.command()(report.report)
app.command()(explain.explain)
app.command()(export.export)
app.command()(halt.halt)
app.command()(halt.resume)
app.command()(replay.replay)
app.command()(stream.stream)
app.command()(simulate.simulate)
app.command()(doctor.doctor)
app.command("exec", context_settings=execute.PASSED_ON)(execute.execute)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"trading {version('trading-orchestration')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="trading", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        return _say(error, _usage(error), error.exit_code)
    except (InvalidInputError, SettingsError) as error:
        return _say(error, str(error), BAD_INPUT)
    except TradingError as error:
        return _say(error, str(error), FAILED)
    except typer.Abort as error:
        return _say(error, "Stopped.", FAILED)
    except BrokenPipeError:
        # Whoever read has seen enough; nothing is left to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 (the last place where it can be told)
        sentence = f"Unexpected {type(error).__name__}: {error} (TRADING_DEBUG=1 shows where)"
        return _say(error, sentence, FAILED)
    return result if isinstance(result, int) else 0


def _say(error: BaseException, sentence: str, code: int) -> int:
    if os.environ.get("TRADING_DEBUG") == "1":
        sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
    is_help = isinstance(error, TyperException) and "\n" in sentence
    shown = sentence if is_help else f"trading: {_first_line(sentence)}"
    sys.stderr.write(without_secrets(shown) + "\n")
    return code


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    message = error.format_message().replace("Value error, ", "")
    if context is None or "\n" in message:
        return message
    return f"{message.rstrip('.')}. See `{context.command_path} --help`."


def _first_line(sentence: str) -> str:
    """What follows, such as the end of a log, stands in the place that the first line names."""
    lines = sentence.strip().splitlines() or [""]
    return lines[0].strip().removesuffix(":")


if __name__ == "__main__":
    sys.exit(main())
