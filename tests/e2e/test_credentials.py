# SPDX-License-Identifier: Apache-2.0
"""Goal: of whatever environment and files there are, we choose the key that botocore chooses, or refuse where it does.

Random sets of environment variables, configuration and credentials files, written with the liberties that Python's
configparser allows, are given to credtool (our plan, nobody is asked) and to botocore, whose fetchers are cut off just
before the network. The two descriptions must be equal. Where we mean to differ, `expected()` says so."""

import json
import os
import pathlib
import re
import subprocess
from unittest import mock

import pytest

botocore = pytest.importorskip("botocore")
import botocore.credentials  # noqa: E402
import botocore.session  # noqa: E402
import botocore.utils  # noqa: E402

BUILD = os.environ.get("HEARTH_BUILD")
ROOT = pathlib.Path(__file__).resolve().parents[2]
PROFILES = ["default", "dev", "ops", "base", "my prof"]
EXPIRES = "2099-01-01T00:00:00Z"


def find_credtool():
    if BUILD:
        return pathlib.Path(BUILD).resolve() / "tests/tools/credtool"
    built = sorted(ROOT.glob("build*/tests/tools/credtool"), key=lambda p: p.stat().st_mtime)
    return built[-1] if built else None


CREDTOOL = find_credtool()
pytestmark = pytest.mark.skipif(not CREDTOOL, reason="credtool is not built: set HEARTH_BUILD")


def credtool(env, profile):
    argv = [str(CREDTOOL)] + ([profile] if profile else [])
    out = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout
    return json.loads(out)


# ---- what botocore would do ----

FAKE = {"access_key": "FETCHED", "secret_key": "s", "token": "t", "expiry_time": EXPIRES}


class Told:
    """What the fetchers that were cut off were asked for."""

    command = url = headers = imds = None


def cut_off(told):
    def process(self, command):
        told.command = botocore.compat.compat_shell_split(command)
        told.command[0]  # an empty one cannot be run
        return dict(FAKE)

    def container(self, url, headers=None):
        self._validate_allowed_url(url)
        told.url, told.headers = url, headers
        return {"AccessKeyId": "FETCHED", "SecretAccessKey": "s", "Token": "t", "Expiration": EXPIRES}

    def imds(self):
        if self._disabled:
            return {}
        told.imds = (self.get_base_url(), self._timeout, self._num_attempts)
        return dict(FAKE, role_name="r")

    patch = mock.patch.object
    return [patch(botocore.credentials.ProcessProvider, "_retrieve_credentials_using", process),
            patch(botocore.utils.ContainerMetadataFetcher, "retrieve_full_uri", container),
            patch(botocore.utils.InstanceMetadataFetcher, "retrieve_iam_role_credentials", imds)]


class Refused(Exception):
    pass


def role(kwargs):
    return {"arn": kwargs["RoleArn"], "external_id": kwargs.get("ExternalId"), "duration": kwargs.get("DurationSeconds", 0),
            "session": kwargs.get("RoleSessionName")}


def described(creds, told):
    d = dict.fromkeys(["id", "secret", "token", "command", "web", "token_file", "auth", "url"])
    d.update(expires=0, timeout=0, attempts=0, roles=[])
    if creds.method in ("assume-role", "assume-role-with-web-identity"):
        fetcher = creds._refresh_using.__self__
        r = role(fetcher._assume_kwargs)
        if fetcher._using_default_session_name:
            r["session"] = None
        if creds.method == "assume-role":
            if "SerialNumber" in fetcher._assume_kwargs:
                raise Refused("MFA: a daemon has nobody to ask")
            d = described(fetcher._source_credentials, told)
            d["roles"].append(r)
        else:
            d.update(base="web", web=r, token_file=fetcher._web_identity_token_loader._web_identity_token_path)
    elif creds.method == "custom-process":
        d.update(base="process", command=told.command)
    elif creds.method == "container-role":
        d.update(base="container", url=told.url, auth=(told.headers or {}).get("Authorization"), attempts=3)
    elif creds.method == "iam-role":
        url, timeout, attempts = told.imds
        d.update(base="imds", url=url if url.endswith("/") else url + "/", timeout=timeout * 1000, attempts=attempts)
    elif creds.method == "sso":
        raise Refused("SSO: a daemon has no browser")
    else:
        k = creds.get_frozen_credentials()
        if any(x and not re.fullmatch("[!-~]+", x) for x in k):
            raise Refused("no header carries such a key")
        expiry = getattr(creds, "_expiry_time", None)
        d.update(base="static", id=k.access_key, secret=k.secret_key, token=k.token or None,
                 expires=int(expiry.timestamp() * 1000) if expiry else 0)
    return d


