"""Exports from public bug reports, right to the value; and files that claim more than they hold."""

import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import cbor2
import pytest
import zstandard
from export_factory import DID, MAKERS, bluesky_car, outbox, reddit_dump, tweet, varint, x_archive

from benchmarks.timing import run_apart
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import load_population
from polyphony.personas.readers import car, limited, posts, zstandard_stream
from polyphony.personas.readers import reddit_dump as dumps
from polyphony.personas.readers.json_stream import MOST_RECORD, JsonStream, json_items
from polyphony.personas.readers.markup import Markup, unescaped
from polyphony.personas.readers.posts import read_posts

CASES = Path(__file__).parent / "cases"
# Acts by verb, and problems by kind, of each case.
RIGHT = {
    "x01-archive-2019-top-level.zip": ({"post": 12}, {}),
    "x01b-archive-2020-data-tweet.zip": ({"post": 12}, {}),
    "x02-archive-2016.zip": ({"post": 12}, {}),
    "x02b-tweets-2016.csv": ({"post": 12}, {}),
    "x03-note-tweets.zip": ({"post": 12}, {}),
    "x04-backslashes.zip": ({"post": 12}, {}),
    "x05-rezipped-mac.zip": ({"post": 12}, {}),
    "x06-same-tweet-in-two-parts.zip": ({"post": 13}, {"unusable record": 1, "dates out of order": 11}),
    "x07-quote-links.zip": ({"post": 13, "quote": 8}, {}),
    "x08-community-tweets.zip": ({"post": 12}, {"not public": 5}),
    "x09-no-account.zip": ({"post": 12}, {}),
    "x10-one-bad-date.zip": ({"post": 12}, {"unusable record": 1}),
    "x11-emoji-escapes.zip": ({"post": 13}, {}),
    "x12-half-emoji.zip": ({"post": 13}, {"control characters": 1}),
    "x13-bom.zip": ({"post": 12}, {}),
    "x14-trailing-semicolon.zip": ({"post": 12}, {}),
    "x15-empty-tweets-full-part.zip": ({"post": 12}, {}),
    "x16-deleted.zip": ({"post": 12}, {}),
    "m01/outbox.json": ({"post": 10}, {"not public": 2}),
    "m02/outbox.json": ({"post": 12, "repost": 1}, {"missing text": 1}),
    "m03-mastodon-rezipped.zip": ({"post": 10}, {}),
    "m04/outbox.json": ({"post": 12}, {}),
    "m05/outbox.json": ({"post": 10}, {}),
    "m06/outbox.json": ({"post": 11}, {}),
    "m07/outbox.json": ({"post": 11}, {"control characters": 1}),
    "m08/outbox.json": ({"post": 12}, {}),
    "b00-plain.car": ({"post": 12}, {}),
    "b01-year-0000.car": ({"post": 12}, {"unusable record": 1}),
    "b02-follow-without-date.car": ({"post": 12}, {"unusable record": 1}),
    "b05-odd-but-valid-dates.car": ({"post": 11}, {"dates out of order": 1}),
    "b06-post-with-http-date.car": ({"post": 11}, {"unusable record": 1}),
    "b07-author-feed.json": ({"post": 12}, {}),
    "b08-bom.json": ({"post": 12}, {}),
    "b09-did-web.json": ({"post": 12}, {}),
    "r01-float-dates.zst": ({"reply": 14}, {"unknown target": 14}),
    "r02-string-dates.zst": ({"reply": 14}, {"unknown target": 14}),
    "r03-window-2gib.zst": ({"reply": 14}, {"unknown target": 14}),
    "r03b-window-1gib.zst": ({"reply": 14}, {"unknown target": 14}),
    "r04-two-frames.zst": ({"reply": 28}, {"dates out of order": 13, "unknown target": 28}),
    "r05-cut-download.zst": ({"reply": 1259}, {"ends early": 1, "unknown target": 1259}),
    "r06-blank-last-line.zst": ({"reply": 14}, {"unknown target": 14}),
    "r07-one-broken-line.zst": ({"reply": 14}, {"unusable record": 1, "dates out of order": 6, "unknown target": 14}),
    "r08-same-comment-twice.zst": ({"reply": 14}, {"unusable record": 1, "unknown target": 14}),
    "r09-null-body-deleted.zst": ({"reply": 15}, {"unusable record": 1, "unknown target": 15}),
    "r10-our-columns.jsonl.zst": ({"post": 12}, {}),
    "r11-crlf.zst": ({"reply": 14}, {"unknown target": 14}),
}  # fmt: skip


