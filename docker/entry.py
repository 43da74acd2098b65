"""Start a container's node: make its keys at the first start, tell or learn where to join, become the daemon.

Environment, besides the node's own GRADIENTCOIN_* settings:
  NODE_HOST             address to listen on; the container's own unless set
  NODE_PORT             port to listen on
  PUBLISH_ADDRESS_TO    file to write this node's address to, for others to join through
  JOIN_ADDRESS_FROM     file to read the address of the node to join from
"""

import os
import socket
import sys
from pathlib import Path

import base58
from nacl.signing import SigningKey

from node.datadir import CONFIG, KEY_FILES, NodeConfig, init_data_dir, replace_text
from node.exits import UserError

# A peer id is the identity multihash of the protobuf of an Ed25519 public key: these bytes, then the key.
PEER_ID_PREFIX = bytes.fromhex("002408011220")


def main() -> None:
    """Prepare the data directory and replace this process by the daemon."""
    data_dir = Path(os.environ["GRADIENTCOIN_DATA_DIR"])
    if not (data_dir / CONFIG).exists():
        init_data_dir(data_dir, make_config())
    listen = f"/ip4/{find_host()}/tcp/{os.environ['NODE_PORT']}"
    command = ["gradientcoin", "run", "--data-dir", str(data_dir), "--listen", listen]
    if publish_to := os.environ.get("PUBLISH_ADDRESS_TO"):
        replace_text(Path(publish_to), f"{listen}/p2p/{compute_peer_id(data_dir)}\n")
    if join_from := os.environ.get("JOIN_ADDRESS_FROM"):
        command += ["--bootstrap", read_address(Path(join_from))]
    os.execvp(command[0], command)


def make_config() -> NodeConfig:
    """What config.toml holds; the environment wins over it at every start."""
    get = os.environ.get
    return NodeConfig(
        chain=get("GRADIENTCOIN_CHAIN", "local"),
        chain_seed=get("GRADIENTCOIN_CHAIN_SEED", "local"),
        name=get("GRADIENTCOIN_NAME", "node"),
    )


def find_host() -> str:
    """The address that other containers of the network reach this one at."""
    return os.environ.get("NODE_HOST") or socket.gethostbyname(socket.gethostname())


def compute_peer_id(data_dir: Path) -> str:
    """The libp2p peer id of the key in a data directory."""
    seed = bytes.fromhex((data_dir / KEY_FILES[0]).read_text())
    public = bytes(SigningKey(seed).verify_key)
    return base58.b58encode(PEER_ID_PREFIX + public).decode()


def read_address(path: Path) -> str:
    """The address that another node published; compose starts this one after it."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise UserError(
            f"{path}: no address to join through ({error.strerror})",
            "start the node that publishes it first (PUBLISH_ADDRESS_TO), and mount the same volume in both",
        ) from error


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error.message}\n  try: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