def expected(env, profile):
    """A plan in credtool's words, or None: refused."""
    told = Told()
    patches = cut_off(told) + [mock.patch.dict(os.environ, env, clear=True)]
    for p in patches:
        p.start()
    try:
        session = botocore.session.Session(profile=profile)
        creds = botocore.credentials.create_credential_resolver(session).load_credentials()
        if creds is None:
            return None
        plan = described(creds, told)
        plan["region"] = session.get_config_variable("region") or None
        return plan
    except (botocore.exceptions.InvalidIMDSEndpointError, botocore.exceptions.InvalidIMDSEndpointModeError):
        return "skip"  # botocore refuses these before it knows whether it needs them
    except TimeoutError:
        raise  # of the test itself
    except Exception as e:  # each of botocore's many kinds is a refusal
        return "skip" if "invalid literal for int()" in str(e) else None  # likewise: its numbers
    finally:
        for p in reversed(patches):
            p.stop()


# ---- random worlds ----

def some_environment(rng, home):
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "BOTO_CONFIG": "/nonexistent", "AWS_CONFIG_FILE": str(home / "config"),
           "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials")}
    optional = {
        "AWS_ACCESS_KEY_ID": (0.15, ["AKIAENV", ""]), "AWS_SECRET_ACCESS_KEY": (0.6, ["env+secret/"] * 4 + [""]),
        "AWS_SESSION_TOKEN": (0.2, ["env=token", ""]), "AWS_SECURITY_TOKEN": (0.1, ["env=old"]),
        "AWS_CREDENTIAL_EXPIRATION": (0.1, [EXPIRES]), "AWS_PROFILE": (0.2, PROFILES * 2 + ["gone"]),
        "AWS_DEFAULT_PROFILE": (0.1, PROFILES), "AWS_DEFAULT_REGION": (0.3, ["eu-west-1"]),
        "AWS_ROLE_ARN": (0.3, ["arn:aws:iam::1:role/env"] * 4 + [""]), "AWS_WEB_IDENTITY_TOKEN_FILE": (0.1, ["/run/env-token", ""]),
        "AWS_ROLE_SESSION_NAME": (0.1, ["env-session"]),
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": (0.1, ["/v2/credentials/x?y=z"]),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": (0.15, ["http://localhost:99/c", "http://127.0.0.1/c", "http://example.com/c",
                                                      "http://localhost@example.com/", "http://169.254.170.2/x", "nonsense"]),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": (0.2, ["Basic xyz"]), "AWS_EC2_METADATA_DISABLED": (0.3, ["true", "TRUE", "false"]),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": (0.2, ["http://127.0.0.1:1338", "http://127.0.0.1:1338/"]),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": (0.1, ["ipv6", "IPv4"]), "AWS_METADATA_SERVICE_TIMEOUT": (0.1, ["3"]),
        "AWS_IMDS_USE_IPV6": (0.1, ["true"]),
    }
    for name, (probability, values) in optional.items():
        if rng.random() < probability:
            env[name] = rng.choice(values)
    return env


def some_settings(rng, tag):
    pick = rng.random
    settings = []
    if pick() < 0.4:
        settings.append(("aws_access_key_id", f"AKIA{tag}"))
    if settings and pick() < 0.9 or pick() < 0.05:
        settings.append(("aws_secret_access_key", f"{tag}/secret+="))
    for name, probability, values in [
            ("aws_session_token", 0.2, [f"{tag}#token;x"]), ("aws_security_token", 0.1, [f"{tag}=old"]),
            ("source_profile", 0.05, PROFILES + ["gone"]),
            ("external_id", 0.1, ["ext 1"]), ("role_session_name", 0.1, ["sess"]), ("duration_seconds", 0.1, ["900", "soon"]),
            ("mfa_serial", 0.03, ["arn:aws:iam::1:mfa/me"]), ("web_identity_token_file", 0.1, [f"/run/{tag}"]),
            ("credential_process", 0.2, [f"/bin/{tag} --a 'b c' \"d\\\" e\" f\\ g", f"{tag} 'open", "", "x '' \"\\y\""]),
            ("sso_account_id", 0.03, ["1"]), ("sso_role_name", 0.03, ["r"]), ("region", 0.3, ["us-east-2"]),
            ("ec2_metadata_service_endpoint", 0.05, ["http://127.0.0.1:7/"]), ("metadata_service_num_attempts", 0.05, ["2"]),
            ("ec2_metadata_service_endpoint_mode", 0.05, ["ipv6"]), ("s3", 0.07, ["\n    a = b\n    c=d=e", "\n\n   a = b"] * 5 + ["\n    bad"])]:
        if pick() < probability:
            settings.append((name, rng.choice(values)))
    if pick() < 0.35:
        settings = [s for s in settings if s[0] != "source_profile"] + [("role_arn", f"arn:aws:iam::1:role/{tag}")]
        if pick() < 0.7:
            settings.append(("source_profile", rng.choice(PROFILES)))
        elif pick() < 0.8:
            settings.append(("credential_source", rng.choice(
                ["Environment", "EcsContainer", "Ec2InstanceMetadata", "Ec2InstanceMetadata", "environment", "Nowhere"])))
    rng.shuffle(settings)
    return settings