def counted(corpus):
    return (
        dict(Counter(act.verb.value for act in corpus.acts.values())),
        {problem.kind: problem.count for problem in corpus.problems},
    )


@pytest.mark.parametrize("name", RIGHT)
def test_a_case_is_read_right(name):
    assert counted(read_posts(CASES / name)) == RIGHT[name]


def test_every_case_of_an_export_is_here():
    names = {str(path.relative_to(CASES)) for path in CASES.rglob("*") if path.is_file() and path.name[0] in "xmro"}
    assert {name for name in names if name.startswith(("x", "m0", "r"))} - set(RIGHT) == {"r05b-cut-small.zst"}


def refusal(path):
    """The one line that refuses a file."""
    with pytest.raises(InputError) as caught:
        read_posts(path)
    line = str(caught.value)
    assert line.isprintable() and path.name in line
    return line


def test_a_dump_that_is_cut_before_its_first_line_says_so():
    assert "is cut off, its end is missing: download it again" in refusal(CASES / "r05b-cut-small.zst")


def test_a_long_post_is_read_whole():
    acts = read_posts(CASES / "x03-note-tweets.zip").acts
    assert acts["1000"].text == ("This is a long post that a paying member wrote. " * 12).strip()
    assert acts["1001"].text == "short note number 1 about tea"


def test_long_posts_are_found_by_second_and_by_how_they_begin(tmp_path):
    def long_note(at, text):
        return {"noteTweet": {"createdAt": at, "core": {"text": text}}}

    wholes = [f"{name} {'likes tea & cake ' * 30}end" for name in ("Ada", "Bo", "Cy")]
    tweets = [tweet(number, whole[:200].replace("&", "&amp;") + "… https://t.co/ab") for number, whole in
              enumerate(wholes, 1)]  # fmt: skip
    tweets.append(tweet(9, "no long one… https://t.co/cd"))
    path = x_archive(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data/tweets-part2.js", f"window.YTD.tweets.part2 = {json.dumps(tweets)}".replace(
            '"id_str": "', '"id_str": "10'))  # fmt: skip
        notes = [long_note("2018-10-10T20:01:24.000Z", wholes[0]), long_note("2018-10-10T20:01:24.000Z", wholes[1]),
                 long_note("2018-10-10T20:02:24.000Z", wholes[1]), long_note("2018-10-10T21:02:24.000Z", wholes[2]),
                 {"noteTweet": 7}, 8]  # fmt: skip
        archive.writestr("data/note-tweet.js", f"window.YTD.note_tweet.part0 = {json.dumps(notes)}")
    acts = read_posts(path).acts
    assert [acts[f"10{number}"].text for number in (1, 2, 3, 9)] == [*wholes, "no long one… https://t.co/cd"]


def test_an_archive_of_2016_is_read_from_its_table_alone(tmp_path):
    rows = ("tweet_id,in_reply_to_status_id,timestamp,text,retweeted_status_id,expanded_urls\r\n"
            '1,,2016-03-01 10:00:00 +0000,"one, two",,\r\n2,1,2016-03-01 11:00:00 +0100,yes,,\r\n'
            "3,,2016-03-02 10:00:00 +0000,RT @bo: x,99,\r\n"
            "4,,2016-03-03 10:00:00 +0000,look,,https://twitter.com/ada/status/1\r\n")  # fmt: skip
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/tweets.csv", "\ufeff" + rows)
        archive.writestr("a/data/js/user_details.js", 'var user_details = {"screen_name": "ada"}')
    acts = read_posts(path).acts
    assert [(act.verb, act.text, act.target) for act in acts.values()] == [
        (Verb.POST, "one, two", None), (Verb.REPLY, "yes", "1"), (Verb.REPOST, "", None), (Verb.QUOTE, "look", "1"),
    ]  # fmt: skip
    assert acts["2"].at.isoformat() == "2016-03-01T10:00:00+00:00"


