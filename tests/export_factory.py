"""Exports as platforms make them, small and made up."""

import hashlib
import io
import json
import tarfile
import zipfile

import cbor2
import zstandard

DID = "did:plc:abcdefghijklmnopqrstuvwx"


def tweet(number, text, **more):
    return {"tweet": {"id_str": str(number), "created_at": f"Wed Oct 10 20:{number:02d}:24 +0000 2018",
                      "full_text": text} | more}  # fmt: skip


def x_archive(path):
    parts = {
        "data/account.js": ("account.part0", [{"account": {"username": "ada", "accountId": "7"}}]),
        "data/tweets.js": ("tweets.part0", [
            tweet(1, "Tea &amp; cake"), tweet(2, "yes", in_reply_to_status_id_str="1"),
            tweet(3, "RT @bo: look at this"),
        ]),
        "data/tweets-part1.js": ("tweets.part1", [
            tweet(4, "so true https://t.co/x",
                  entities={"urls": [{"expanded_url": "https://twitter.com/ada/status/1"}]}),
        ]),
        "data/tweet-headers.js": ("tweet_headers.part0", [{"tweet": {"tweet_id": "9"}}]),
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (variable, items) in parts.items():
            archive.writestr(name, f"window.YTD.{variable} = {json.dumps(items)}")
    return path


def outbox():
    actor = "https://tea.example/users/ada"

    def note(number, content, **more):
        url = f"{actor}/statuses/{number}"
        published = f"2024-05-01T12:{number:02d}:00Z"
        return {"id": f"{url}/activity", "type": "Create", "actor": actor, "published": published,
                "object": {"id": url, "type": "Note", "published": published, "content": content} | more}  # fmt: skip

    return {"@context": "x", "id": "outbox.json", "type": "OrderedCollection", "orderedItems": [
        note(1, "<p>Tea &amp; cake<br>now</p><p>and <a href='x'>here</a></p>"),
        note(2, "<p>yes</p>", inReplyTo=f"{actor}/statuses/1"),
        {"id": f"{actor}/statuses/3/activity", "type": "Announce", "actor": actor, "published": "2024-05-01T12:03:00Z",
         "object": f"{actor}/statuses/1"},
        {"id": "x", "type": "Delete", "actor": actor},
    ]}  # fmt: skip


def mastodon_json(path):
    path.write_text(json.dumps(outbox()))
    return path


def mastodon_tar(path):
    content = json.dumps(outbox()).encode()
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("outbox.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return path


def bluesky_records():
    def uri(kind, key):
        return f"at://{DID}/app.bsky.feed.{kind}/{key}"

    def ref(key):
        return {"uri": uri("post", key), "cid": "x"}

    def value(kind, minute, **more):
        return {"$type": f"app.bsky.{kind}", "createdAt": f"2024-05-01T12:{minute:02d}:00.000Z"} | more

    return {
        uri("post", "3a"): value("feed.post", 1, text="Tea & cake"),
        uri("post", "3b"): value("feed.post", 2, text="yes", reply={"root": ref("3a"), "parent": ref("3a")}),
        uri("post", "3c"): value("feed.post", 3, text="so",
                                 embed={"$type": "app.bsky.embed.record", "record": ref("3a")}),
        uri("repost", "3d"): value("feed.repost", 4, subject=ref("3a")),
        uri("like", "3e"): value("feed.like", 5, subject=ref("3b")),
        f"at://{DID}/app.bsky.graph.follow/3f": value("graph.follow", 6, subject="did:plc:somebodyelse"),
        f"at://{DID}/app.bsky.actor.profile/self": value("actor.profile", 0, displayName="Ada"),
    }  # fmt: skip


def bluesky_json(path):
    records = [{"uri": uri, "cid": "x", "value": value} for uri, value in bluesky_records().items()]
    path.write_text(json.dumps({"records": records}))
    return path


def bluesky_car(path):
    """A repository whose tree has two levels."""
    blocks = {}

    def put(value):
        content = cbor2.dumps(value)
        cid = b"\x01\x71\x12\x20" + hashlib.sha256(content).digest()
        blocks[cid] = content
        return cid

    def link(cid):
        return cbor2.CBORTag(42, b"\x00" + cid)

    def node(pairs, left=None, right=None):
        entries, before = [], b""
        for number, (key, value) in enumerate(pairs):
            common = len(before) if key.startswith(before) else next(
                i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b)  # fmt: skip
            last = number == len(pairs) - 1
            entries.append({"p": common, "k": key[common:], "v": link(put(value)),
                            "t": link(right) if right and last else None})  # fmt: skip
            before = key
        return put({"l": link(left) if left else None, "e": entries})

    pairs = sorted((uri.removeprefix(f"at://{DID}/").encode(), value) for uri, value in bluesky_records().items())
    root = node(pairs[2:5], left=node(pairs[:2]), right=node(pairs[5:]))
    commit = put({"did": DID, "version": 3, "data": link(root), "rev": "x", "prev": None, "sig": b"x"})
    with path.open("wb") as stream:
        header = cbor2.dumps({"version": 1, "roots": [link(commit)]})
        stream.write(varint(len(header)) + header)
        for cid, content in blocks.items():
            stream.write(varint(len(cid) + len(content)) + cid + content)
    return path


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def reddit_dump(path):
    """Ten comments and a submission of one person, one of another, a deleted one."""
    lines = [{"id": "s1", "author": "ada", "title": "Tea", "selftext": "and cake", "created_utc": 1_500_000_000}]
    lines += [
        {"id": f"c{n}", "author": "ada", "body": f"comment {n} &gt; x", "created_utc": 1_500_000_001 + n,
         "parent_id": "t3_s1"} for n in range(10)
    ]  # fmt: skip
    lines += [{"id": "d1", "author": "bo", "body": "hi", "created_utc": 1_500_000_100, "parent_id": "t1_c1"},
              {"id": "d2", "author": "[deleted]", "body": "[removed]", "created_utc": 1_500_000_101,
               "parent_id": "t1_c1"}]  # fmt: skip
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(content))
    return path


MAKERS = {
    "archive.zip": x_archive, "outbox.json": mastodon_json, "mastodon.tar.gz": mastodon_tar,
    "records.json": bluesky_json, "repo.car": bluesky_car, "comments.zst": reddit_dump,
}  # fmt: skip
