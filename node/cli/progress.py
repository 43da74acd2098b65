"""What the watching commands show of a job: one snapshot of it, asked from a node and put into words."""

from dataclasses import dataclass

from node.amounts import format_amount, format_coins
from node.cli.output import count_of, format_loss, shorten
from node.rpc.client import Json, NodeClient, quote_part

RECENT_BLOCKS = 30  # over which the network's speed is taken
ENDED = ("done", "cancelled")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job, its settlements and its network at one moment."""

    job: Json
    points: list[Json]
    height: int
    peers: int
    runs_per_s: float | None

    @property
    def has_ended(self) -> bool:
        return self.job["status"] in ENDED

    @property
    def target(self) -> float | None:
        return self.job["target_loss"] or None

    @property
    def losses(self) -> list[float]:
        """The loss before the first settlement, then after each."""
        first = [self.points[0]["loss_before"]] if self.points else []
        return first + [point["loss"] for point in self.points]


def take_snapshot(client: NodeClient, job_id: str) -> Snapshot:
    job = client.get(f"/v1/jobs/{quote_part(job_id)}")
    points = client.get(f"/v1/jobs/{quote_part(job['id'])}/history")["points"]
    status = client.get("/v1/status")
    height = status["head"]["height"]
    query = {"from": max(1, height - RECENT_BLOCKS + 1), "limit": RECENT_BLOCKS}
    blocks = client.get("/v1/blocks", query)["blocks"]
    return Snapshot(job, points, height, status["peers"], estimate_speed(blocks))


def estimate_speed(blocks: list[Json]) -> float | None:
    """Training runs a second of the whole network, from what blocks cost and when they came."""
    if len(blocks) < 2:
        return None
    seconds = (blocks[-1]["time_ms"] - blocks[0]["time_ms"]) / 1000
    return sum(float(block["runs_estimate"]) for block in blocks[1:]) / seconds if seconds > 0 else None


def describe(snapshot: Snapshot) -> str:
    """One line for a log or a pipe."""
    job = snapshot.job
    target = "" if snapshot.target is None else f" (target {format_loss(snapshot.target)})"
    served = count_of(job["updates"], "update") if job["market_only"] else count_of(job["tickets"], "block")
    return (
        f"height {snapshot.height:,}  {job['status']}  round {job['round'] or '-'}  version {job['version']}  "
        f"loss {format_loss(job['loss'])}{target}  {served} for the job  "
        f"network {format_speed(snapshot)}"
    )


def format_speed(snapshot: Snapshot) -> str:
    return "-" if snapshot.runs_per_s is None else f"{snapshot.runs_per_s:,.1f} runs/s"


def list_facts(snapshot: Snapshot) -> list[tuple[str, object]]:
    """Names and values for the live view."""
    job = snapshot.job
    target = "no target" if snapshot.target is None else f"target {format_loss(snapshot.target)}"
    start = f", began at {format_loss(job['first_loss'])}" if job["first_loss"] is not None else ""
    return [
        ("status", job["status"] + (f": {job['reason']}" if job["reason"] else "")),
        ("loss", f"{format_loss(job['loss'])}, {target}{start}"),
        (
            "progress",
            f"round {job['round'] or '-'}, version {job['version']}, {count_of(job['settlements'], 'settlement')}",
        ),
        ("updates", f"{job['updates']} paid, {job['pending_updates']} wait; chain at {snapshot.height:,}")
        if job["market_only"]
        else (
            "blocks",
            f"{job['tickets']} for this job, {job['pending_tickets']} wait; chain at {snapshot.height:,}",
        ),
        ("network", f"{format_speed(snapshot)}, {count_of(snapshot.peers, 'peer')}"),
        (
            "money",
            f"{format_amount(int(job['escrow']) + int(job['lock']))} left, {describe_cost(job)}",
        ),
        ("weights", shorten_cid(job["weights_cid"])),
    ]


def describe_cost(job: Json) -> str:
    if job["market_only"]:
        return f"up to {format_coins(job['budget'])} a round for updates"
    return f"{format_coins(job['burn'])} burned a drawn height"


def shorten_cid(cid: str | None) -> str:
    """The end of a CID: all of them begin alike."""
    return f"…{cid[-16:]}" if cid else "-"


def get_next(snapshot: Snapshot) -> str:
    """The command to type when the job has ended."""
    job_id = shorten(snapshot.job["id"])
    if snapshot.job["version"]:
        return f"gradientcoin job result {job_id} -o job-{job_id}"
    return f"gradientcoin job show {job_id}"
