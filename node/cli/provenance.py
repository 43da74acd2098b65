"""`job provenance`: what made a job's weights, version by version, and whether its chain of hashes says the same.

The hashes are computed here, from the node's list alone: a list that leaves something out does not end in the job's
provenance. That of a job which continues another goes on from its parent's, so the lists of all jobs before it come
first. Source: docs/protocol.md, sections 4 and 10.4.
"""

from __future__ import annotations

import click

from node.amounts import format_coins
from node.cli.job_names import get_job, list_parent
from node.cli.options import connect, reading
from node.cli.output import count_of, print_facts, print_json, print_next, print_table, shorten
from node.cli.progress import shorten_cid
from node.cli.suggest import complete_jobs
from node.exits import Exit
from node.rpc.client import Json, NodeClient, quote_part

CREDITED = ("paid", "unpaid", "fined")


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=complete_jobs)
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Versions to show."
)
@reading
def provenance(job_id: str | None, limit: int, node: str | None, as_json: bool) -> int:
    """What made these weights: tickets and updates of every settlement, checked against the job's provenance hash.

    By default the newest job. Every block commits to the hash; chain verify computes it from genesis.
    """
    client = connect(node)
    summary = get_job(client, job_id)
    answer = client.get(f"/v1/jobs/{quote_part(summary['id'])}/provenance")
    record = answer["record"]
    lineage = [*fetch_parents(client, record), record]
    settlements = [settlement for job in lineage for settlement in job["blocks"]]
    computed = compute_provenance(settlements)
    is_whole = computed == record["provenance"]
    if as_json:
        jobs = [job["job"] for job in lineage]
        print_json(answer | {"computed": computed, "agrees": is_whole, "lineage": jobs})
        return Exit.DONE if is_whole else Exit.FAILED
    print_versions(answer, record["blocks"], limit)
    word = click.style("agrees", fg="green") if is_whole else click.style("DIFFERS", fg="red", bold=True)
    of_all = f", of {len(lineage)} jobs together" if len(lineage) > 1 else ""
    print_facts(
        [
            ("weights", record["weights_cid"]),
            *list_parent(record["parent"]),
            *([("begins at", record["first_provenance"])] if record["parent"] else []),
            ("provenance", record["provenance"]),
            ("computed", f"{computed}, {word} with {count_of(len(settlements), 'settlement')}{of_all}"),
        ]
    )
    print_next("gradientcoin chain verify")
    return Exit.DONE if is_whole else Exit.FAILED


def fetch_parents(client: NodeClient, record: Json) -> list[Json]:
    """The records of the jobs that lead to this one, the first of them first."""
    found: list[Json] = []
    seen = {record["job"]}
    while (parent := record["parent"]) is not None and parent["id"] not in seen:
        record = client.get(f"/v1/jobs/{quote_part(parent['id'])}/provenance")["record"]
        seen.add(parent["id"])  # a node that names a job as its own ancestor shall not keep us
        found.insert(0, record)
    return found


def compute_provenance(settlements: list[Json]) -> str:
    """Return the hash that these settlements lead to, in hex; of a list that is none of a node's, some other hash."""
    from ledger.errors import DecodeError  # late: other verbs of `job` do not wait for it
    from ledger.hashing import HASH_BYTES, parse_cid_text, tagged_hash

    provenance = bytes(HASH_BYTES)
    for settlement in settlements:
        if not settlement["sample_count"]:  # nothing was judged: all updates lost their bonds
            continue
        seeds = b"".join(bytes.fromhex(ticket["seed"]) for ticket in settlement["tickets"])
        credited = b"".join(
            bytes.fromhex(update["commitment"])
            for update in settlement["updates"]
            if update["outcome"] in CREDITED
        )
        try:
            cid = parse_cid_text(settlement["weights_cid"])
        except DecodeError:
            cid = b""
        number = int(settlement["round"]).to_bytes(8, "big")
        provenance = tagged_hash("gc/provenance", provenance + number + seeds + credited + cid)
    return provenance.hex()


def print_versions(answer: Json, settlements: list[Json], limit: int) -> None:
    click.echo(f"{click.style(answer['title'], bold=True)}  version {answer['version']}, {answer['status']}")
    if not settlements:
        click.echo("  no round has settled yet: these are the initial weights")
        return
    header = (
        "version",
        "height",
        "round",
        "tickets",
        "scale",
        "known",
        "updates",
        "scale",
        "paid",
        "weights",
    )
    print_table(header, [list_settlement(settlement) for settlement in settlements[-limit:]], indent="  ")
    if len(settlements) > limit:
        click.echo(f"  and {len(settlements) - limit} earlier ones: --limit {len(settlements)}")


def list_settlement(settlement: Json) -> list[object]:
    credited = [update for update in settlement["updates"] if update["outcome"] in CREDITED]
    paid = sum(int(update["amount"]) for update in credited if update["outcome"] == "paid")
    moved = settlement["old_weights_cid"] != settlement["weights_cid"]
    return [
        settlement["version"],
        settlement["height"],
        settlement["round"],
        len(settlement["tickets"]),
        settlement["scale"] or "-",
        settlement["known_scale"] or "-",
        ", ".join(shorten(update["commitment"])[:6] for update in credited) or "-",
        settlement["update_scale"] or "-",
        format_coins(str(paid)) if paid else "-",
        shorten_cid(settlement["weights_cid"]) if moved else "as before",
    ]