@pytest.mark.parametrize(
    "link, is_quote",
    [
        ("https://www.x.com/ada/status/1", True), ("https://m.twitter.com/ada/statuses/1", True),
        ("https://x.com/i/status/1", True), ("https://twitter.com/#!/ada/status/1", True),
        ("https://x.com/ada/status/1/video/1?s=20", True), ("https://X.com/ada/status/1", True),
        ("https://x.com.evil.example/ada/status/1", False), ("https://x.com/ada/status/4", False),
        ("https://x.com/ada/status/1/analytics", False), ("http://[x", False), (["x"], False),
        ("https://x.com/ada/lists/1", False),
    ],
)  # fmt: skip
def test_links_to_tweets_are_quotes_in_all_their_shapes(tmp_path, link, is_quote):
    path = x_archive(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        quote = tweet(5, "see", entities={"urls": [{"expanded_url": link}]}) | {}
        quote["tweet"]["id_str"] = "4"
        archive.writestr("data/tweets-part0.js", f"window.YTD.tweets.part0 = {json.dumps([quote])}")
    assert (read_posts(path).acts["4"].verb is Verb.QUOTE) is is_quote


# One bad record of an export: it alone is left out.
BAD_TWEETS = [None, 7, [], "x", {"tweet": None}, {"tweet": {"id_str": {"a": 1}}}, {}, {"tweet": {
    "id_str": "77", "created_at": ["x"], "full_text": "x"}}, {"tweet": {"id_str": "78", "full_text": "x",
    "created_at": "Wed Foo 10 20:01:24 +0000 2018"}}, {"tweet": {"id_str": "79", "full_text": "x",
    "created_at": "Wed Oct 10 20:01:24 +0000 0000"}}]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_TWEETS, ids=range(len(BAD_TWEETS)))
def test_a_bad_tweet_is_left_out(tmp_path, bad):
    path = x_archive(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data/tweets-part2.js", f"window.YTD.tweets.part2 = {json.dumps([bad, tweet(9, 'after')])}")
    corpus = read_posts(path)
    assert len(corpus.acts) == 5 and corpus.acts["9"].text == "after"
    assert [(problem.kind, problem.count) for problem in corpus.problems][0] == ("unusable record", 1)
    assert "tweets-part2.js: tweet 1" in corpus.problems[0].examples[0] and corpus.problems[0].examples[0].isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "http://[x"}, {"actor": "https://tea．example℀/users/a"}, {"actor": ["x"]}, {"actor": {"a": 1}},
        {"actor": None}, {"object": {"id": ["x"], "content": "y", "published": "2024-05-01T12:00:00Z"}},
        {"object": {"id": "x", "content": "y", "published": {"a": "b"}}}, {"published": 1e400, "type": "Announce",
        "object": "https://tea.example/1"},
    ],
)  # fmt: skip
def test_a_bad_toot_is_left_out(tmp_path, change):
    content = outbox()
    content["orderedItems"].append(content["orderedItems"][0] | change)
    path = tmp_path / "outbox.json"
    path.write_text(json.dumps(content))
    corpus = read_posts(path)
    assert counted(corpus) == ({"post": 1, "reply": 1, "repost": 1}, {"unusable record": 1})


