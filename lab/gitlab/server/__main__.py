"""Run the server: `python3 -m server PORT REPOSITORIES KEYS URL`."""

import signal
import sys
from pathlib import Path

from .api import Server

if __name__ == "__main__":
    port, folder, keys, url = sys.argv[1:]
    # As the first process of a container it would ignore the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    runner_key, admin_token = ((Path(keys) / name).read_text() for name in ("runner", "admin"))
    Server(("", int(port)), Path(folder), runner_key, admin_token, url).serve_forever()
