"""`status` and `peers`."""

import click

from node.amounts import format_amount, format_coins
from node.cli.options import connect, reading
from node.cli.output import (
    count_of,
    format_age,
    format_duration,
    print_facts,
    print_json,
    print_table,
    shorten,
)
from node.rpc.client import Json


@click.command()
@reading
def status(node: str | None, as_json: bool) -> None:
    """What the node does: chain, peers, mining, wallet, jobs."""
    client = connect(node)
    answer = client.get("/v1/status")
    if as_json:
        print_json(answer)
        return
    chain = f"chain {answer['chain']} {shorten(answer['chain_id'])}"
    click.echo(
        f"{click.style(answer['name'], bold=True)}  {answer['state']}  {chain}  version {answer['version']}"
    )
    print_facts(list_facts(answer))
    click.echo(f"  (asked {client.address.url}; address from {client.address.source})")


def list_facts(answer: Json) -> list[tuple[str, object]]:
    head, wallet = answer["head"], answer["wallet"]
    return [
        ("head", describe_head(head)),
        ("sync", describe_sync(answer)),
        ("peers", describe_peers(answer)),
        *(
            ("bootstrap", f"{address}: {reason}")
            for address, reason in answer["sync"].get("bootstrap_problems", {}).items()
        ),
        ("mining", describe_mining(answer["mining"])),
        ("updates", describe_updates(answer["updates"])),
        *list_trainer_facts(answer["updates"]),
        ("worker", describe_worker(answer["worker"])),
        (
            "mempool",
            f"{count_of(answer['mempool']['count'], 'transaction')}, {answer['mempool']['bytes']:,} bytes",
        ),
        ("jobs", f"{answer['jobs']['live']} live of {answer['jobs']['total']}"),
        ("wallet", f"{format_amount(wallet['balance'])}, {format_coins(wallet['immature'])} maturing"),
        ("", wallet["address"]),
        ("listens", "\n           ".join(answer["addresses"])),
        ("up", format_duration(answer["uptime_s"])),
    ]


def describe_updates(updates: Json) -> str:
    if not updates["enabled"]:
        return "none: this node trains no updates of its own"
    earned, paid = format_amount(updates["earned"]), updates["paid"]
    return (
        f"{count_of(updates['committed'], 'update')} sent, {paid} paid, {earned} earned; {updates['doing']}"
    )


def list_trainer_facts(updates: Json) -> list[tuple[str, object]]:
    """Who trains the updates, and what of it is to be mended."""
    if not updates["enabled"]:
        return []
    trainers = updates["trainers"]
    restarts = count_of(trainers["restarts"], "restart")
    shown = f"{trainers['count']}, {trainers['state']}, device {trainers['device']}, {restarts}"
    budget = updates["budget"]
    return [
        ("trainers", shown),
        *([("privacy", budget)] if budget else []),
        *([("", updates["note"])] if updates["note"] else []),
    ]


def describe_head(head: Json) -> str:
    age = format_age(head["time_ms"]) if head["height"] else "the genesis: no block yet"
    return f"height {head['height']:,}, {shorten(head['hash'])}, {age}"


def describe_sync(answer: Json) -> str:
    sync = answer["sync"]
    parked = f", {answer['parked']} blocks wait for data" if answer.get("parked") else ""
    if sync["behind"]:
        return f"{count_of(sync['behind'], 'block')} behind the best peer (height {sync['best_peer_height']:,}){parked}"
    return "no known peer is ahead" + parked


def describe_peers(answer: Json) -> str:
    if answer["peers"]:
        return str(answer["peers"])
    if answer["sync"].get("bootstrap_problems"):
        return "0: this node is alone, since it reaches none of its bootstrap addresses"
    return "0: this node is alone; connect it with gradientcoin run --bootstrap ADDRESS"


def describe_mining(mining: Json) -> str:
    if not mining["enabled"]:
        return "off"
    slot = mining.get("slot") or {}
    doing = (
        f"job {slot.get('title')!r} ({shorten(slot['job'])})"
        if slot.get("job")
        else "heartbeat (no job drawn)"
    )
    return f"{doing}; {mining['runs']:,} runs, {mining['runs_per_s']:.1f}/s, {count_of(mining['blocks'], 'block')} won"


def describe_worker(worker: Json) -> str:
    alive = "alive" if worker["alive"] else "not running"
    return f"{alive}, {worker['path']} path, {count_of(worker['restarts'], 'restart')}"


@click.command()
@reading
def peers(node: str | None, as_json: bool) -> None:
    """Whom the node is connected to."""
    answer = connect(node).get("/v1/peers")
    if as_json:
        print_json(answer)
        return
    if not answer["peers"]:
        click.echo("no peers")
        return
    print_table(
        ("HEIGHT", "HEAD", "DIRECTION", "SINCE", "ADDRESS"),
        [
            (
                "-" if peer["height"] is None else peer["height"],
                shorten(peer["head"]),
                peer["direction"],
                format_duration(peer["since_s"]),
                peer["address"] or f"/p2p/{peer['peer_id']}",
            )
            for peer in answer["peers"]
        ],
    )
