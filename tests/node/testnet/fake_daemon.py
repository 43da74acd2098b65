"""Stands in for `python -m node`: the files and answers of a daemon, and its ways to fail, in a few milliseconds.

Its behaviour comes from FAKE_DAEMON: "" works, "crash" ends at once, "hang" never gets ready, "stubborn" ignores
SIGTERM. It has a child of its own, as a node has its worker.
"""

import argparse
import os
import signal
import subprocess
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from tests.node.cli.fake_api import FakeApi, make_handler, make_routes, write_node_files


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--bootstrap", action="append", default=[])
    parser.add_argument("--attack", default="")
    options = parser.parse_args()
    mode = os.environ.get("FAKE_DAEMON", "")
    (options.data_dir / "bootstrap").write_text("\n".join(options.bootstrap))
    (options.data_dir / "attack").write_text(options.attack)
    print("fake daemon starts", mode, flush=True)
    if mode == "crash" or mode == options.data_dir.name:
        print("the disk is on fire", file=sys.stderr)
        sys.exit(8)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else lambda *_: sys.exit(0))
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (options.data_dir / "worker.pid").write_text(str(worker.pid))
    try:
        serve(options.data_dir, mode)
    finally:
        worker.kill()
        worker.wait()


def serve(data_dir: Path, mode: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(FakeApi(make_routes())))
    server.daemon_threads = True
    if mode != "hang":
        write_node_files(data_dir, f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
