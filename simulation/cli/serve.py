"""``simulate serve``."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated

import typer

from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.simulation.cli.options import in_range, path, takes_machine
from polyphony.simulation.cli.printing import say, stderr
from polyphony.simulation.runs.machine import Machine

API_KEY = "POLYPHONY_API_KEY"
# The first answers have the cores to themselves for so many seconds.
READ_AHEAD_AFTER = 5.0
MISSING = "serving needs FastAPI, uvicorn, llguidance and prometheus-client: pip install 'polyphony-sim[serve]'"


@takes_machine
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(**in_range(0, 65_535, "Port to listen at; 0 for any free one."))] = 8000,
    rows: Annotated[int, typer.Option(**in_range(1, 4096, "Number of answers in work at once."))] = 64,
    queue: Annotated[int, typer.Option(**in_range(1, 1_000_000, "Number of answers that may wait."))] = 1024,
    context: Annotated[
        int,
        typer.Option(
            **in_range(64, 8192, "Most tokens of a prompt with its answer."),
            show_default="8192, or what the base model reads",
        ),
    ] = 8192,
    new_tokens: Annotated[
        int, typer.Option(**in_range(1, 8192, "Most tokens of an answer if the client sets no limit."))
    ] = 256,
    time_limit: Annotated[float, typer.Option(**in_range(1, 86_400, "Most seconds of an answer."))] = 600.0,
    most_body: Annotated[int, typer.Option(**in_range(1, 1024, "Largest body of a request, in MiB."))] = 4,
    seed: Annotated[int, typer.Option(**in_range(0, 2**62, "Random seed of requests that give none."))] = 0,
    allow_load: Annotated[
        Path | None,
        typer.Option(
            help="Folder from which clients may load adapters with /v1/load_lora_adapter.",
            parser=path,
            show_default="clients load nothing",
        ),
    ] = None,
    load_rank: Annotated[int, typer.Option(**in_range(1, 256, "Largest rank of an adapter that clients load."))] = 16,
    machine: Machine,
) -> None:
    """Offer a bank as an OpenAI-compatible server in which every person is a model.

    Clients send the key in the environment variable POLYPHONY_API_KEY, if it is set.
    """
    if allow_load is not None and not allow_load.is_dir():
        raise InputError(f"--allow-load {quoted(str(allow_load))}: no such folder")
    from polyphony.adapters.bank.bank import Bank

    Bank(machine.bank).close()  # that there is none is said before anything is loaded
    try:
        from polyphony.simulation.serving.asking import ServingConfig
        from polyphony.simulation.serving.listening import bound, serve_at
        from polyphony.simulation.serving.server import Capacity, serving
        from polyphony.simulation.serving.uploads import Limits
    except ModuleNotFoundError as error:
        raise InputError(f"{MISSING} ({error.name} is missing)") from error
    from polyphony.simulation.runs.loading import current_loader

    def tell(line: str) -> None:
        stderr().print(line, markup=False)

    key = os.environ.get(API_KEY, "").strip() or None
    with bound(host, port) as socket:
        base = current_loader().base_model(machine.base_model, device=machine.device, dtype=machine.dtype, say=tell)
        capacity = Capacity(rows, context, queue, load_rank if allow_load is not None else 0, allow_load)
        config = ServingConfig(new_tokens=new_tokens, time_limit=time_limit, seed=seed)
        limits = Limits(most_body << 20, key, is_local=key is None and _is_local(host))
        with serving(base, machine.bank, capacity, config, limits, tell) as server:
            if key is None and not _is_local(host):
                tell(f"warning: anyone who reaches {host} may ask; set {API_KEY} to ask for a key")
            address = socket.getsockname()
            say(f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}/v1 (end with Ctrl+C)")
            server.read_ahead(READ_AHEAD_AFTER)
            serve_at(server.app, server.scheduler, socket)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
