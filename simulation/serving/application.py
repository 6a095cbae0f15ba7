"""The HTTP interface: OpenAI's routes, vLLM's for adapters, health and figures."""

import asyncio
import ipaddress
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyphony.adapters.model.reading_pool import reading_pool
from polyphony.simulation.serving.asking import Asked, Asking
from polyphony.simulation.serving.catalogue import Catalogue
from polyphony.simulation.serving.figures import Figures
from polyphony.simulation.serving.protocol import (
    ChatRequest,
    CompletionRequest,
    LoadRequest,
    UnloadRequest,
    read_body,
)
from polyphony.simulation.serving.refusal import Refusal, bad
from polyphony.simulation.serving.responses import Shown, streamed, whole
from polyphony.simulation.serving.scheduler import Scheduler
from polyphony.simulation.serving.uploads import Limits, Uploads

MOST_LISTED = 10_000
# How often a request that waits is asked whether its client is still there, in seconds.
LOOKS_EVERY = 0.5
OPEN_PATHS = ("/health",)
# Threads that list models and read adapters from files.
READERS = 2

Answer = TypeVar("Answer")
Part = TypeVar("Part")


def application(
    asking: Asking, catalogue: Catalogue, scheduler: Scheduler, figures: Figures, tokenizer: object, limits: Limits
) -> FastAPI:
    """The application over a scheduler, which it starts and closes.

    Args:
        asking: Turns requests into jobs.
        catalogue: Knows the models.
        scheduler: Owns the model.
        figures: Counts.
        tokenizer: Of the base model.
        limits: What requests may take.
    """

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(reading_pool(READERS))
        scheduler.start(loop)
        yield
        await asyncio.to_thread(scheduler.close)

    app = FastAPI(title="Polyphony", lifespan=running, docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)
    app.add_middleware(_Guard, limits=limits, figures=figures)
    uploads = Uploads(limits)
    _add_models(app, catalogue, uploads)

    async def respond(shown: Shown, request: Request) -> Response:
        if shown.request.stream:
            return _EventResponse(shown, scheduler)
        return JSONResponse(await _or_gone(whole(shown), request, shown.asked, scheduler))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        """Answer a chat, in words or by calling one function."""
        body = read_body(ChatRequest, await uploads.body(request))
        return await respond(Shown(body, await asking.chat(body), tokenizer), request)  # type: ignore[arg-type]

    @app.post("/v1/completions")
    async def completion(request: Request) -> Response:
        """Continue one or more texts."""
        body = read_body(CompletionRequest, await uploads.body(request))
        return await respond(Shown(body, await asking.completion(body), tokenizer), request)  # type: ignore[arg-type]

    @app.get("/health")
    async def health() -> Response:
        """Whether the thread that owns the model runs."""
        return JSONResponse(
            {"status": "ok"} if scheduler.is_alive else {"status": "broken"}, 200 if scheduler.is_alive else 503
        )

    @app.get("/metrics")
    async def metrics() -> Response:
        """Prometheus' figures."""
        return PlainTextResponse(figures.text())

    return app


def _add_models(app: FastAPI, catalogue: Catalogue, uploads: Uploads) -> None:
    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        """List models, in pages."""
        after, limit = request.query_params.get("after"), request.query_params.get("limit", "1000")
        if not limit.isascii() or not limit.isdigit() or not 0 < int(limit[:9]) <= MOST_LISTED:
            raise bad(f"limit: must be 1 to {MOST_LISTED:,}", "limit")
        data, has_more = await asyncio.to_thread(catalogue.page, after, int(limit[:9]))
        ids = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
        return JSONResponse({"object": "list", "data": data, **ids, "has_more": has_more})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """Show one model."""
        return JSONResponse(await asyncio.to_thread(catalogue.entry, name))

    @app.post("/v1/load_lora_adapter")
    async def load(request: Request) -> Response:
        """Load an adapter in PEFT's layout from the folder that the server allows."""
        body = read_body(LoadRequest, await uploads.body(request))
        await asyncio.to_thread(catalogue.load, body.lora_name, body.lora_path)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    @app.post("/v1/unload_lora_adapter")
    async def unload(request: Request) -> Response:
        """Forget an adapter that was loaded."""
        body = read_body(UnloadRequest, await uploads.body(request))
        catalogue.unload(body.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_request: Request, refusal: Refusal) -> Response:
        return JSONResponse(refusal.body, refusal.status, headers=refusal.headers)

    @app.exception_handler(HTTPException)
    async def unknown(_request: Request, error: HTTPException) -> Response:
        return JSONResponse(Refusal(error.status_code, str(error.detail)).body, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, _error: RequestValidationError) -> Response:
        return JSONResponse(bad("the request is not valid").body, 400)

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error: Exception) -> Response:
        return JSONResponse(Refusal(500, "a fault of the server; its log has more", kind="server_error").body, 500)


