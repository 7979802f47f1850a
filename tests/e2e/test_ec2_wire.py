# SPDX-License-Identifier: Apache-2.0
"""Goal: who may call hearth-ec2, and what comes back over the wire: signatures that are wrong in every way are refused, replies
are framed as AWS's are, and nothing that somebody sends makes it fail, grow, answer 5xx or stop to answer others."""

import contextlib
import datetime
import itertools
import os
import re
import select
import socket
import sqlite3
import urllib.parse
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("boto3", reason="needs python3-boto3")

from ec2 import KEY, SECRET  # noqa: E402
from hearth import wait_for  # noqa: E402

SHARE = 0.5  # of its tests in a sample: see conftest.py

NS = "{http://ec2.amazonaws.com/doc/2016-11-15/}"
BODY = b"Action=DescribeRegions&Version=2016-11-15"


def local(tag):
    return tag.split("}")[-1]


def accepted(reply):
    return reply.status == 200 and ET.fromstring(reply.body).tag.endswith("Response")


def refused(reply, *codes):
    """A client error of EC2's form, with one of the codes where any are given."""
    assert 400 <= reply.status < 500, reply
    assert reply.code and (not codes or reply.code in codes), reply
    return True


def memory_kb(endpoint):
    text = open(f"/proc/{endpoint.process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1])


def alive(endpoint):
    assert endpoint.process.poll() is None, endpoint.log_text()
    assert accepted(endpoint.raw(BODY, endpoint.sign(BODY)))
    return True


# --- signatures


def test_a_right_signature(endpoint):
    assert accepted(endpoint.raw(BODY, endpoint.sign(BODY)))
    assert accepted(endpoint.raw(BODY, endpoint.sign(BODY, headers={"X-Extra": "  two   blanks ", "X-Amz-A": "1", "X-Amz-A-B": "2"})))
    for wrong_by in (-240, 240):
        at = datetime.datetime.utcnow() + datetime.timedelta(seconds=wrong_by)
        assert accepted(endpoint.raw(BODY, endpoint.sign(BODY, at=at))), "clocks may differ by some minutes"


def test_wrong_keys(endpoint):
    for how in ({"secret": SECRET + "x"}, {"secret": ""}, {"key": "AKIANOBODY"}, {"key": KEY.lower()}, {"key": KEY + "X"}):
        reply = endpoint.raw(BODY, endpoint.sign(BODY, **how))
        assert refused(reply, "AuthFailure", "SignatureDoesNotMatch") and reply.status in (401, 403), (how, reply)
    refused(endpoint.raw(BODY), "MissingAuthenticationToken", "AuthFailure", "MissingParameter")


def test_wrong_dates(endpoint):
    now = datetime.datetime.utcnow()
    for days in (-365, -1, 1, 365):
        reply = endpoint.raw(BODY, endpoint.sign(BODY, at=now + datetime.timedelta(days=days)))
        assert refused(reply, "RequestExpired", "AuthFailure", "SignatureDoesNotMatch"), days
    old = endpoint.raw(BODY, endpoint.sign(BODY, at=now - datetime.timedelta(minutes=20)))
    assert refused(old, "RequestExpired") and old.status == 400


def test_what_was_signed_is_what_counts(endpoint):
    """One byte changed after signing, anywhere, and it is refused."""
    signed = endpoint.sign(BODY, headers={"X-Amz-Extra": "one"})
    assert accepted(endpoint.raw(BODY, signed))
    refused(endpoint.raw(BODY.replace(b"Regions", b"Subnets"), signed), "AuthFailure", "SignatureDoesNotMatch")
    refused(endpoint.raw(BODY + b"&DryRun=true", signed), "AuthFailure", "SignatureDoesNotMatch")
    refused(endpoint.raw(b"", signed), "AuthFailure", "SignatureDoesNotMatch", "MissingAction")
    refused(endpoint.raw(BODY, {**signed, "X-Amz-Extra": "two"}), "AuthFailure", "SignatureDoesNotMatch")
    refused(endpoint.raw(BODY, {k: v for k, v in signed.items() if k != "X-Amz-Extra"}), "AuthFailure", "SignatureDoesNotMatch",
            "IncompleteSignature")
    refused(endpoint.raw(BODY, signed, path="/elsewhere"))
    refused(endpoint.raw(BODY, signed, path="/?Action=DescribeVpcs"))
    later = datetime.datetime.utcnow() + datetime.timedelta(seconds=9)
    refused(endpoint.raw(BODY, {**signed, "X-Amz-Date": later.strftime("%Y%m%dT%H%M%SZ")}), "AuthFailure", "SignatureDoesNotMatch")


def test_the_scope_is_part_of_it(endpoint):
    """A signature for one region, service or day is good for no other."""
    signed = endpoint.sign(BODY)
    authorization = signed["Authorization"]
    today = datetime.datetime.utcnow().strftime("%Y%m%d")
    for old, new in (("/us-east-1/", "/us-west-2/"), ("/ec2/", "/sts/"), (f"/{today}/", "/20200101/"), ("/aws4_request", "/aws5_request")):
        assert old in authorization
        reply = endpoint.raw(BODY, {**signed, "Authorization": authorization.replace(old, new)})
        assert 400 <= reply.status < 500, "the form is that of the service that was named"
    refused(endpoint.raw(BODY, endpoint.sign(BODY, service="s3")))
    refused(endpoint.raw(BODY, endpoint.sign(BODY, region="mars-north-1")))


@pytest.mark.parametrize("header", [
    "", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ", "Basic QUtJQTpzZWNyZXQ=", "Bearer x", "AWS4-HMAC-SHA256 Credential=", "AWS AKIA:x",
    "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE, SignedHeaders=host, Signature=00",
    "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/ec2/aws4_request",
    "AWS4-HMAC-SHA256 Credential=/////, SignedHeaders=;;;;, Signature=",
    "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/ec2/aws4_request, SignedHeaders=, Signature=" + "0" * 64,
    "AWS4-HMAC-SHA256 " + "Credential=a/b/c/d/e, " * 200, "AWS4-HMAC-SHA256 " + "x" * 6000, "AWS4-ECDSA-P256-SHA256 Credential=x"])
def test_no_authorization_at_all(endpoint, header):
    reply = endpoint.raw(BODY, {"Authorization": header, "X-Amz-Date": datetime.datetime.utcnow().strftime("%Y%m%dT%H%M%SZ")})
    assert 400 <= reply.status < 500, reply
    assert alive(endpoint)


def test_signatures_that_leave_something_out(endpoint):
    """A signature that does not cover the host, or that names headers which were not sent."""
    signed = endpoint.sign(BODY)
    for old, new in (("content-type;host;x-amz-date", "content-type;x-amz-date"), ("content-type;host;x-amz-date", "host;x-amz-missing"),
                     ("content-type;host;x-amz-date", "x-amz-date;host;content-type"), ("Signature=", "Signature=0"),
                     ("content-type;host;x-amz-date", ";".join(f"h{i}" for i in range(300)))):
        assert old in signed["Authorization"]
        refused(endpoint.raw(BODY, {**signed, "Authorization": signed["Authorization"].replace(old, new)}))
    for n in (0, 1, 63, 65, 128):
        short = re.sub(r"Signature=.*", "Signature=" + "a" * n, signed["Authorization"])
        refused(endpoint.raw(BODY, {**signed, "Authorization": short}))


# --- framing


def test_a_reply_is_framed_as_aws_does(endpoint):
    for action in ("DescribeRegions", "DescribeInstances", "DescribeVolumes", "DescribeSecurityGroups"):
        reply = endpoint.query(action)
        root = ET.fromstring(reply.body)
        assert root.tag == f"{NS}{action}Response", root.tag
        request_id = root.findtext(f"{NS}requestId")
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", request_id)
        assert reply.headers["x-amzn-requestid"] == request_id
        assert reply.headers["content-type"] == "text/xml;charset=UTF-8"
    assert endpoint.query("DescribeRegions").headers["x-amzn-requestid"] != endpoint.query("DescribeRegions").headers["x-amzn-requestid"]


def test_an_error_is_framed_as_aws_does(endpoint):
    reply = endpoint.query("DescribeInstances", {"InstanceId.1": "i-0123456789abcdef0"})
    root = ET.fromstring(reply.body)
    assert reply.status == 400 and root.tag == "Response", "no namespace in errors of EC2"
    assert [local(c.tag) for c in root] == ["Errors", "RequestID"]
    assert root.findtext("Errors/Error/Code") == "InvalidInstanceID.NotFound"
    assert "i-0123456789abcdef0" in root.findtext("Errors/Error/Message") and root.findtext("RequestID")


def test_sts_answers_in_its_own_form(endpoint):
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    reply = endpoint.raw(body, endpoint.sign(body, service="sts"))
    assert reply.status == 200 and ET.fromstring(reply.body).tag == "{https://sts.amazonaws.com/doc/2011-06-15/}GetCallerIdentityResponse"


# --- what a form may be


def test_actions_and_versions(endpoint):
    for body, codes in ((b"", ("MissingAction",)), (b"Version=2016-11-15", ("MissingAction",)),
                        (b"Action=&Version=2016-11-15", ("MissingAction", "InvalidAction")),
                        (b"Action=MakeCoffee&Version=2016-11-15", ("InvalidAction",)),
                        (b"Action=describeregions&Version=2016-11-15", ("InvalidAction",)),
                        (b"Action=DescribeRegions&Version=1999-01-01", ("InvalidAction", "NoSuchVersion")),
                        (b"Action=" + b"A" * 5000 + b"&Version=2016-11-15", ("InvalidAction",)),
                        (b"Action=DescribeRegions%00&Version=2016-11-15", None),
                        (b"Action=DescribeRegions&Action=DescribeVpcs&Version=2016-11-15", None)):
        reply = endpoint.raw(body, endpoint.sign(body))
        assert refused(reply, *(codes or ())), (body, reply)


@pytest.mark.parametrize("params", [
    {"MaxResults": "99999999999999999999"}, {"MaxResults": "1e3"}, {"MaxResults": " 10"}, {"MaxResults": "0x10"}, {"MaxResults": "ten"},
    {"Filter.1.Name": "instance-state-name", "Filter.x.Value.1": "running"}, {"Filter.-1.Name": "a"}, {"Filter..Name": "a"},
    {"Filter.99999999999999999999.Name": "a"}, {"InstanceId.1.2.3.4.5.6.7.8.9": "i-1"}, {"InstanceId.1": ""}, {"InstanceId.1": "i-" + "0" * 5000},
    {"InstanceId.1": "i-0123456789abcdef\x00"}, {"InstanceId.1": "\xff\xfe"}, {"InstanceId.1": "<script>&'\""}, {"DryRun": "maybe"},
    {"NoSuchParameter": "1"}, {".": ""}, {"MaxResults.1": "5"}, {"x" * 3000: "y"}],
    ids=lambda p: next(iter(p))[:30] + "=" + repr(next(iter(p.values())))[:20])
def test_parameters_that_make_no_sense(endpoint, params):
    """Each is a client's error with a reply that XML can hold."""
    reply = endpoint.query("DescribeInstances", params)
    assert refused(reply), reply
    assert alive(endpoint)


@pytest.mark.parametrize("params, want", [
    ({}, "MissingParameter"), ({"ImageId": "ami-0123456789abcdef0"}, "MissingParameter"),
    ({"ImageId": "ami-0123456789abcdef0", "MinCount": "1"}, "MissingParameter"),
    ({"ImageId": "ami-0123456789abcdef0", "MinCount": "one", "MaxCount": "1"}, None),
    ({"MinCount": "1", "MaxCount": "1", "UserData": "not base64!"}, None),
    ({"MinCount": "1", "MaxCount": "1000000000"}, None), ({"MinCount": "1", "MaxCount": "9" * 400}, None)])
def test_run_instances_with_a_part_missing(endpoint, params, want):
    reply = endpoint.query("RunInstances", params)
    assert refused(reply, *([want] if want else [])), reply


def test_broken_encodings(endpoint):
    for tail in (b"&Filter.1.Name=%zz", b"&Filter.1.Name=%", b"&Filter.1.Name=%4", b"&&&&&", b"&=", b"&=&=", b"&a", b"\x00\x01\x02",
                 b"&DryRun", bytes(range(256)), b"&" + b"%00" * 1000):
        body = BODY.replace(b"Regions", b"Instances") + tail
        reply = endpoint.raw(body, endpoint.sign(body))
        assert reply.status == 200 or refused(reply), (tail, reply)
        ET.fromstring(reply.body)
    assert alive(endpoint)


def test_what_xml_cannot_hold_does_not_get_in(endpoint):
    """A tag of control characters or of bytes that are no UTF-8 is refused: no later reply is broken by it."""
    import boto3  # noqa: F401
    c = endpoint.ec2
    ami = c.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    i = c.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    for value in ("%01", "%00", "%0B", "%FF%FE", "%C0%80", "%ED%A0%80", "%EF%BF%BE", "%F4%90%80%80"):
        body = f"Action=CreateTags&Version=2016-11-15&ResourceId.1={i}&Tag.1.Key=k&Tag.1.Value={value}".encode()
        reply = endpoint.raw(body, endpoint.sign(body))
        assert reply.status == 200 or refused(reply), (value, reply)
        ET.fromstring(endpoint.query("DescribeInstances").body)
        ET.fromstring(endpoint.query("DescribeTags").body)


# --- sizes and floods


def test_ten_thousand_parameters(endpoint):
    body = urllib.parse.urlencode([("Action", "DescribeInstances"), ("Version", "2016-11-15")]
                                  + [(f"InstanceId.{n}", f"i-{n:017x}") for n in range(1, 10001)]).encode()
    assert refused(endpoint.raw(body, endpoint.sign(body)), "MalformedQueryString"), "before any id is looked up"
    body = b"Action=DescribeInstances&Version=2016-11-15&" + b"&".join(b"a=b" for _ in range(10000))
    assert refused(endpoint.raw(body, endpoint.sign(body)))
    body = b"Action=DescribeInstances&Version=2016-11-15&" + b"&" * 100000
    reply = endpoint.raw(body, endpoint.sign(body))
    assert reply.status < 500
    assert alive(endpoint)


def test_a_thousand_ids_are_fine(endpoint):
    """What a large client really sends."""
    c = endpoint.ec2
    ami = c.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    made = [i["InstanceId"] for i in c.run_instances(ImageId=ami, InstanceType="t3.micro", MinCount=1000, MaxCount=1000)["Instances"]]
    assert len(set(made)) == 1000
    seen = [i["InstanceId"] for r in c.describe_instances(InstanceIds=made)["Reservations"] for i in r["Instances"]]
    assert sorted(seen) == sorted(made)
    assert len(c.terminate_instances(InstanceIds=made)["TerminatingInstances"]) == 1000


def send_endlessly(endpoint, head, limit=100 << 20):
    """Sends until somebody objects; how much was taken, and what was answered."""
    sent = 0
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as s:
        try:
            s.sendall(head)
            while sent < limit:
                sent += s.send(b"a" * 65536)
        except OSError:
            pass
        try:
            return sent, s.recv(4096)
        except OSError:
            return sent, b""


def test_a_body_without_an_end(endpoint):
    before = memory_kb(endpoint)
    for head in (b"Content-Length: 104857600\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 99999999999999999999\r\n"):
        sent, answer = send_endlessly(endpoint, b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
        assert sent < 64 << 20 or answer, "100 MB were taken"
        assert not answer or re.match(rb"HTTP/1.1 4\d\d", answer), answer
    sent, answer = send_endlessly(endpoint, b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: ")
    assert sent < 64 << 20 and (not answer or re.match(rb"HTTP/1.1 4\d\d", answer))
    sent, answer = send_endlessly(endpoint, b"")
    assert sent < 64 << 20
    assert memory_kb(endpoint) - before < 32 << 10, "it grew by what it refused"
    assert alive(endpoint)


def test_a_large_body_that_is_signed(endpoint):
    body = BODY + b"&Filter.1.Name=" + b"x" * (8 << 20)
    reply = endpoint.raw(body, endpoint.sign(body))
    assert reply.status == 0 or 400 <= reply.status < 500, reply
    assert alive(endpoint)


def test_other_methods_and_types(endpoint):
    """No method, path or content type leads to anything but a client error; a signed GET is as good as a POST."""
    path = "/?" + BODY.decode()
    got = endpoint.raw(b"", endpoint.sign(b"", method="GET", path=path), method="GET", path=path)
    assert got.status == 200 or refused(got), got
    for method, where in itertools.product(("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"), ("/", "/v1/health", "/../../etc/passwd")):
        reply = endpoint.raw(b"", method=method, path=where)
        assert reply.status == 0 or 400 <= reply.status < 500, (method, where, reply)
    for kind in ("text/html", "application/json", "multipart/form-data; boundary=x", "application/octet-stream", "x" * 2000, ""):
        reply = endpoint.raw(b"<html><body>no</body></html>", {"Content-Type": kind})
        assert 400 <= reply.status < 500, (kind, reply)
    html = b"<!DOCTYPE html><html><body>" + b"<p>" * 1000 + b"</html>"
    assert refused(endpoint.raw(html, endpoint.sign(html)))
    assert alive(endpoint)


def test_bytes_that_are_no_http(endpoint, rng):
    for n in range(30):
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as s:
            try:
                s.sendall(rng.randbytes(rng.randrange(1, 3000)) if n else b"SSH-2.0-OpenSSH_9.2\r\n")
                s.shutdown(socket.SHUT_WR)
                answer = s.recv(4096)
            except OSError:
                continue
            assert not answer or answer.startswith(b"HTTP/1."), answer
    assert alive(endpoint)


def test_silent_connections_do_not_keep_others_out(endpoint):
    """One address opens as many connections as it can and says nothing on them, or half a request; another is still served."""
    held = []
    try:
        for n in range(1500):
            s = socket.socket()
            s.settimeout(5)
            s.bind(("127.0.0.2", 0))
            try:
                s.connect(("127.0.0.1", endpoint.port))
                s.send(b"" if n % 2 else b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nAction=")
            except OSError:
                s.close()
                break
            held.append(s)
        assert len(held) > 10
        assert alive(endpoint)
    finally:
        for s in held:
            s.close()
    wait_for(lambda: len(os.listdir(f"/proc/{endpoint.process.pid}/fd")) < 100, 30, message="descriptors were not given back")


def test_kept_alive_pipelined_and_expected(endpoint):
    """What HTTP clients do: one connection for many calls, two calls at once on it, Expect, HTTP/1.0, a chunked body."""
    signed = endpoint.sign(BODY)
    fields = "".join(f"{k}: {v}\r\n" for k, v in signed.items() if k.lower() not in ("host", "content-length"))
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\n{fields}"

    def talk(data, want):
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as s:
            s.sendall(data)
            got = b""
            while got.count(b"</DescribeRegionsResponse>") < want:
                more = s.recv(65536)
                if not more:
                    break
                got += more
            return got

    length = f"Content-Length: {len(BODY)}\r\n"
    two = (head + length + "\r\n").encode() + BODY
    assert talk(two * 2, 2).count(b"HTTP/1.1 200") == 2
    assert b"200" in talk((head + length + "Expect: 100-continue\r\n\r\n").encode() + BODY, 1)
    chunked = (head + "Transfer-Encoding: chunked\r\n\r\n").encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert b"HTTP/1.1 200" in talk(chunked, 1)
    assert b" 200" in talk(two.replace(b"HTTP/1.1", b"HTTP/1.0"), 1)


def sent(e, action, **params):
    """A signed call on its way, whose answer nobody reads yet."""
    body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **params}).encode()
    s = socket.create_connection(("127.0.0.1", e.port), timeout=60)
    fields = "".join(f"{k}: {v}\r\n" for k, v in e.sign(body).items() if k.lower() not in ("host", "content-length"))
    s.sendall(f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{e.port}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return s


def status_of(s):
    with s:
        return int(s.recv(65536).split()[1])


def test_rsa_keys_are_made_beside_other_calls(endpoints):
    """They take a second and more; who asks for something else meanwhile is answered before. Of two of one name the second is told so,
    and a stop in the middle is a stop."""
    e = endpoints().start()
    slow = [sent(e, "CreateKeyPair", KeyName=f"k{n // 2}") for n in range(8)]
    assert status_of(sent(e, "DescribeRegions")) == 200
    waiting = [s for s in slow if not select.select([s], [], [], 0)[0]]
    assert waiting, "eight keys were made before one list of regions was answered"
    assert sorted(status_of(s) for s in slow) == [200] * 4 + [400] * 4
    assert len(e.ec2.describe_key_pairs()["KeyPairs"]) == 4

    left = [sent(e, "CreateKeyPair", KeyName=f"more-{n}") for n in range(8)]
    assert status_of(sent(e, "DescribeRegions")) == 200
    assert e.stop() == 0
    for s in left:
        s.close()
    e.start()
    assert len(e.ec2.describe_key_pairs()["KeyPairs"]) >= 4


# --- the program


def test_configurations_that_are_wrong(endpoints):
    """Each is refused with status 2, the file, the line, and what was expected."""
    hidden = "not-to-be-shown"
    e = endpoints(settings={"credentials": f"[{{access_key_id: {KEY}, secret_access_key: {hidden}}}]"})
    assert e.check().returncode == 0, e.check()
    assert e.check("--version").stdout.startswith("hearth-ec2 ") and "--config" in e.check("--help").stdout
    good = dict(e.settings)
    for change in ({"listen": "nowhere"}, {"listen": "127.0.0.1"}, {"listen": "127.0.0.1:99999"}, {"machines": "imaginary"},
                   {"speed": "0"}, {"speed": "-1"}, {"speed": "fast"}, {"scenario": "no-such-scenario"}, {"scenario": "/nonexistent.yaml"},
                   {"credentials": "[]"}, {"credentials": None}, {"credentials": f"[{{access_key_id: {KEY}}}]"}, {"credentials": hidden},
                   {"credentials": f"[{{access_key_id: {KEY}, secret_access_key: {hidden}}}, {{access_key_id: {KEY}, secret_access_key: b}}]"},
                   {"colour": "red"}, {"state": "relative/path"}, {"state": None}):
        e.settings = {**good, **change}
        e.write_config()
        done = e.check()
        if change == {"state": None} and done.returncode == 0:
            continue  # it has a default
        assert done.returncode == 2 and "ec2.yaml" in done.stderr and len(done.stderr.splitlines()) == 1, (change, done)
        assert hidden not in done.stderr, done.stderr
    e.write_config("listen: [\n")
    assert e.check().returncode == 2
    e.write_config("a: &x [*x]\n")
    assert e.check().returncode == 2


def test_secrets_in_a_file_that_others_can_read(endpoints):
    hidden = "not-to-be-shown"
    e = endpoints(settings={"credentials": f"[{{access_key_id: {KEY}, secret_access_key: {hidden}}}]"}).start()
    assert "chmod" not in e.log_text()
    e.stop()
    e.config.chmod(0o644)
    e.start()
    assert "ec2.yaml: 'chmod 600'" in e.log_text(), "a key that everybody can read is not worth a word"
    assert hidden not in e.log_text()


def test_a_state_of_another_version(endpoints):
    """One line that says what to do, and the state is left as it is."""
    e = endpoints().start()
    e.ec2.create_key_pair(KeyName="kept", KeyType="ed25519")
    e.stop()
    database, logged = e.state / "ec2.db", len(e.log_text())
    for sql, why in (("PRAGMA user_version = 2", "the state is of another hearth-ec2 (schema 2; this program knows 1)"),
                     ("PRAGMA user_version = 0", "the database belongs to another program")):
        with contextlib.closing(sqlite3.connect(database)) as db:
            db.executescript(sql)
        e.spawn()
        wait_for(lambda: e.process.poll() is not None, 20)
        said = e.log_text()[logged:]
        assert e.process.returncode == 2 and len(said.splitlines()) == 1, said
        assert f"{database}: {why}; start the program that made it, or give this one a 'state' of its own" in said, said
        logged += len(said)
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.executescript("PRAGMA user_version = 1")
    e.start()
    assert [k["KeyName"] for k in e.ec2.describe_key_pairs()["KeyPairs"]] == ["kept"]


def test_an_address_that_is_taken(endpoints):
    e = endpoints().start()
    other = endpoints(settings={"listen": f"127.0.0.1:{e.port}"})
    other.spawn()
    wait_for(lambda: other.process.poll() is not None, 20)
    assert other.process.returncode == 1 and str(e.port) in other.log_text() and len(other.log_text().splitlines()) <= 2


def test_it_ends_on_sigterm(endpoints):
    e = endpoints().start()
    s = socket.create_connection(("127.0.0.1", e.port))
    s.send(b"POST / HTTP/1.1\r\n")
    assert e.stop() == 0
    s.close()
    e.start()
    assert alive(e)
