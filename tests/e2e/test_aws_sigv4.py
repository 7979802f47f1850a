# SPDX-License-Identifier: Apache-2.0
"""Goal: on thousands of random requests our signature is the one that botocore, AWS's own client, makes; what botocore
signs or presigns we accept; and what is changed by one byte we refuse."""

import datetime
import json
import os
import pathlib
import subprocess

import pytest

botocore = pytest.importorskip("botocore")
from botocore import auth, awsrequest, credentials  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOW = datetime.datetime(2026, 11, 22, 5, 42, 33)
NOW_S = int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp())
REQUESTS = 2500
WORDS = "abcXYZ019-_.~ /:+=&%@,;é☃'\"()*!$#[]{}|\\^`<>?"


def tool():
    if os.environ.get("HEARTH_BUILD"):
        return pathlib.Path(os.environ["HEARTH_BUILD"]) / "tests/tools/sigv4tool"
    built = sorted(ROOT.glob("build*/tests/tools/sigv4tool"), key=lambda p: p.stat().st_mtime)
    return built[-1] if built else pytest.skip("sigv4tool is not built")


def ours(mode, requests):
    out = subprocess.run([tool(), mode], input="".join(json.dumps(r) + "\n" for r in requests), text=True,
                         capture_output=True, check=True)
    lines = out.stdout.splitlines()
    assert len(lines) == len(requests)
    return lines


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch):
    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return NOW

    monkeypatch.setattr(auth.datetime, "datetime", Clock)


def word(rng, n=12, letters=WORDS):
    return "".join(rng.choice(letters) for _ in range(rng.randint(0, n)))


def quoted(text):
    from urllib.parse import quote
    return quote(text, safe="-_.~")


def some_path(rng):
    parts = [rng.choice([quoted(word(rng)), quoted(word(rng)), ".", "..", ""]) for _ in range(rng.randint(0, 5))]
    return "/" + "/".join(parts)


def some_query(rng):
    pairs = [(quoted(word(rng) or "k"), quoted(word(rng))) for _ in range(rng.choice([0, 0, 1, 2, 5]))]
    if pairs and rng.random() < 0.3:
        pairs.append((pairs[0][0], quoted(word(rng))))  # a name twice
    return "&".join(k + "=" + v for k, v in pairs)


def some_headers(rng):
    names = ["X-Amz-Target", "Content-Type", "x-amz-a", "x-amz-a-b", "X-AMZ-AB", "My-Header"]
    rng.shuffle(names)
    ascii_words = WORDS.replace("é", "").replace("☃", "") + "  \t"
    return {n: word(rng, 30, ascii_words) or "v" for n in names[:rng.randint(0, len(names))]}


def some_request(rng):
    host = rng.choice(["ec2.us-east-1.amazonaws.com", "127.0.0.1:5000", "[::1]:5556", "example.com"])
    return {"method": rng.choice(["GET", "POST", "PUT", "DELETE"]), "host": host, "path": some_path(rng),
            "query": some_query(rng), "given": some_headers(rng), "body": rng.randbytes(rng.choice([0, 1, 80, 3000])),
            "id": word(rng, 20, "ABCDEFGHIJ0123456789") or "A", "secret": word(rng, 40) or "s",
            "token": rng.choice([None, None, word(rng, 200, "abcABC012+/=") or "t"]),
            "region": rng.choice(["us-east-1", "cn-north-1", "eu-west-3"]), "service": rng.choice(["ec2", "sts", "sqs"])}


def aws_request(r):
    url = f"http://{r['host']}{r['path']}" + ("?" + r["query"] if r["query"] else "")
    request = awsrequest.AWSRequest(method=r["method"], url=url, headers=dict(r["given"]), data=r["body"])
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    return request


def keys(r):
    return credentials.Credentials(r["id"], r["secret"], r["token"])


def for_tool(r, headers, **more):
    return {"method": r["method"], "path": r["path"], "query": r["query"], "headers": headers, "body": r["body"].hex(),
            "id": r["id"], "secret": r["secret"], "token": r["token"] or "", "region": r["region"],
            "service": r["service"], "now": NOW_S, **more}


def signed_by_botocore(r):
    """Its headers, Authorization and host with them."""
    request = aws_request(r)
    auth.SigV4Auth(keys(r), r["service"], r["region"]).add_auth(request)
    return [["Host", r["host"]]] + [[k, v] for k, v in request.headers.items()]


def test_the_same_signature_as_botocore(rng):
    requests = [some_request(rng) for _ in range(REQUESTS)]
    theirs = [signed_by_botocore(r) for r in requests]
    inputs = [for_tool(r, [h for h in hs if h[0] != "Authorization"]) for r, hs in zip(requests, theirs)]
    expected = [dict(hs)["Authorization"] for hs in theirs]
    differ = [(i, got, want) for i, got, want in zip(inputs, ours("sign", inputs), expected) if got != want]
    assert not differ, f"{len(differ)} of {REQUESTS} differ, first: {differ[0]}"


def changed(rng, r):
    """One of its parts, changed by a byte."""
    part = rng.choice(["body", "path", "query", "method", "header", "secret"])
    new = dict(r, headers=[list(h) for h in r["headers"]])
    if part == "body":
        new["body"] = r["body"] + "00"
    elif part == "path":
        new["path"] = r["path"].rstrip("/") + "/x"
    elif part == "query":
        new["query"] = r["query"] + ("&" if r["query"] else "") + "x=1"
    elif part == "method":
        new["method"] = "HEAD"
    elif part == "secret":
        new["secret"] = r["secret"] + "x"
    else:
        signed = dict(r["headers"])["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        headers = [h for h in new["headers"] if h[0].lower() in signed and h[0] != "X-Amz-Date"]
        rng.choice(headers)[1] += "x"
    return new


def test_what_botocore_signs_is_accepted_and_what_was_changed_is_not(rng):
    requests = [some_request(rng) for _ in range(REQUESTS)]
    inputs = [for_tool(r, signed_by_botocore(r)) for r in requests]
    said = ours("verify", inputs)
    assert [s for s in said if s != "ok"] == []
    said = ours("verify", [changed(rng, i) for i in inputs])
    assert [s for s in said if not s.startswith("not_permitted:")] == []


def test_what_botocore_presigns_is_accepted_until_it_expires(rng):
    requests, inputs = [dict(some_request(rng), given={}) for _ in range(500)], []
    for r in requests:
        r["body"], r["method"] = b"", "GET"
        request = aws_request(r)
        auth.SigV4QueryAuth(keys(r), r["service"], r["region"], expires=600).add_auth(request)
        r["query"] = request.url.split("?", 1)[1]
        inputs.append(for_tool(r, [["Host", r["host"]]]))
    assert [s for s in ours("verify", inputs) if s != "ok"] == []
    assert [s for s in ours("verify", [dict(i, now=NOW_S + 600) for i in inputs]) if s != "ok"] == []
    late = ours("verify", [dict(i, now=NOW_S + 601) for i in inputs])
    assert [s for s in late if not s.startswith("conflict: Signature expired")] == []
    other = ours("verify", [dict(i, secret=i["secret"] + "x") for i in inputs])
    assert [s for s in other if not s.startswith("not_permitted:")] == []