def written(rng, settings):
    """The same settings, in one of the ways that they may be written."""
    indent = rng.choice(["", "", "", "  "])
    lines = []
    for name, value in settings:
        if rng.random() < 0.15:
            lines.append(rng.choice(["# a comment", "  ; another = one", "", "   "]))
        if rng.random() < 0.1:
            name = name.upper()
        lines.append(f"{indent}{name}{rng.choice(['=', ' = ', ' =  ', ': ', chr(9) + '='])}{value}{rng.choice(['', '  '])}")
        if rng.random() < 0.01:
            lines.append(rng.choice([indent + "    goes on", indent + "  # not on", "\n\n     after blanks"]))
    if rng.random() < 0.01:
        lines.append(rng.choice(["no delimiter", "= no name", "[open", "[]", "region = again\nregion = twice"]))
    return lines


def heading(rng, name, config):
    if not config or name == "default":
        return rng.choice([f"[{name}]", f"[{name}] ; rest", f"[{name}]x"]) if rng.random() < 0.2 else f"[{name}]"
    quoted = rng.choice([f'"{name}"', f"'{name}'", name.replace(" ", "\\ ")]) if " " in name or rng.random() < 0.1 else name
    return rng.choice(["[profile {}]"] * 20 + ["[profile   {} ]", "[profile {} x]", "[profiles {}]", "  [profile {}]", "[{}]"]).format(quoted)


def some_file(rng, config):
    lines = rng.choice([[], [], ["# top"], [""]])
    if rng.random() < 0.01:
        lines = ["early = 1"]
    if rng.random() < 0.05:
        lines += ["[DEFAULT]", "region = mars-1"]
    for name in PROFILES:
        if rng.random() < 0.7:
            lines += [heading(rng, name, config)] + written(rng, some_settings(rng, f"{name[:3].strip()}{'C' if config else 'S'}"))
    return rng.choice(["\n", "\n", "\n", "\r\n"]).join("\n".join(lines).split("\n")) + rng.choice(["", "\n"])


@pytest.mark.seconds(900)
def test_the_key_is_the_one_that_botocore_chooses(tmp_path, rng, soak):
    cases = 20000 if soak else 400
    kinds = {}
    for case in range(cases):
        env = some_environment(rng, tmp_path)
        for name, config in [("config", True), ("credentials", False)]:
            path = pathlib.Path(tmp_path / name)
            path.unlink(missing_ok=True)
            if rng.random() < 0.9:
                path.write_text(some_file(rng, config), newline="")
        profile = rng.choice([None] * 5 + PROFILES)
        want = expected(env, profile)
        if want == "skip":
            continue
        got = credtool(env, profile)
        kind = want["base"] + "+role" * len(want["roles"]) if want else "refused"
        kinds[kind] = kinds.get(kind, 0) + 1
        context = (f"case {case}, profile {profile}, env { {k: v for k, v in env.items() if k.startswith('AWS')} }\n"
                   + "".join(f"--- {n}\n{(tmp_path / n).read_text() if (tmp_path / n).exists() else '(none)'}\n" for n in ("config", "credentials")))
        if want is None:
            assert "error" in got, f"botocore refuses, we do not: {got}\n{context}"
            assert not re.search(r"/secret\+|\+secret/", got["message"] + got["hint"]), got
        else:
            got.pop("endpoint", None)
            assert got == want, context
    print(kinds)
    for kind in ("static", "process", "web", "container", "imds", "static+role", "refused"):
        assert kinds.get(kind), f"no case of {kind} in {cases}: {kinds}"
