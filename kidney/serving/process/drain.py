"""How a listening socket closes without a loss.

What the system accepts between a server's last look and its close is reset, though the client was
let in. So the door is shut first: who knocks then is not answered, and knocks again a second
later, at the next server or at nobody's.
"""

import contextlib
import ctypes
import socket
import struct
import time

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
_HANDSHAKE_SECONDS = 0.1  # for those that were answered already; as much as a round trip takes
_FLAGS, _SYN, _ACK = 13, 0x02, 0x10  # byte of a TCP header, and bits of it
_LOAD, _AND, _EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_PROGRAM = (  # code, steps where it is equal, steps where not, operand
    (_LOAD, 0, 0, _FLAGS),
    (_AND, 0, 0, _SYN | _ACK),
    (_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),  # bytes of it that are let through
    (_RETURN, 0, 0, 0xFFFFFFFF),
)


def shut(listeners: list[socket.socket]) -> None:
    """Let nobody new in and everybody who is on the way, for all processes that share these.

    Where the system has no filters for sockets (other than Linux), nothing happens.

    https://www.kernel.org/doc/html/latest/networking/filter.html
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _PROGRAM))
    program = struct.pack("HL", len(_PROGRAM), ctypes.addressof(code))
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    time.sleep(_HANDSHAKE_SECONDS)