@pytest.mark.parametrize("author", [["ada"], {"name": "ada"}, 7, True])
def test_an_author_who_is_no_name_is_left_out_of_a_dump(tmp_path, author):
    path = reddit_dump(tmp_path / "comments.zst")
    lines = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    bad = {"id": "z", "author": author, "body": "hi", "created_utc": 1_500_000_000, "parent_id": "t3_s1"}
    path.write_bytes(zstandard.ZstdCompressor().compress(lines + json.dumps(bad).encode()))
    corpus = read_posts(path)
    assert len(corpus.acts) == 11 and counted(corpus)[1]["unusable record"] == 1


def test_a_zstandard_file_with_our_columns_is_a_table_of_ones_own(tmp_path):
    lines = (CASES / "r10-our-columns.jsonl.zst").read_bytes()
    path = tmp_path / "posts.zst"
    content = zstandard.ZstdDecompressor().decompress(lines)
    path.write_bytes(zstandard.ZstdCompressor().compress(content + b'{"author": []}'))
    assert "posts.zst:13: author" in refusal(path)


# Where a file is cut off or damaged, what stands before is read.
@pytest.mark.parametrize(
    "name, share, fewest",
    [("outbox.json", 0.6, 1), ("records.json", 0.6, 2), ("repo.car", 0.7, 1), ("mastodon.tar.gz", 0.8, 1)],
)
def test_a_file_that_ends_early_gives_what_stands_before(tmp_path, name, share, fewest):
    whole = MAKERS[name](tmp_path / name)
    content = whole.read_bytes()
    whole.write_bytes(content[: int(share * len(content))])
    if name in ("repo.car",):
        assert "ends in the middle of a block" in refusal(whole), "its commit stands at the end"
        return
    corpus = read_posts(whole)
    assert len(corpus.acts) >= fewest and counted(corpus)[1]["ends early"] == 1


def test_a_repository_whose_end_is_missing_gives_the_records_before(tmp_path):
    """Servers write the commit first."""
    path = bluesky_car(tmp_path / "repo.car")
    stream = io.BytesIO(path.read_bytes())
    header = stream.read(car._varint(stream))
    blocks = [stream.read(size) for size in iter(lambda: car._varint(stream), None)]
    packed = [varint(len(block)) + block for block in (header, *reversed(blocks))]
    path.write_bytes(b"".join(packed))
    assert len(read_posts(path).acts) == 6
    path.write_bytes(b"".join(packed)[:-200])
    corpus = read_posts(path)
    assert 0 < len(corpus.acts) < 6 and {"ends early", "unusable record"} & set(counted(corpus)[1])


