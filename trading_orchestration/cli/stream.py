"""`trading stream`: changed prices for websocket clients."""

from typing import Annotated

import typer


def stream(
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes a free one; else TRADING_STREAM_PORT.")
    ] = None,
) -> None:
    """Serve prices over websockets until Ctrl-C."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.stream.server import StreamOptions, run

    with open_installation() as opened:
        chosen = opened.settings.trading_stream_port if port is None else port
        options = StreamOptions(host=host, port=chosen)
        run(
            opened.urls.reader or opened.urls.trading,
            options,
            on_listening=lambda address: print(f"Prices at {address}; Ctrl-C ends it.", flush=True),
        )
