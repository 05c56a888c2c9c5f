"""Cut the network off in this Python process: what connects or asks for an address elsewhere gets an OSError.

conftest.py imports it for pytest itself, and puts its folder on PYTHONPATH: as `sitecustomize`, Python imports it at
the start of every process, so that Jupyter's kernels and whatever else the tests start are cut off, too. One thing gets
through: `connect` looks the name of a host up before it tells anyone, and only then gets the error.
"""

import errno
import sys

ADDRESSED = {"socket.connect", "socket.sendto", "socket.sendmsg"}  # Python's audit events: a socket and where to
ASKED = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}  # a host, and more
MESSAGE = "{} was asked for, and the tests run without a network: only this machine can be reached"


def guard(event: str, arguments: tuple) -> None:
    """An audit hook: what it raises is raised by the call that it is told of."""
    if event in ADDRESSED:
        target, address = arguments
        if address is not None and target.family.name.startswith("AF_INET") and not is_here(address[0]):
            raise OSError(errno.ENETUNREACH, MESSAGE.format(f"{address[0]}:{address[1]}"))
    elif event in ASKED and not is_here(arguments[0]):
        raise OSError(errno.ENETUNREACH, MESSAGE.format(arguments[0]))
    elif event == "socket.getnameinfo" and not is_here(arguments[0][0]):
        raise OSError(errno.ENETUNREACH, MESSAGE.format(arguments[0][0]))


def is_here(host: str | bytes | None) -> bool:
    """Whether a host is this machine: by its own name, or by an address that no packet leaves it for."""
    import ipaddress
    import socket

    host = host.decode() if isinstance(host, bytes | bytearray) else host
    if not host or host in ("localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def import_hidden() -> None:
    """Run the `sitecustomize` that this one hides, where Python came with one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec
    from pathlib import Path

    here = Path(__file__).resolve().parent
    hidden = PathFinder.find_spec("sitecustomize", [path for path in sys.path if Path(path).resolve() != here])
    if hidden is not None and hidden.loader is not None:
        hidden.loader.exec_module(module_from_spec(hidden))


sys.addaudithook(guard)
if __name__ == "sitecustomize":
    import_hidden()
