"""Asks a server for its health, from a process that has nothing else to do: what it measures is the server's alone.

    python -m tests.faults.asker HOST PORT PAUSE_S

Prints the status and the seconds of each answer, until it is ended.
"""

import http.client
import sys
import time


def main(host: str, port: int, pause_s: float) -> None:
    """For ever."""
    while True:
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection(host, port, timeout=30)
            connection.request("GET", "/health")
            status = connection.getresponse().status
            connection.close()
        except OSError:
            status = 0
        sys.stdout.write(f"{status} {time.monotonic() - began:.4f}\n")
        sys.stdout.flush()
        time.sleep(pause_s)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
