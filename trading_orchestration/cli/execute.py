"""`trading exec -- COMMAND`: any program, with the database held and Dagster's environment set."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

PASSED_ON: dict[str, Any] = {"ignore_unknown_options": True, "allow_interspersed_args": False}

#: What a shell answers for a program that a signal ended, besides the signal's number.
_ENDED_BY_SIGNAL = 128


def execute(
    command: Annotated[
        list[str], typer.Argument(help="What to run, such as: dagster dev", metavar="COMMAND...")
    ],
    replay: Annotated[
        str | None, typer.Option(help="On the database of a replay that was kept.", metavar="DATABASE")
    ] = None,
) -> None:
    """Run a command with the embedded database held and the environment set that Dagster needs.

    Ends with the command's own exit code.
    """
    from trading_orchestration.cli.dagster_environment import dagster_environment
    from trading_orchestration.cli.installation import open_installation

    with open_installation() as opened:
        environment = {**os.environ, **dagster_environment(opened.settings, opened.urls)}
        if replay is not None:
            from trading_orchestration.cli.replay_dagster import replay_environment
            from trading_orchestration.store.installed import DatabaseUrls
            from trading_orchestration.store.replay_copy import replay_urls

            urls = DatabaseUrls(*replay_urls(opened.engine, replay))
            environment |= replay_environment(opened.settings, urls, {})
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        raise typer.Exit(run_child(command, environment))


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program to its end and answer its exit code; SIGTERM and SIGHUP are passed on to it.

    Raises InvalidInputError when it cannot be started.
    """
    from trading_orchestration.errors import InvalidInputError

    with _signals_passed_on() as pass_on_to:
        try:
            child = subprocess.Popen(command, env=environment)
        except OSError as error:
            raise InvalidInputError(f"{command[0]} cannot be run: {error.strerror}.") from None
        pass_on_to(child)
        code = child.wait()
    return code if code >= 0 else _ENDED_BY_SIGNAL - code


@contextmanager
def _signals_passed_on() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Yields what names the child; a signal that came before that is passed on then."""
    children: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)
        if not children:
            early.append(number)

    def stay(_number: int, _frame: FrameType | None) -> None:
        """A terminal sends Ctrl-C to the child as well; this process ends after it."""

    def pass_on_to(child: subprocess.Popen[bytes]) -> None:
        children.append(child)
        for number in early:
            child.send_signal(number)

    handlers = {signal.SIGTERM: pass_on, signal.SIGHUP: pass_on, signal.SIGINT: stay}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield pass_on_to
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
