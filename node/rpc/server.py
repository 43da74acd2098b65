"""The API's routes: each a short handler from a request to JSON values. Source: docs/api.md."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeAlias

import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from ledger.chain import Chain
from ledger.mempool import Mempool
from node.explain.explain import NotOnChain, explain
from node.rpc import job_views, views
from node.rpc.actions import make_account, send_coins
from node.rpc.bodies import Fields
from node.rpc.context import ApiContext, Making
from node.rpc.evaluation import LEAST_EVALUATED, evaluate_job
from node.rpc.export import complete_chain, export_chain
from node.rpc.guard import Guard
from node.rpc.job_actions import cancel_job, fetch_result, measure_accuracy, quote_job, submit_job
from node.rpc.problems import ApiProblem, problem_of
from node.rpc.proofs import Wanted, make_proof, stream_proof
from node.rpc.slices import DEFAULT_VERSIONS, MAX_VERSIONS, measure_slices
from node.rpc.update_views import show_updates
from node.rpc.views import Json

__all__ = ["ApiContext", "make_app"]

MAX_BLOCKS_LISTED = 200
DEFAULT_BLOCKS_LISTED = 20
MAX_UPDATES_LISTED = 1000
DEFAULT_UPDATES_LISTED = 50

Handler: TypeAlias = Callable[[ApiContext, Request], Awaitable[Json | Response]]


class JsonAnswer(JSONResponse):
    """ASCII only: text from peers may hold what UTF-8 cannot."""

    def render(self, content: Any) -> bytes:  # Any: as in the class it overrides
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def make_app(context: ApiContext) -> ASGIApp:
    """Return the API of a node as an ASGI application."""
    routes = [
        Route(path, _endpoint(context, handler), methods=[method], include_in_schema=False)
        for method, path, handler in ROUTES
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _answer_http_error})
    app.router.redirect_slashes = False
    return Guard(app, context.token)


def _endpoint(context: ApiContext, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            found = await handler(context, request)
        except Exception as error:  # the border of a request: nothing of one may end the node
            problem = problem_of(error)
            return JsonAnswer(problem.to_json(), problem.status)
        return (
            found if isinstance(found, Response) else JsonAnswer(found, headers={"cache-control": "no-store"})
        )

    return answer


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer for a path or a method that is not there."""
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "bad_request"
    message = f"{request.method} {request.url.path[:200]}: {error.detail.lower()}"
    problem = ApiProblem(code, message, "see docs/api.md for what there is", error.status_code)
    return JsonAnswer(problem.to_json(), problem.status, headers=error.headers)


# the node


async def get_status(context: ApiContext, request: Request) -> Json:
    progress, stats = context.sync.progress(), context.miner.stats()

    def read(chain: Chain, mempool: Mempool) -> Json:
        account = views.show_account(chain, mempool, context.wallet.own.keypair.address)
        return {
            "chain": chain.params.name,
            "chain_id": chain.genesis.chain_id.hex(),
            "head": views.show_head(chain),
            "genesis": chain.genesis.chain_id.hex(),
            "slot": views.show_slot(chain),
            "mempool": {"count": len(mempool), "bytes": mempool.size_bytes},
            "wallet": {name: account[name] for name in ("address", "balance", "immature")},
            "jobs": job_views.count_jobs(chain),
        }

    shown = await context.read(read)
    mining = {"enabled": context.miner.enabled, "runs": stats.runs, "runs_per_s": stats.runs_per_s}
    worker, lag = context.worker, context.pulse.measure()
    return shown | {
        "name": context.name,
        "version": context.version,
        "peer_id": context.transport.peer_id,
        "addresses": context.transport.addresses(),
        "api": context.api,
        "state": "stopping" if context.stopping else progress.state,
        "sync": {
            "behind": progress.behind,
            "best_peer_height": progress.best_peer_height,
            "bootstrap_problems": dict(context.get_bootstrap_problems()),
        },
        "peers": len(context.transport.peers()),
        "updates": _show_maker(context.maker),
        "mining": mining | {"blocks": stats.blocks, "slot": shown.pop("slot")},
        "worker": {"alive": worker.alive, "restarts": worker.restarts, "path": worker.path},
        "uptime_s": trio.current_time() - context.started_s,
        "loop_lag_ms": asdict(lag) if lag else None,
        "parked": progress.parked,
    }