class _Guard:
    """Refuses what may not ask, and counts all responses."""

    def __init__(self, app: ASGIApp, limits: Limits, figures: Figures) -> None:
        self._app, self._limits, self._figures = app, limits, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._figures.requests.labels(str(message["status"])).inc()
            await send(message)

        request = Request(scope)
        refusal = _of_elsewhere(request, self._limits) or _unauthorised(request, self._limits)
        refusal = refusal or _of_another_type(request)
        if refusal is not None:
            await JSONResponse(refusal.body, refusal.status)(scope, receive, counted)
            return
        try:
            await self._app(scope, receive, counted)
        except Exception:
            self._figures.requests.labels("500").inc()  # answered further out
            raise


def _of_elsewhere(request: Request, limits: Limits) -> Refusal | None:
    """A request by another name than this machine's, where none but this machine is served."""
    if not limits.is_local:
        return None
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if host == "localhost" or ipaddress.ip_address(host):
            return None
    except ValueError:
        pass
    return Refusal(403, "this server is asked as localhost; set a key to have it asked by other names")


def _unauthorised(request: Request, limits: Limits) -> Refusal | None:
    if limits.api_key is None or request.url.path in OPEN_PATHS:
        return None
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    is_right = secrets.compare_digest(key.strip().encode("latin-1"), os.fsencode(limits.api_key))
    if is_right and scheme.lower() == "bearer":
        return None
    return Refusal(401, "a key is missing or wrong; send it as Authorization: Bearer KEY", code="invalid_api_key")


def _of_another_type(request: Request) -> Refusal | None:
    """A page in a browser can send other types to a server on the same machine without asking first."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind != "application/json":
        return Refusal(415, "send Content-Type: application/json")
    return None


async def _or_gone(answer: Awaitable[Answer], request: Request, asked: Asked, scheduler: Scheduler) -> Answer:
    """Wait for an answer; where its client goes away, or another answer of the request fails, its jobs are dropped."""
    waiting = asyncio.ensure_future(answer)
    waiting.add_done_callback(_seen)
    try:
        while not (await asyncio.wait([waiting], timeout=LOOKS_EVERY))[0]:
            if await request.is_disconnected():
                raise ClientDisconnect
        return waiting.result()
    finally:
        waiting.cancel()
        scheduler.drop(asked.jobs)


class _EventResponse(StreamingResponse):
    """A response as server-sent events; its jobs are dropped where it ends early, even before its first event."""

    def __init__(self, shown: Shown, scheduler: Scheduler) -> None:
        super().__init__(_events(shown), media_type="text/event-stream")
        self._jobs, self._scheduler = shown.asked.jobs, scheduler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._scheduler.drop(self._jobs)


def _seen(task: "asyncio.Future[Any]") -> None:
    """Look at a task's error: nobody waits for it any more where another one ended the request."""
    if not task.cancelled():
        task.exception()


async def _events(shown: Shown) -> AsyncIterator[str]:
    """A response as server-sent events; an answer that fails ends it with an error object."""
    try:
        async for part in _merged([streamed(shown, job, index) for index, job in enumerate(shown.asked.jobs)]):
            yield _event(part)
        if shown.request.wants_usage:
            yield _event({**shown.head(is_part=True), "choices": [], "usage": shown.usage()})
    except Refusal as refusal:
        yield _event(refusal.body)
    yield "data: [DONE]\n\n"


def _event(part: object) -> str:
    return f"data: {json.dumps(part, ensure_ascii=False)}\n\n"


async def _merged(streams: Sequence[AsyncIterator[Part]]) -> AsyncIterator[Part]:
    """The parts of several streams as they come."""
    coming: dict[asyncio.Future[Part], AsyncIterator[Part]] = {}

    def await_next(stream: AsyncIterator[Part]) -> None:
        task = asyncio.ensure_future(anext(stream))
        task.add_done_callback(_seen)
        coming[task] = stream

    for stream in streams:
        await_next(stream)
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                stream = coming.pop(task)
                try:
                    part = task.result()
                except StopAsyncIteration:
                    continue
                await_next(stream)
                yield part
    finally:
        for task in coming:
            task.cancel()
