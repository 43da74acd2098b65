"""Which job a command means, and which one that job continues."""

from node.cli.output import shorten
from node.exits import Exit, UserError
from node.rpc.client import Json, NodeClient, quote_part


def get_job(client: NodeClient, job_id: str | None) -> Json:
    """The job's summary; without an id, that of the job submitted last."""
    if job_id is not None:
        return client.get(f"/v1/jobs/{quote_part(job_id)}")
    jobs: list[Json] = client.get("/v1/jobs")["jobs"]
    if not jobs:
        raise UserError(
            "no jobs on this chain yet",
            "submit one: gradientcoin job submit examples/digits.toml",
            Exit.NOT_FOUND,
        )
    pending = [job for job in jobs if job["submitted"] is None]
    return pending[-1] if pending else max(jobs, key=lambda job: int(job["submitted"]))


def list_parent(parent: Json | None) -> list[tuple[str, object]]:
    """The fact of what a job continues, for a list of facts; none if it continues no other."""
    if parent is None:
        return []
    known = "" if parent["title"] is None else f" ({parent['title']}) at version {parent['version']}"
    return [("continues", f"job {shorten(parent['id'])}{known}")]
