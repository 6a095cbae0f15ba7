"""RO-Crate metadata (https://w3id.org/ro/crate/1.1): what the files of a package are, and what made them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

NAME = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
SOFTWARE, ACTION = "#polyphony", "#study"

_FORMATS = {
    ".json": "application/json", ".md": "text/markdown", ".toml": "application/toml", ".svg": "image/svg+xml",
    ".png": "image/png", ".tex": "application/x-tex", ".yaml": "application/yaml", ".yml": "application/yaml",
}  # fmt: skip


def crate_metadata(
    files: Mapping[str, bytes], *, name: str, description: str, date: str, software: Mapping[str, str],
    inputs: Sequence[str],
) -> bytes:  # fmt: skip
    """The metadata file of a package.

    Args:
        files: Every other file by its path in the package.
        name: Title of the package.
        description: What is in it.
        date: Day of publication, as ``2026-03-02``.
        software: ``version`` and ``digest`` of Polyphony.
        inputs: Those of the files from which the others were made.
    """
    results = [path for path in files if path not in inputs]
    graph: list[dict[str, Any]] = [
        {"@id": NAME, "@type": "CreativeWork", "conformsTo": _link(SPECIFICATION), "about": _link("./")},
        {
            "@id": "./", "@type": "Dataset", "name": name, "description": description, "datePublished": date,
            "license": _link("#license"), "hasPart": [_link(path) for path in files], "mentions": _link(ACTION),
        },
        {
            "@id": "#license", "@type": "CreativeWork", "name": "Not stated",
            "description": "The author of the study states the licence: replace this entry by it.",
        },
        {
            "@id": SOFTWARE, "@type": "SoftwareApplication", "name": "Polyphony",
            "softwareVersion": software["version"], "identifier": f"sha256:{software['digest']}",
        },
        {
            "@id": ACTION, "@type": "CreateAction", "name": "simulate study", "instrument": _link(SOFTWARE),
            "object": [_link(path) for path in inputs], "result": [_link(path) for path in results],
        },
        *(_file(path, content) for path, content in files.items()),
    ]  # fmt: skip
    crate = {"@context": f"{SPECIFICATION}/context", "@graph": graph}
    return (json.dumps(crate, indent=1, ensure_ascii=False) + "\n").encode()


def _link(identity: str) -> dict[str, str]:
    return {"@id": identity}


def _file(path: str, content: bytes) -> dict[str, Any]:
    place = PurePosixPath(path)
    return {
        "@id": path, "@type": "File", "name": place.name, "contentSize": str(len(content)),
        "encodingFormat": _FORMATS.get(place.suffix, "application/octet-stream"),
        "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