def _show_maker(maker: Making) -> Json:
    stats = asdict(maker.stats) | {"earned": str(maker.stats.earned)}
    return {"enabled": maker.enabled} | stats | {"trainers": asdict(maker.describe_trainers())}


async def get_peers(context: ApiContext, request: Request) -> Json:
    now_s, heads = trio.current_time(), context.sync.peer_heads
    shown = []
    for peer in context.transport.peers():
        height, head = heads.get(peer.peer_id, (None, None))
        shown.append(
            {
                "peer_id": peer.peer_id,
                "address": peer.address,
                "direction": peer.direction,
                "since_s": max(0.0, now_s - peer.since_s),
                "height": height,
                "head": head.hex() if head else None,
            }
        )
    return {"peers": shown}


async def dial_peer(context: ApiContext, request: Request) -> Json:
    fields = await _read_fields(request)
    address = fields.take_text("address")
    fields.expect_end()
    return {"peer_id": await context.transport.connect(address)}


async def stop_node(context: ApiContext, request: Request) -> Response:
    async def stop() -> None:
        context.stop()

    context.stopping = True
    return JsonAnswer({"stopping": True}, background=BackgroundTask(stop))


# accounts


async def get_wallet(context: ApiContext, request: Request) -> Json:
    def read(chain: Chain, mempool: Mempool) -> list[Json]:
        return [
            {"name": account.name} | views.show_account(chain, mempool, account.keypair.address)
            for account in context.wallet
        ]

    return {"accounts": await context.read(read)}


async def get_account(context: ApiContext, request: Request) -> Json:
    text = request.path_params["address"]
    return await context.read(
        lambda chain, mempool: views.show_account(chain, mempool, views.read_address(chain, text))
    )


async def post_send(context: ApiContext, request: Request) -> Json:
    return await send_coins(context, await _read_fields(request))


async def post_account(context: ApiContext, request: Request) -> Json:
    return await make_account(context, await _read_fields(request))


# jobs


async def post_job(context: ApiContext, request: Request) -> Json:
    return await submit_job(context, await _read_fields(request))


async def post_quote(context: ApiContext, request: Request) -> Json:
    return await quote_job(context, await _read_fields(request))


async def post_cancel(context: ApiContext, request: Request) -> Json:
    return await cancel_job(context, request.path_params["job"], await _read_fields(request))


async def get_jobs(context: ApiContext, request: Request) -> Json:
    return {"jobs": await context.read(partial(job_views.list_jobs, tallies=context.tallies))}


async def get_job(context: ApiContext, request: Request) -> Json:
    view = partial(job_views.show_job, tallies=context.tallies, prefix=request.path_params["job"])
    return await context.read(view)


async def get_history(context: ApiContext, request: Request) -> Json:
    def read(chain: Chain, mempool: Mempool) -> list[Json]:
        job_id, _ = job_views.find_job(chain, mempool, request.path_params["job"])
        return job_views.show_history(chain, job_id)

    return {"points": await context.read(read)}


async def get_updates(context: ApiContext, request: Request) -> Json:
    limit = _read_number(request, "limit", 1, MAX_UPDATES_LISTED) or DEFAULT_UPDATES_LISTED

    def read(chain: Chain, mempool: Mempool) -> list[Json]:
        job_id, _ = job_views.find_job(chain, mempool, request.path_params["job"])
        return show_updates(chain, job_id, limit)

    return {"updates": await context.read(read)}


async def get_result(context: ApiContext, request: Request) -> Json:
    shown, checkpoint = await fetch_result(context, request.path_params["job"])
    return shown | {"checkpoint_base64": base64.b64encode(checkpoint).decode()}


async def get_provenance(context: ApiContext, request: Request) -> Json:
    def read(chain: Chain, mempool: Mempool) -> Json:
        return job_views.load_result(chain, mempool, request.path_params["job"]).shown

    return await context.read(read)


async def get_proof(context: ApiContext, request: Request) -> Response:
    wanted = Wanted(
        request.path_params["job"],
        _read_number(request, "version", 0, 2**63 - 1),
        _read_number(request, "least_version", 0, 2**63 - 1) or 0,
    )
    prover, proof = await make_proof(context, wanted)
    headers = {"content-disposition": f'attachment; filename="job-{proof.job_id.hex()[:10]}.proof"'}
    return StreamingResponse(
        stream_proof(context.chain, prover, proof), media_type="application/octet-stream", headers=headers
    )


