"""Exports made up from each format's own grammar, with wrong values and damage: read, or refused in one line."""

import copy
import gzip
import io
import json
import tarfile
import zipfile

import cbor2
import pytest
import zstandard
from export_factory import DID, bluesky_records, outbox, tweet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_export_cases import car_of, commit_of, link, put

from polyphony.errors import InputError
from polyphony.personas.readers.posts import read_posts

# Values that no field expects, among them those that formats give elsewhere.
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["", " ", "http://[x", "https://x/@y", "<p>a", "<![foo[", "&#9999999999999;", "RT @a: b",
                       "1970-01-01", "Wed Oct 10 20:01:24 +0000 2018", "9999-12-31T23:59:59Z", "at://", "\x1b[2J",
                       "\ud83d", "Public",
                       10**400, -(10**40), 1e308, "9" * 5000, "a" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value, at=()):
    """Paths to everything inside a JSON value."""
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*at, key))


@st.composite
def changed(draw, make):
    """A document with some values replaced, removed or given twice."""
    document = copy.deepcopy(make())
    for _ in range(draw(st.integers(0, 3))):
        paths = [path for path in places(document) if path]
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        what = draw(st.integers(0, 3))
        if what == 0:
            del holder[path[-1]]
        elif what == 1 and isinstance(holder, list):
            holder.append(holder[path[-1]])
        else:
            holder[path[-1]] = draw(ODD)
    return document


@st.composite
def damaged(draw, content):
    """Bytes with some flipped, cut out or doubled, or the end cut off; most often none."""
    content = bytearray(content)
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        if not content:
            break
        start = draw(st.integers(0, len(content) - 1))
        end = min(len(content), start + draw(st.integers(1, 30)))
        what = draw(st.integers(0, 3))
        if what == 0:
            content[start] ^= draw(st.integers(1, 255))
        elif what == 1:
            del content[start:end]
        elif what == 2:
            content[start:start] = content[start:end]
        else:
            del content[start:]
    return bytes(content)


def dumped(document, indent=None):
    return json.dumps(document, indent=indent).encode()


@st.composite
def mastodon_json(draw):
    text = dumped(draw(changed(outbox)), draw(st.sampled_from([None, 1])))
    if draw(st.booleans()):
        text = text.decode().encode(draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le"])))
    return draw(damaged(text))


@st.composite
def mastodon_tar(draw):
    stream, content = io.BytesIO(), draw(mastodon_json())
    with tarfile.open(fileobj=stream, mode="w", format=draw(st.sampled_from([0, 1, 2]))) as tar:
        for name in draw(
            st.lists(st.sampled_from(["outbox.json", "a/outbox.json", "x", "../y", "é" * 40]), max_size=3)
        ):
            info = tarfile.TarInfo(name)
            info.type = draw(st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.GNUTYPE_SPARSE, b"x", b"L"]))
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return draw(damaged(gzip.compress(draw(damaged(stream.getvalue())), 1, mtime=0)))


@st.composite
def archive(draw):
    tweets = [tweet(n, f"text {n}", in_reply_to_status_id_str=str(n - 1), entities={
        "urls": [{"expanded_url": "https://x.com/ada/status/1"}]}) for n in range(1, 5)]  # fmt: skip
    parts = {
        "data/account.js": [{"account": {"username": "ada"}}],
        "data/tweets.js": tweets,
        "data/note-tweet.js": [{"noteTweet": {"createdAt": "2018-10-10T20:01:24.000Z", "core": {"text": "text"}}}],
        "data/community-tweet.js": [tweet(9, "some")],
        "data/protected-history.js": [{"protectedHistory": {"protectedAt": "2020", "action": "Unprotect"}}],
        "tweet-part2.js": tweets[:1],
        "outbox.json": outbox(),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as packed:
        for name in draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, unique=True)):
            text = dumped(draw(changed(lambda name=name: parts[name])))
            start = b"" if name.endswith("json") else b"window.YTD.x.part0 = "
            packed.writestr(name, start + draw(damaged(text)) + draw(st.sampled_from([b"", b";", b"\n"])))
    return draw(damaged(stream.getvalue()))


