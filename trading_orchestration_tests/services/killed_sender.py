"""Kills a sender (SIGKILL) at each named crash point of sending a message over HTTP, and sends on without it.

Run as a module with a database URL. It prints one line for each point: whether the sender was killed there,
and the titles and the number of different keys that arrived once another had sent what was left.
"""

import json
import os
import signal
import sys
from datetime import timedelta

from pydantic import SecretStr

from trading_orchestration import crashpoint
from trading_orchestration.notifications.apprise import KEY_HEADER, AppriseNotifier
from trading_orchestration.notifications.channel import Channel
from trading_orchestration.services.message_sending import LEASE, Outbox, Sent
from trading_orchestration.store.alerts import Severity
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.fixtures.loopback_vendor import Reply, loopback_vendor
from trading_orchestration_tests.services.outbox import OutboxWorld

POINTS = ("after_message_claim", "after_message_sent", "after_message_marked")


def in_a_sender(outbox: Outbox, notifier: AppriseNotifier, point: str) -> bool:
    """Whether a process that sends was killed at the point."""
    child = os.fork()
    if not child:

        def die(name: str) -> None:
            if name == point:
                os.kill(os.getpid(), signal.SIGKILL)

        crashpoint.install(die)
        outbox.send_next(outbox.channels[0], notifier)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(url: str) -> None:
    engine = create_engine(url, application_name="killed")
    with loopback_vendor() as service:
        service.replies(Reply())
        notifier = AppriseNotifier("phone", SecretStr(service.url.replace("http:", "json:")))
        assert notifier.service  # Apprise is loaded before the fork
        for point in POINTS:
            world = OutboxWorld(engine, (Channel(name="phone", fold=timedelta(0)),))
            outbox = world.outbox
            world.tell(f"halt {point}", kind="halt", severity=Severity.CRITICAL)
            outbox.route()
            engine.dispose()
            is_killed = in_a_sender(outbox, notifier, point)
            for _ in range(2):
                world.advance(LEASE)
                while outbox.send_next(world.channels[0], notifier) is not Sent.NOTHING_DUE:
                    pass
            titles = [asked.body["title"] for asked in service.asked]
            keys = {asked.headers[KEY_HEADER.lower()] for asked in service.asked}
            service.asked.clear()
            sys.stdout.write(json.dumps([point, is_killed, titles, len(keys)]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
