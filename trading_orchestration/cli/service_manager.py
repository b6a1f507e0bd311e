"""What systemd is told about the service: that it is ready, that it is alive, that it stops.

The protocol of sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names; without one nothing is told.
"""

import os
import socket

VARIABLE = "NOTIFY_SOCKET"
READY, ALIVE, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"


def tell_service_manager(state: str) -> None:
    """Send a state, or nothing where no service manager listens (any more)."""
    address = os.environ.get(VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
        datagrams.setblocking(False)
        try:
            datagrams.sendto(state.encode(), address)
        except OSError:
            return
