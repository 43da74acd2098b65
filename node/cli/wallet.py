"""`wallet`: list, new, balance, send."""

import time

import click

from node.amounts import format_amount, format_coins
from node.cli.options import connect, reading
from node.cli.output import parse_coins, print_facts, print_json, print_next, print_table, shorten
from node.cli.suggest import complete_accounts
from node.cli.waiting import waiting
from node.exits import Exit, UserError
from node.rpc.client import Json, NodeClient, quote_part

WAIT_S = 120.0
POLL_S = 0.5
SHORTEST_ADDRESS = 16


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def wallet() -> None:
    """Accounts, balances, sending coins."""


@wallet.command("list")
@reading
def list_accounts(node: str | None, as_json: bool) -> None:
    """The node's own account and, on a local chain, the funded ones."""
    answer = connect(node).get("/v1/wallet")
    if as_json:
        print_json(answer)
        return
    print_table(
        ("NAME", "ADDRESS", "COINS", "MATURING"),
        [
            (item["name"], item["address"], format_coins(item["balance"]), format_coins(item["immature"]))
            for item in answer["accounts"]
        ],
    )


@wallet.command()
@click.argument("name")
@reading
def new(name: str, node: str | None, as_json: bool) -> None:
    """Make an account called NAME: a key in the node's data directory, and its address."""
    answer = connect(node).post("/v1/wallet/accounts", {"name": name})
    if as_json:
        print_json(answer)
        return
    click.echo(f"{answer['name']}  {answer['address']}")
    click.echo(
        f"  its key is in {answer['file']}: back it up, show it to nobody; without it the coins are lost"
    )
    print_next(f"gradientcoin wallet send {answer['name']} 1")


@wallet.command()
@click.argument("account", required=False, shell_complete=complete_accounts)
@reading
def balance(account: str | None, node: str | None, as_json: bool) -> None:
    """What an ACCOUNT (name or address) holds; without it, the node's own."""
    client = connect(node)
    accounts = client.get("/v1/wallet")["accounts"]
    known = find_account(accounts, account)
    address = account or ""
    if known is None:
        check_is_address(address, accounts)
    answer = known or client.get(f"/v1/accounts/{quote_part(address)}")
    if as_json:
        print_json(answer)
        return
    click.echo(f"{format_amount(answer['balance'])}")
    print_facts([("maturing", f"{format_amount(answer['immature'])}"), ("address", answer["address"])])


def find_account(accounts: list[Json], wanted: str | None) -> Json | None:
    """An account of the wallet by name or address; its first one where none is named."""
    for account in accounts:
        if wanted is None or wanted in (account["name"], account["address"]):
            return account
    return None


def check_is_address(text: str, accounts: list[Json]) -> None:
    """Tell a mistyped name from a mistyped address, which the node looks at."""
    if "1" not in text or len(text) < SHORTEST_ADDRESS:
        names = ", ".join(item["name"] for item in accounts)
        raise UserError(
            f"{text!r} is no account of this wallet ({names}), and no address",
            "list the accounts: gradientcoin wallet list; make one: gradientcoin wallet new NAME",
            Exit.USAGE,
        )


@wallet.command()
@click.argument("to", shell_complete=complete_accounts)
@click.argument("amount")
@click.option(
    "--from",
    "sender",
    metavar="ACCOUNT",
    shell_complete=complete_accounts,
    help="Who pays: name or address.  [default: the node's own]",
)
@click.option("--memo", help="At most 64 bytes, on the chain for all to read.")
@click.option("--wait", is_flag=True, help="Wait until it is in a block.")
@reading
def send(
    to: str, amount: str, sender: str | None, memo: str | None, wait: bool, node: str | None, as_json: bool
) -> None:
    """Send AMOUNT coins TO an address, or to an account of this wallet by name."""
    units = parse_coins(amount)
    client = connect(node)
    accounts = client.get("/v1/wallet")["accounts"]
    named = find_account(accounts, to)
    if named is None:
        check_is_address(to, accounts)
    body = {"to": named["address"] if named else to, "amount": str(units)}
    body |= {key: value for key, value in (("from", sender), ("memo", memo)) if value}
    answer = client.post("/v1/wallet/send", body)
    if wait:
        answer |= wait_confirmed(client, answer["txid"])
    if as_json:
        print_json(answer)
        return
    state = f"in block {answer['height']}" if wait else "sent, waits for a block"
    click.echo(f"{format_amount(units)} to {body['to']}: {state}")
    paid_by = f"{answer['payer']}, fee {format_amount(answer['fee'])}"
    print_facts([("transaction", answer["txid"]), ("paid by", paid_by)])
    print_next(f"gradientcoin chain tx {answer['txid']}")


def wait_confirmed(client: NodeClient, txid: str) -> Json:
    """Ask until the transaction is in a block; raises UserError after WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    try:
        with waiting(f"waiting for transaction {shorten(txid)} to come into a block"):
            while time.monotonic() < deadline:
                answer = client.get(f"/v1/transactions/{quote_part(txid)}")
                if answer["state"] == "confirmed":
                    return answer
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        raise UserError(
            f"interrupted while waiting; transaction {txid} was sent",
            f"look at it: gradientcoin chain tx {txid}",
            Exit.INTERRUPTED,
        ) from None
    raise UserError(
        f"transaction {txid} was sent, and is in no block after {WAIT_S:g} s",
        f"look again: gradientcoin chain tx {txid}",
        Exit.TIMEOUT,
    )