def bluesky_list():
    return {"records": [{"uri": uri, "cid": "x", "value": value} for uri, value in bluesky_records().items()]}


@st.composite
def bluesky_json(draw):
    return draw(damaged(dumped(draw(changed(bluesky_list)))))


@st.composite
def bluesky_car(draw):
    """A tree of two levels whose entries, links and records are changed at random, with true checksums."""
    import tempfile
    from pathlib import Path

    blocks = {}
    records = draw(changed(lambda: [dict(value) for value in bluesky_records().values()]))
    cids = [put(blocks, None, _cbor(record)) for record in records] if isinstance(records, list) else []
    keys = [uri.partition(DID + "/")[2].encode() for uri in bluesky_records()]
    entries = [{"p": draw(st.sampled_from([0, 0, 3, 900])), "k": key, "v": link(cid), "t": None}
               for key, cid in zip(keys, cids, strict=False)]  # fmt: skip
    node = put(blocks, {"l": None, "e": entries})
    if entries:
        entries = [*entries, {"p": 0, "k": b"z", "v": link(cids[0]), "t": link(node)}]
    if entries and draw(st.booleans()):
        entries[0][draw(st.sampled_from(["p", "k", "v", "t"]))] = draw(ODD)
    root = put(blocks, None, _cbor({"l": link(node), "e": entries}))
    with tempfile.TemporaryDirectory() as folder:
        return draw(damaged(car_of(Path(folder) / "x.car", blocks, commit_of(blocks, root)).read_bytes()))


def _cbor(value):
    try:
        return cbor2.dumps(value)
    except (UnicodeEncodeError, cbor2.CBOREncodeError, ValueError):  # half an emoji
        return cbor2.dumps(repr(value))


@st.composite
def dump(draw):
    lines = [{"id": f"c{n}", "author": "ada", "body": f"words {n}", "created_utc": 1_500_000_000 + n,
              "parent_id": "t3_s"} for n in range(12)]  # fmt: skip
    rows = draw(changed(lambda: lines))
    text = b"\n".join(dumped(row) for row in rows) if isinstance(rows, list) else dumped(rows)
    size = draw(st.sampled_from([None, 200]))
    parts = [text] if size is None else [text[at : at + size] for at in range(0, len(text), size)]
    pack = zstandard.ZstdCompressor(write_checksum=True, write_content_size=draw(st.booleans())).compress
    return draw(damaged(b"".join(map(pack, (draw(damaged(part)) for part in parts)))))


FORMATS = {
    "outbox.json": mastodon_json, "m.tar.gz": mastodon_tar, "a.zip": archive, "records.json": bluesky_json,
    "repo.car": bluesky_car, "comments.zst": dump,
}  # fmt: skip


def check(name, path, content, include_private):
    path.write_bytes(content)
    try:
        corpus = read_posts(path, include_private=include_private)
    except InputError as error:
        assert str(error).isprintable() and name in str(error), error
    else:
        assert corpus.acts
        assert all(text.isprintable() for problem in corpus.problems for text in (problem.message, *problem.examples))
        assert include_private or not any(act.is_private for act in corpus.acts.values())


@pytest.mark.parametrize("name", FORMATS)
def test_made_up_exports_are_read_or_refused_in_one_line(tmp_path, name):
    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(content=FORMATS[name](), include_private=st.booleans())
    def fuzz(content, include_private):
        check(name, tmp_path / name, content, include_private)

    fuzz()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_made_up_exports_are_read_or_refused_in_one_line(tmp_path, name):
    @settings(max_examples=1500, deadline=20_000, database=None, suppress_health_check=list(HealthCheck))
    @given(content=FORMATS[name](), include_private=st.booleans())
    def fuzz(content, include_private):
        check(name, tmp_path / name, content, include_private)

    fuzz()
