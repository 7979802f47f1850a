# SPDX-License-Identifier: Apache-2.0
"""Goal: whatever is wrong between us and AWS, a person reads one line that says what failed, why, and what to do; and AWS's
own signature check, as far as moto has it, takes our calls."""

import http.server
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PROXY = {}  # and other words for awscall's environment
TOKEN = "AQoDYXdzEPT//////////wEXAMPLE"


def awscall_path():
    if os.environ.get("HEARTH_BUILD"):
        return pathlib.Path(os.environ["HEARTH_BUILD"]) / "tests/tools/awscall"
    built = sorted(ROOT.glob("build*/tests/tools/awscall"), key=lambda p: p.stat().st_mtime)
    return built[-1] if built else pytest.skip("awscall is not built")


def awscall(*args, keys=("AKIDEXAMPLE", SECRET, TOKEN), region="us-east-1", home="/nonexistent", timeout=60):
    """(exit status, stdout, stderr) of one call, with nothing of this host's own settings."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **PROXY}
    if keys:
        env |= {k: v for k, v in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), keys) if v}
    if region:
        env["AWS_REGION"] = region
    p = subprocess.run([awscall_path(), "--attempts", "3", *args], env=env, capture_output=True, text=True, timeout=timeout)
    return p.returncode, p.stdout, p.stderr


def one_line(result, code, *words):
    """It failed with that code, in one line that has the words, a hint, and no secret."""
    rc, out, err = result
    lines = [line for line in err.splitlines() if " warn: " not in line]
    assert rc == 1 and out == "", err
    assert len(lines) == 1 and lines[0].startswith(code + ": "), err
    for word in words:
        assert word in lines[0], err
    assert "; " in lines[0], f"no hint: {err}"
    assert SECRET not in err and TOKEN not in err


@pytest.fixture
def endpoint():
    """endpoint(answer) serves answer(handler) to every POST, and returns its URL."""
    servers = []

    def serve(answer, tls=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                serve.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
                answer(self)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    serve.asked = []
    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def say(status, body, kind="text/xml", **headers):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body.encode())

    return answer


def error(code, message, status=400):
    return say(status, f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>")


def test_no_credentials(tmp_path):
    one_line(awscall("--endpoint", "http://127.0.0.1:1", "DescribeInstances", keys=None, home=tmp_path),
             "not_permitted", "no AWS credentials", "AWS_ACCESS_KEY_ID")


def test_no_region(tmp_path):
    one_line(awscall("DescribeInstances", region=None, home=tmp_path), "invalid", "no region", "AWS_REGION")


def test_a_region_that_is_none():
    one_line(awscall("DescribeInstances", region="xx-nowhere-1"), "unavailable", "ec2.xx-nowhere-1.amazonaws.com",
             "is a region of AWS")


def test_nobody_there():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{s.getsockname()[1]}"
        one_line(awscall("--endpoint", url, "DescribeInstances"), "unavailable", url, "is it up?")


def test_an_endpoint_of_this_host_needs_no_proxy(endpoint, monkeypatch):
    monkeypatch.setitem(PROXY, "http_proxy", "http://127.0.0.1:1")
    url = endpoint(say(200, "<R/>"))
    assert awscall("--endpoint", url, "DescribeInstances")[0] == 0
    one_line(awscall("--endpoint", "http://ec2.invalid", "DescribeInstances"), "unavailable", "127.0.0.1 port 1", "endpoint")


def own_certificate(directory):
    directory.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", directory / "key", "-out",
                    directory / "cert"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert", directory / "key")
    return context, str(directory / "cert")


def test_a_certificate_of_nobody(endpoint, tmp_path):
    context, _ = own_certificate(tmp_path / "nobody")
    url = endpoint(say(200, "<R/>"), context).replace("http://", "https://")
    one_line(awscall("--endpoint", url, "--once", "CreateImage"), "unavailable", "certificate", url, "AWS_CA_BUNDLE")
    assert endpoint.asked == []


def test_an_authority_of_ones_own(endpoint, tmp_path, monkeypatch):
    """AWS_CA_BUNDLE, else ca_bundle of the profile, and no other authority then; a file that is none is named."""
    context, cert = own_certificate(tmp_path / "ours")
    _, another = own_certificate(tmp_path / "another")
    url = endpoint(say(200, "<R/>"), context).replace("http://", "https://")
    call = ("--endpoint", url, "--once", "CreateImage")

    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(f"[default]\nca_bundle = {cert}\n")
    assert awscall(*call, home=tmp_path)[0] == 0
    monkeypatch.setitem(PROXY, "AWS_CA_BUNDLE", another)
    one_line(awscall(*call, home=tmp_path), "unavailable", "certificate", url)
    assert len(endpoint.asked) == 1
    monkeypatch.setitem(PROXY, "AWS_CA_BUNDLE", cert)
    assert awscall(*call)[0] == 0
    monkeypatch.setitem(PROXY, "AWS_CA_BUNDLE", "/nonexistent.pem")
    one_line(awscall(*call), "unavailable", "/nonexistent.pem", "AWS_CA_BUNDLE")
    assert len(endpoint.asked) == 2


def test_wrong_credentials(endpoint):
    url = endpoint(error("AuthFailure", "AWS was not able to validate the provided access credentials", 401))
    one_line(awscall("--endpoint", url, "DescribeInstances"), "not_permitted", "AuthFailure", "environment", "us-east-1")


def test_wrong_secret(endpoint):
    url = endpoint(error("SignatureDoesNotMatch", "The request signature we calculated does not match", 403))
    one_line(awscall("--endpoint", url, "DescribeInstances"), "not_permitted", "secret access key of environment")


def test_expired_token(endpoint):
    url = endpoint(error("ExpiredToken", "The security token included in the request is expired", 403))
    one_line(awscall("--endpoint", url, "DescribeInstances"), "not_permitted", "ExpiredToken", "renew the keys of")


def test_another_region(endpoint):
    url = endpoint(error("SignatureDoesNotMatch", "Credential should be scoped to a valid region.", 403))
    one_line(awscall("--endpoint", url, "DescribeInstances"), "not_permitted", "another region than us-east-1")


def test_not_allowed(endpoint):
    url = endpoint(error("UnauthorizedOperation", "You are not authorized to perform this operation.", 403))
    one_line(awscall("--endpoint", url, "RunInstances"), "not_permitted", "allow ec2:RunInstances", "IAM")


@pytest.mark.parametrize("status", [200, 404, 502])
def test_html(endpoint, status):
    url = endpoint(say(status, "<!DOCTYPE html><html><body>Please log in</body></html>", "text/html"))
    one_line(awscall("--endpoint", url, "DescribeInstances"), "unavailable", f"HTTP {status} with HTML", url)


def test_an_answer_of_100_mb(endpoint):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(100 << 20))
        handler.end_headers()
        try:
            handler.wfile.write(b"<R>" + b"x" * (100 << 20))
        except OSError:
            pass
        handler.close_connection = True

    url = endpoint(answer)
    one_line(awscall("--endpoint", url, "DescribeInstances"), "too_large", "16777216 bytes", url)


def test_never_an_answer(endpoint):
    ended = threading.Event()
    url = endpoint(lambda handler: ended.wait(60))
    try:
        one_line(awscall("--endpoint", url, "--timeout-ms", "100", "DescribeInstances"), "unavailable", url)
        one_line(awscall("--endpoint", url, "--once", "--timeout-ms", "100", "CreateImage"), "unavailable",
                 "may have been done")
    finally:
        ended.set()


def test_a_throttled_call_is_not_seen(endpoint):
    left = [5]

    def answer(handler):
        left[0] -= 1
        if left[0] >= 0:
            error("RequestLimitExceeded", "Request limit exceeded.", 503)(handler)
        else:
            say(200, "<R><ok/></R>")(handler)

    url = endpoint(answer)
    rc, out, err = awscall("--endpoint", url, "DescribeInstances")
    assert (rc, out, err) == (0, "R\n  ok\n", "")
    assert left[0] == -1


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """moto_server, which checks signatures of all but the first four calls; (URL, user's key)."""
    if not shutil.which("moto_server"):
        pytest.skip("moto_server is not installed")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    folder = tmp_path_factory.mktemp("moto")
    with open(folder / "log", "wb") as log:
        p = subprocess.Popen(["moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log, cwd=folder,
                             env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "3"})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(port, p)
        iam = ["--endpoint", url, "--service", "iam", "--version", "2010-05-08"]
        policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        assert awscall(*iam, "CreateUser", "UserName=u")[0] == 0
        assert awscall(*iam, "PutUserPolicy", "UserName=u", "PolicyName=all", "PolicyDocument=" + policy)[0] == 0
        out = awscall(*iam, "CreateAccessKey", "UserName=u")[1]
        words = {line.split()[0]: line.split()[1] for line in out.splitlines() if len(line.split()) == 2}
        yield url, (words["AccessKeyId"], words["SecretAccessKey"], None)
    finally:
        p.terminate()
        p.wait()


def wait_for(port, process):
    for _ in range(600):
        assert process.poll() is None, "moto_server has ended"
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("moto_server does not listen")


def test_moto_takes_our_signature(moto):
    url, keys = moto
    rc, out, err = awscall("--endpoint", url, "DescribeInstances", "Filter.1.Name=tag:a b+c/d",
                           "Filter.1.Value.1=é=&%20", keys=keys)
    assert rc == 0 and out.startswith("DescribeInstancesResponse\n"), err
    rc, out, err = awscall("--endpoint", url, "--service", "sts", "--version", "2011-06-15", "GetCallerIdentity", keys=keys)
    assert rc == 0 and "user/u" in out, err


def test_moto_refuses_another_secret(moto):
    url, (key, secret, _) = moto
    one_line(awscall("--endpoint", url, "DescribeInstances", keys=(key, secret[:-1] + "x", None)), "not_permitted",
             "environment")
    one_line(awscall("--endpoint", url, "DescribeInstances", keys=("AKIAUNKNOWN", secret, None)), "not_permitted")