def zip_member_changed(path, name, change):
    """A ZIP archive in which the packed bytes of one file are changed."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    content = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(name)
    change(content, start, info)
    path.write_bytes(bytes(content))
    return path


def test_a_damaged_part_of_an_archive_does_not_spoil_the_others(tmp_path):
    def flip(content, start, info):
        content[start + info.compress_size // 2] ^= 0xFF

    path = zip_member_changed(x_archive(tmp_path / "x.zip"), "data/tweets-part1.js", flip)
    corpus = read_posts(path)
    assert len(corpus.acts) >= 3 and counted(corpus)[1]["ends early"] == 1
    assert "tweets-part1.js" in corpus.problems[0].examples[0]


def write_mastodon_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("outbox.json", json.dumps(outbox()))
    return path


def wrong_method(content, start, info):
    content[content.rindex(b"PK\x01\x02") + 10] = 97


def wrong_offset(content, start, info):
    place = content.rindex(b"PK\x01\x02") + 42
    content[place : place + 4] = struct.pack("<I", 7)


def encrypted(content, start, info):
    content[content.rindex(b"PK\x01\x02") + 8] |= 1


def wrong_checksum(content, start, info):
    content[content.rindex(b"PK\x01\x02") + 16] ^= 1


@pytest.mark.parametrize(
    "change, reason",
    [
        (wrong_method, "is packed by method 97"), (wrong_offset, "cannot be read"), (encrypted, "is encrypted"),
        (wrong_checksum, "is cut off or damaged (\"Bad CRC-32"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("maker, name", [(write_mastodon_zip, "outbox.json"), (x_archive, "data/tweet-headers.js")])
def test_members_that_cannot_be_read_are_one_line(tmp_path, maker, name, change, reason):
    """The last member is changed: of the X archive one that nobody reads, so that it is read."""
    path = zip_member_changed(maker(tmp_path / "a.zip"), name, change)
    if maker is x_archive:
        assert len(read_posts(path).acts) == 4
    else:
        assert reason in refusal(path)


def test_an_archive_whose_end_is_missing_says_so(tmp_path):
    path = x_archive(tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[:-100])
    assert "it is cut off: its end, where the list of members stands, is missing" in refusal(path)


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/t\u00e9.js", "x")
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    assert "the name of a file in it is not UTF-8: pack the archive again" in refusal(path)


def test_equal_names_links_and_devices_in_archives_are_harmless(tmp_path):
    path = x_archive(tmp_path / "x.zip")
    link = zipfile.ZipInfo("data/tweets-part5.js")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("data/tweets-part1.js", f"window.YTD.tweets.part1 = {json.dumps([tweet(7, 'again')])}")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("/data/tweets-part6.js", f"window.YTD.tweets.part6 = {json.dumps([tweet(8, 'root')])}")
    corpus = read_posts(path)
    assert len(corpus.acts) == 6 and counted(corpus)[1]["ends early"] == 1
    tar = tmp_path / "m.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        for name, kind in (("a/outbox.json", tarfile.SYMTYPE), ("b/outbox.json", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/dev/zero"
            archive.addfile(info)
        content = json.dumps(outbox()).encode()
        info = tarfile.TarInfo("../../outbox.json")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    assert len(read_posts(tar).acts) == 3


# Files that claim or hold more than they may.
def test_json_that_is_nested_deeply_is_one_line(tmp_path):
    deep = "[" * 3_000_000
    path = tmp_path / "outbox.json"
    path.write_text('{"orderedItems": [' + json.dumps(outbox()["orderedItems"][0]) + f', {{"a": {deep}')
    corpus = read_posts(path)
    assert len(corpus.acts) == 1 and "nested too deeply" in corpus.problems[0].examples[0]
    path.write_text(f'{{"orderedItems": [{deep}')
    assert "nested too deeply" in refusal(path)
    path = x_archive(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data/tweets-part2.js", f"window.YTD.x = [{deep}")
    assert len(read_posts(path).acts) == 4


def test_a_record_longer_than_the_limit_is_refused(tmp_path):
    path = tmp_path / "outbox.json"
    path.write_text('{"orderedItems": [{"content": "' + "x" * (MOST_RECORD + 600_000) + '"}]}')
    assert f"a record is longer than {MOST_RECORD:,} characters, the limit" in refusal(path)


def test_a_line_longer_than_the_limit_is_left_out(tmp_path):
    path = reddit_dump(tmp_path / "comments.zst")
    lines = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    long = b'{"author": "ada", "body": "' + b"x" * (MOST_RECORD + 5) + b'"}\n'
    path.write_bytes(zstandard.ZstdCompressor().compress(long + lines))
    corpus = read_posts(path)
    assert len(corpus.acts) == 11 and "longer than 8,388,608 bytes, the limit" in corpus.problems[0].examples[0]


def tar_bomb(path, name, kind, size=400 << 20):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    header, piece = info.tobuf(tarfile.USTAR_FORMAT), gzip.compress(b" " * (1 << 20))
    path.write_bytes(gzip.compress(header) + piece * (size >> 20))
    return path


@pytest.mark.parametrize("name, kind", [("outbox.json", tarfile.REGTYPE), ("x", tarfile.XHDTYPE)])
def test_a_bomb_in_a_tar_archive_is_refused_while_it_is_read(tmp_path, name, kind):
    """Headers of longer names are no reason to take as much memory as they claim."""
    path = tar_bomb(tmp_path / "m.tar.gz", name, kind)
    said, peak = in_other_process(path)
    assert "unpacks to more than 314,572,800 bytes, the limit for a file of its size" in said
    assert peak < 0.4, f"{peak} GiB"


def in_other_process(path):
    """What reading a file comes to, and the peak memory of it in GiB."""
    program = (
        "import sys; from pathlib import Path; from polyphony.errors import InputError\n"
        "from polyphony.personas.readers.posts import read_posts\n"
        "try:\n    print(len(read_posts(Path(sys.argv[1])).acts))\nexcept InputError as error:\n    print(error)"
    )
    return run_apart([sys.executable, "-c", program, str(path)], timeout=120)


def test_a_tar_header_of_negative_size_is_one_line(tmp_path):
    info = tarfile.TarInfo("x")
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "m.tar.gz"
    path.write_bytes(gzip.compress(bytes(block) * 3))
    assert "not a readable archive" in refusal(path)


@pytest.mark.parametrize("name, log", [("r03-window-2gib.zst", 31), ("r03b-window-1gib.zst", 30)])
def test_a_window_of_gibibytes_takes_only_what_the_content_needs(name, log):
    window = zstandard.get_frame_parameters((CASES / name).read_bytes()).window_size
    assert window == 1 << log
    said, peak = in_other_process(CASES / name)
    assert said.strip() == "14" and peak < 0.4, f"{peak} GiB"


def test_a_window_that_needs_more_memory_than_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zstandard_stream, "MOST_MEMORY", 1 << 20)
    path = tmp_path / "comments.zst"
    parameters = zstandard.ZstdCompressionParameters(window_log=31, compression_level=1)
    line = json.dumps({"author": "ada", "body": "x", "created_utc": 1, "id": "x", "more": "y" * 900}).encode() + b"\n"
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path.write_bytes(packer.compress(line * 2000) + packer.flush())
    line = refusal(path)
    assert "needs a window of 2,147,483,648 bytes; the limit is 1,048,576 above the file's size" in line
    assert "zstd -d --long=31" in line


def test_a_dump_that_unpacks_to_very_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limited, "LEAST_ALLOWANCE", 1 << 20)
    path = tmp_path / "comments.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(b'{"author": "a"}\n' * (1 << 17)))
    assert "unpacks to more than 1,048,576 bytes, the limit" in refusal(path)


def test_memory_does_not_grow_with_a_dump(tmp_path):
    """The short form of the gigabyte in test_exports: twice the rows, the same memory."""
    peaks = []
    for rows in (20_000, 80_000):
        path = tmp_path / f"{rows}.zst"
        with zstandard.open(path, "wt") as stream:
            for number in range(rows):
                # Everybody writes less than counts, so that what is kept does not grow.
                row = {"id": f"c{number}", "author": f"a{number % 10_000}", "body": f"words {number}", 
                       "more": "x" * 400, "created_utc": 1_500_000_000 + number, "parent_id": "t3_x"}  # fmt: skip
                stream.write(json.dumps(row) + "\n")
        said, peak = in_other_process(path)
        assert "none of" in said and "of an author with enough texts" in said
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 0.03, peaks


def test_authors_beyond_the_limit_are_dropped_from_the_fewest_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(dumps, "MOST_AUTHORS", 50)
    rows = [{"id": f"{number}", "author": "ada" if number % 3 == 0 else f"a{number}", "body": f"words {number}",
             "created_utc": 1_500_000_000 + number, "parent_id": "t3_x"} for number in range(300)]  # fmt: skip
    path = tmp_path / "comments.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress("\n".join(map(json.dumps, rows)).encode()))
    assert Counter(act.author for act in read_posts(path).acts.values()) == {"ada": 100}


@pytest.mark.parametrize("line", [b"", b"{}", b"7", b"{"])
def test_a_dump_of_lines_without_records_is_refused(tmp_path, monkeypatch, line):
    monkeypatch.setattr(dumps, "MOST_BAD_LINES", 50)
    path = tmp_path / "comments.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress((line + b"\n") * 51))
    assert "over 50 lines hold no record, the limit" in refusal(path)


def test_more_records_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(posts, "MOST_RECORDS", 20)
    path = tmp_path / "outbox.json"
    path.write_text(json.dumps({"orderedItems": [7] * 21}))
    assert "holds over 20 records, the limit" in refusal(path)


def car_of(path, blocks, root):
    """A repository of blocks in DAG-CBOR."""
    header = cbor2.dumps({"version": 1, "roots": [cbor2.CBORTag(42, b"\0" + root)]})
    packed = [header, *(cid + content for cid, content in blocks.items())]
    path.write_bytes(b"".join(varint(len(block)) + block for block in packed))
    return path


def put(blocks, value, content=None):
    content = cbor2.dumps(value) if content is None else content
    cid = b"\x01\x71\x12\x20" + hashlib.sha256(content).digest()
    blocks[cid] = content
    return cid


def link(cid):
    return cbor2.CBORTag(42, b"\0" + cid)


def commit_of(blocks, root):
    return put(blocks, {"did": DID, "version": 3, "data": link(root)})


def post_record(text="tea"):
    return {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2024-05-01T12:00:00Z"}


def test_a_repository_that_links_into_a_diamond_is_read_once(tmp_path):
    blocks = {}
    record = put(blocks, post_record())
    node = put(blocks, {"l": None, "e": [{"p": 0, "k": b"app.bsky.feed.post/a", "v": link(record), "t": None}]})
    for level in range(40):
        entry = {"p": 0, "k": b"app.bsky.feed.post/%d" % level, "v": link(record), "t": link(node)}
        node = put(blocks, {"l": link(node), "e": [entry]})
    began = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(car, "MOST_READINGS", 99)
        corpus = read_posts(car_of(tmp_path / "repo.car", blocks, commit_of(blocks, node)))
    assert len(corpus.acts) == 41 and time.process_time() - began < 2


def test_one_block_named_very_often_is_refused(tmp_path):
    blocks = {}
    record = put(blocks, post_record("x" * 100_000))
    entries = [{"p": 0, "k": b"app.bsky.feed.post/%d" % n, "v": link(record), "t": None} for n in range(2000)]
    root = commit_of(blocks, put(blocks, {"l": None, "e": entries}))
    assert "names the same blocks more than 4 times over" in refusal(car_of(tmp_path / "repo.car", blocks, root))


@pytest.mark.parametrize(
    "content",
    [
        b"\xc2\x5a\x00\x01\x00\x00" + b"\xff" * 65536, b"\x81" * 100_000, b"\x9b\x7f" + b"\xff" * 7,
        b"\x5b\x3f" + b"\xff" * 7, bytes.fromhex("c4821b7fffffffffffffff01"), bytes.fromhex("d81e820100"),
        b"\xd8\x23" + cbor2.dumps("((("), bytes.fromhex("c11b7fffffffffffffff"), b"\xd8\x1c\x81\xd8\x1d\x00", b"",
        cbor2.dumps({"$type": "app.bsky.feed.post", "text": 1 << 90_000, "createdAt": 1 << 90_000}),
        cbor2.dumps({"$type": ["x"], "text": {}, "createdAt": []}), cbor2.dumps([1]), cbor2.dumps({1: 2}),
    ],
)  # fmt: skip
def test_hostile_cbor_costs_its_record_alone(tmp_path, content):
    blocks = {}
    good, bad = put(blocks, post_record()), put(blocks, None, content)
    entries = [{"p": 0, "k": b"app.bsky.feed.post/%d" % n, "v": link(cid), "t": None}
               for n, cid in enumerate((good, bad))]  # fmt: skip
    root = commit_of(blocks, put(blocks, {"l": None, "e": entries}))
    corpus = read_posts(car_of(tmp_path / "repo.car", blocks, root))
    assert [act.text for act in corpus.acts.values()] == ["tea"]
    (tmp_path / "head.car").write_bytes(varint(len(content)) + content)
    assert "head.car" in refusal(tmp_path / "head.car")


@pytest.mark.parametrize(
    "entry",
    [
        {"p": -1, "k": b"x"}, {"p": "x", "k": b"x"}, {"p": 1 << 70, "k": b"x"}, {"p": 0, "k": "x"}, 7, {},
        {"p": 0, "k": b"x" * 2000},
    ],
)  # fmt: skip
def test_a_tree_that_is_none_is_one_line(tmp_path, entry):
    blocks = {}
    root = commit_of(blocks, put(blocks, {"l": 7, "e": [entry]}))
    refusal(car_of(tmp_path / "repo.car", blocks, root))


MARKUP = {
    "<a ": 40_000, "<!--": 30_000, "<": 120_000, "&": 120_000, "<b>": 40_000, '<a "': 30_000, "<![foo[": 17_000,
    "<!DOCTYPE ": 12_000, "<?": 60_000, "</": 60_000, "<p>": 40_000, "<b><p>": 20_000, "<a><div>": 15_000,
    "<table>": 20_000, "<script>": 15_000,
}  # fmt: skip


@pytest.mark.parametrize("part", MARKUP)
def test_markup_takes_linear_time_whatever_is_left_open(part):
    began = time.process_time()
    Markup().words(part * MARKUP[part] + "x")
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "markup, words",
    [
        ("<p>Tea &amp; cake<br>now</p><p>and <a href='x'>here</a></p>", "Tea & cake\nnow\nand here"),
        ("a < b <3 &lt;b&gt; AT&T &hellip; &#128; &#x1F99C; &foo;", "a < b <3 <b> AT&T … € 🦜 &foo;"),
        ("x <![foo[ y ]]> z", "x  z"), ("one\r\ntwo", "one\ntwo"), ("", ""), ("<p></p>", ""),
        ("</div>after<p>x", "after\nx"), ("<ul><li>a</li><li>b</li></ul>", "ab"), ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
    ],
)  # fmt: skip
def test_the_words_of_markup(markup, words):
    reader = Markup()
    assert [reader.words(one) for one in (markup, "<p>next", markup)] == [words, "next", words]


def test_a_reference_of_very_many_digits_is_left_as_it_is():
    assert unescaped("&#" + "9" * 5000 + ";").startswith("&#999")


def test_control_characters_and_half_emoji_in_markup_are_removed_and_counted(tmp_path):
    content = outbox()
    content["orderedItems"][0]["object"]["content"] = "<p>a\x00\x1b[2Jb \ud83d c</p>"
    path = tmp_path / "outbox.json"
    path.write_text(json.dumps(content))
    corpus = read_posts(path)
    assert next(iter(corpus.acts.values())).text == "ab  c" and counted(corpus)[1] == {"control characters": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_json_is_read_in_every_encoding_that_the_standard_had(tmp_path, encoding):
    path = tmp_path / "outbox.json"
    path.write_bytes(json.dumps(outbox(), ensure_ascii=False).encode(encoding))
    assert len(read_posts(path).acts) == 3


@pytest.mark.parametrize("piece", [1, 2, 7, 100])
def test_json_is_the_same_in_whatever_pieces_it_comes(monkeypatch, piece):
    items = [1, 22, 'a🦜\\"', [1.5, {"b": None}], {}, [], True, -3e5, "é"]
    document = json.dumps({"x": {"list": [9]}, "list": items, "y": 1}, indent=3).encode()
    monkeypatch.setattr("polyphony.personas.readers.json_stream._CHUNK", piece)

    class Pieces(io.BytesIO):
        def read(self, size):
            return super().read(min(size, max(piece, 8)))

    assert list(json_items(Pieces(document), "list", "x.json")) == items
    assert list(JsonStream(io.BytesIO(json.dumps(items).encode()), "x.json").items()) == items


def test_a_population_of_an_export_with_long_handles_has_people():
    assert len(load_population(CASES / "m04" / "outbox.json").personas) == 1
    handle = load_population(CASES / "b09-did-web.json").personas[0].handle
    assert handle == "did:web:accounts.a-rather-long-community-name.example.org:users:ada"