async def get_slices(context: ApiContext, request: Request) -> Json:
    limit = _read_number(request, "limit", 1, MAX_VERSIONS) or DEFAULT_VERSIONS
    return await measure_slices(context, request.path_params["job"], limit)


async def post_evaluate(context: ApiContext, request: Request) -> Json:
    limit = _read_number(request, "limit", LEAST_EVALUATED, MAX_VERSIONS) or LEAST_EVALUATED
    return await evaluate_job(context, request.path_params["job"], await _read_fields(request), limit)


async def post_accuracy(context: ApiContext, request: Request) -> Json:
    return await measure_accuracy(context, request.path_params["job"], await _read_fields(request))


# the chain


async def get_blocks(context: ApiContext, request: Request) -> Json:
    first = _read_number(request, "from", 0, 2**63 - 1)
    limit = _read_number(request, "limit", 1, MAX_BLOCKS_LISTED) or DEFAULT_BLOCKS_LISTED
    return {"blocks": await context.read(lambda chain, _: views.list_blocks(chain, first, limit))}


async def get_block(context: ApiContext, request: Request) -> Json:
    return await context.read(lambda chain, _: views.show_block(chain, request.path_params["block"]))


async def get_transaction(context: ApiContext, request: Request) -> Json:
    txid = request.path_params["txid"]
    return await context.read(lambda chain, mempool: views.show_transaction(chain, mempool, txid))


async def get_explanation(context: ApiContext, request: Request) -> Json:
    name = request.path_params["id"]
    try:
        story = await context.read(lambda chain, _: explain(chain, name))
    except NotOnChain as error:
        hint = "ids are shown by job list, job updates, chain show and chain tx; what waits is not on the chain yet"
        raise ApiProblem("not_found", str(error), hint) from error
    return story.to_json()


async def get_export(context: ApiContext, request: Request) -> Response:
    name = f"gradientcoin-{context.chain.chain.params.name}.chain"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    await complete_chain(context.chain, context.fetch_blobs)
    return StreamingResponse(
        export_chain(context.chain), media_type="application/octet-stream", headers=headers
    )


# reading requests


async def _read_fields(request: Request) -> Fields:
    return Fields(await request.body())


def _read_number(request: Request, name: str, low: int, high: int) -> int | None:
    """Return a number of the query, None if it is not there."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or not low <= int(text) <= high:
        raise ApiProblem("bad_request", f"{name}: expected {low} to {high}, got {text[:80]!r}")
    return int(text)


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v1/status", get_status),
    ("GET", "/v1/peers", get_peers),
    ("POST", "/v1/peers", dial_peer),
    ("POST", "/v1/stop", stop_node),
    ("GET", "/v1/wallet", get_wallet),
    ("GET", "/v1/accounts/{address}", get_account),
    ("POST", "/v1/wallet/send", post_send),
    ("POST", "/v1/wallet/accounts", post_account),
    ("POST", "/v1/jobs", post_job),
    ("POST", "/v1/jobs/quote", post_quote),
    ("GET", "/v1/jobs", get_jobs),
    ("GET", "/v1/jobs/{job}", get_job),
    ("GET", "/v1/jobs/{job}/history", get_history),
    ("GET", "/v1/jobs/{job}/updates", get_updates),
    ("GET", "/v1/jobs/{job}/result", get_result),
    ("GET", "/v1/jobs/{job}/provenance", get_provenance),
    ("GET", "/v1/jobs/{job}/proof", get_proof),
    ("GET", "/v1/jobs/{job}/slices", get_slices),
    ("POST", "/v1/jobs/{job}/evaluate", post_evaluate),
    ("POST", "/v1/jobs/{job}/accuracy", post_accuracy),
    ("POST", "/v1/jobs/{job}/cancel", post_cancel),
    ("GET", "/v1/blocks", get_blocks),
    ("GET", "/v1/blocks/{block}", get_block),
    ("GET", "/v1/transactions/{txid}", get_transaction),
    ("GET", "/v1/explain/{id}", get_explanation),
    ("GET", "/v1/chain/export", get_export),
)
