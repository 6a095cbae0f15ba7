"""Croissant metadata (MLCommons, format 1.0): what the files are and what their columns hold."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyphony.checksums import sha256
from polyphony.metrics.dataset.meanings import TABLES, meaning

NAME = "croissant.json"

_TYPES = {
    "int": "sc:Integer", "str": "sc:Text", "float": "sc:Float", "f32": "sc:Float", "bool": "sc:Boolean",
    "time": "sc:DateTime",
}  # fmt: skip
_TERMS = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
    "subField transform"
)
# The context of the format's version 1.0, whole: readers compare it key by key.
_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "dct": "http://purl.org/dc/terms/", "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}  # fmt: skip


def write_croissant(
    folder: Path, description: Mapping[str, Any], columns: Mapping[str, Sequence[tuple[str, str]]]
) -> None:
    """Write ``croissant.json`` beside the tables that it describes."""
    metadata = {
        "@context": _CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "polyphony_runs", "description": "Simulated social platforms: who wrote, answered and was shown what.",
        "version": f"{description['format']}.0.0", "isLiveDataset": False,
        "citeAs": "Runs of Polyphony, digests " + ", ".join(run["digest"] for run in description["runs"]),
        **({"license": description["licence"]} if description["licence"] else {}),
        "distribution": [_file(folder, name) for name in columns],
        "recordSet": [_records(name, names_and_kinds) for name, names_and_kinds in columns.items()],
    }  # fmt: skip
    (folder / NAME).write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")


def _file(folder: Path, table: str) -> dict[str, Any]:
    path = f"parquet/{table}.parquet"
    return {
        "@type": "cr:FileObject", "@id": f"{table}.parquet", "name": f"{table}.parquet", "contentUrl": path,
        "encodingFormat": "application/x-parquet", "sha256": sha256(folder / path),
        "contentSize": f"{(folder / path).stat().st_size} B",
    }  # fmt: skip


def _records(table: str, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet", "@id": table, "name": table, "description": TABLES[table],
        "field": [
            {
                "@type": "cr:Field", "@id": f"{table}/{name}", "name": f"{table}/{name}",
                "description": meaning(table, name), "dataType": _TYPES[kind],
                "source": {"fileObject": {"@id": f"{table}.parquet"}, "extract": {"column": name}},
            }
            for name, kind in columns
        ],
    }  # fmt: skip
