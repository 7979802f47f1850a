# SPDX-License-Identifier: Apache-2.0
"""Goal: the checker of EC2's wire finds each kind of fault that it is for, and nothing in what conforms; the recording proxy
changes no byte and writes down every exchange, answered or not."""

import base64
import http.client
import json
import socket
import threading

import pytest

pytest.importorskip("botocore")
import botocore.serialize  # noqa: E402

import aws_model  # noqa: E402
from aws_proxy import Recorder  # noqa: E402

ID = "12345678-1234-1234-1234-123456789abc"
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
EC2 = "http://ec2.amazonaws.com/doc/2016-11-15/"
HEADERS = {"content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": ID}

VOLUMES = XML + f"""<DescribeVolumesResponse xmlns="{EC2}"><requestId>{ID}</requestId><volumeSet><item>
<volumeId>vol-0123456789abcdef0</volumeId><size>8</size><snapshotId/><availabilityZone>us-east-1a</availabilityZone>
<status>in-use</status><createTime>2026-11-22T05:42:33.000Z</createTime><attachmentSet><item>
<volumeId>vol-0123456789abcdef0</volumeId><instanceId>i-0123456789abcdef0</instanceId><device>/dev/sdf</device>
<status>attached</status><attachTime>2026-11-22T05:42:34.000Z</attachTime><deleteOnTermination>false</deleteOnTermination>
</item></attachmentSet><volumeType>gp3</volumeType><encrypted>false</encrypted></item></volumeSet></DescribeVolumesResponse>"""
NO_VOLUMES = XML + f'<DescribeVolumesResponse xmlns="{EC2}"><requestId>{ID}</requestId><volumeSet/></DescribeVolumesResponse>'
DELETED = XML + f'<DeleteVolumeResponse xmlns="{EC2}"><requestId>{ID}</requestId><return>true</return></DeleteVolumeResponse>'
ERROR = XML + ("<Response><Errors><Error><Code>InvalidVolume.NotFound</Code><Message>The volume 'vol-1' does not exist.</Message>"
               f"</Error></Errors><RequestID>{ID}</RequestID></Response>")
STS = "https://sts.amazonaws.com/doc/2011-06-15/"
CALLER = XML + f"""<GetCallerIdentityResponse xmlns="{STS}"><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/a</Arn>
<UserId>AIDA</UserId><Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>{ID}</RequestId>
</ResponseMetadata></GetCallerIdentityResponse>"""
STS_ERROR = XML + (f'<ErrorResponse xmlns="{STS}"><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>m</Message>'
                   f"</Error><RequestId>{ID}</RequestId></ErrorResponse>")
SQS = "http://queue.amazonaws.com/doc/2012-11-05/"
ATTRIBUTES = XML + f"""<GetQueueAttributesResponse xmlns="{SQS}"><GetQueueAttributesResult><Attribute><Name>QueueArn</Name>
<Value>arn</Value></Attribute><Attribute><Name>DelaySeconds</Name><Value>0</Value></Attribute></GetQueueAttributesResult>
<ResponseMetadata><RequestId>{ID}</RequestId></ResponseMetadata></GetQueueAttributesResponse>"""
JSON = {"content-type": "application/x-amz-json-1.1", "x-amzn-requestid": ID}
EIC = json.dumps({"RequestId": ID, "Success": True})
EIC_ERROR = json.dumps({"__type": "EC2InstanceNotFoundException", "Message": "no"})


def faults(service, operation, text, status=200, headers=None):
    headers = headers or (JSON if service == "ec2-instance-connect" else HEADERS)
    return aws_model.check_reply(service, operation, status, headers, text.encode())


GOOD = [("ec2", "DescribeVolumes", VOLUMES, 200), ("ec2", "DescribeVolumes", NO_VOLUMES, 200), ("ec2", "DeleteVolume", DELETED, 200),
        ("ec2", "DescribeVolumes", ERROR, 400), ("sts", "GetCallerIdentity", CALLER, 200), ("sts", "GetCallerIdentity", STS_ERROR, 403),
        ("sqs", "GetQueueAttributes", ATTRIBUTES, 200), ("ec2-instance-connect", "SendSSHPublicKey", EIC, 200), ("ec2-instance-connect", "SendSSHPublicKey", EIC_ERROR, 400)]


@pytest.mark.parametrize("service,operation,text,status", GOOD)
def test_what_conforms_passes(service, operation, text, status):
    assert faults(service, operation, text, status) == []


# (what is put in the place of what, what the checker must say)
BAD_REPLIES = [
    (VOLUMES, EC2, EC2.rstrip("/"), "the root is"),
    (VOLUMES, f' xmlns="{EC2}"', "", "the root is"),
    (VOLUMES, "DescribeVolumesResponse", "DescribeVolumeResponse", "the root is"),
    (VOLUMES, f"<requestId>{ID}</requestId>", "", "0 <requestId>"),
    (VOLUMES, f"<requestId>{ID}</requestId>", f"<requestId>{ID}</requestId>" * 2, "2 <requestId>"),
    (VOLUMES, ID, "req-1", "is no UUID"),
    (VOLUMES, ID, ID[:-1] + "0", "x-amzn-requestid"),
    (VOLUMES, "<size>", "<Size>8</Size><size>", "unknown element <Size>"),
    (VOLUMES, "<size>8</size>", "<size>8</size><size>8</size>", "<size> twice"),
    (VOLUMES, "<size>8</size>", "<size>8.0</size>", "integer '8.0'"),
    (VOLUMES, "<size>8</size>", "<size/>", "integer ''"),
    (VOLUMES, "<size>8</size>", "<size>3000000000</size>", "integer '3000000000'"),
    (VOLUMES, "<size>8</size>", "<size> 8</size>", "integer ' 8'"),
    (VOLUMES, "<size>8</size>", "<size><n>8</n></size>", "elements inside a scalar"),
    (VOLUMES, "<size>8</size>", "8", "text between elements"),
    (VOLUMES, "<size>8</size>", "", "no <size>, which AWS sends"),
    (VOLUMES, "<snapshotId/>", "", "no <snapshotId>, which AWS sends"),
    (VOLUMES, "<snapshotId/>", '<snapshotId nil="true"/>', "attributes"),
    (VOLUMES, "<encrypted>false", "<encrypted>False", "boolean 'False'"),
    (VOLUMES, "33.000Z", "33Z", "timestamp"),
    (VOLUMES, "33.000Z", "33.000+00:00", "timestamp"),
    (VOLUMES, "11-22T05:42:33", "13-22T05:42:33", "timestamp"),
    (VOLUMES, "in-use", "used", "not of the enum VolumeState"),
    (VOLUMES, "i-0123456789abcdef0", "i-0123456789ABCDEF0", "is no id of the form i-"),
    (VOLUMES, "vol-0123456789abcdef0</volumeId><size>", "0123</volumeId><size>", "is no id of the form vol-"),
    (VOLUMES, "<attachmentSet><item>", "<attachmentSet><member>", "not XML"),
    (VOLUMES.replace("</item></attachmentSet>", "</member></attachmentSet>"), "<attachmentSet><item>", "<attachmentSet><member>",
     "<member> where the model has <item>"),
    (VOLUMES, XML, "", "no XML declaration"),
    (VOLUMES, XML, XML + "<!DOCTYPE x>", "a DOCTYPE"),
    (VOLUMES, "<status>in-use", '<status xmlns="urn:x">in-use', "other namespaces"),
    (NO_VOLUMES, "<volumeSet/>", "", "an empty set as an empty element"),
    (DELETED, "<return>true</return>", "", "where AWS answers <return>true</return>"),
    (DELETED, "true", "false", "where AWS answers <return>true</return>"),
]


@pytest.mark.parametrize("text,old,new,said", BAD_REPLIES, ids=[f"{b[3][:24]}-{i}" for i, b in enumerate(BAD_REPLIES)])
def test_a_fault_in_a_reply_is_found(text, old, new, said):
    assert old in text
    found = faults("ec2", "DeleteVolume" if text is DELETED else "DescribeVolumes", text.replace(old, new))
    assert any(said in f for f in found), found


BAD_ERRORS = [
    ("<Response>", f'<Response xmlns="{EC2}">', "Response", "sends <Response>"),
    ("Response>", "ErrorResponse>", "", "sends <Response>"),
    ("<Code>InvalidVolume.NotFound</Code>", "", "", "holds ['Message']"),
    ("InvalidVolume.NotFound", "invalid volume", "", "error code"),
    ("InvalidVolume.NotFound", "RequestLimitExceeded", "", "EC2 sends 503"),
    ("The volume 'vol-1' does not exist.", "", "", "no message"),
    ("RequestID", "requestId", "", "an error holds"),
    (ID, "x", "", "is no UUID"),
    ("<Errors>", "<Errors><Error><Code>A</Code><Message>b</Message></Error>", "", "more than one <Error>"),
]


@pytest.mark.parametrize("old,new,_,said", BAD_ERRORS, ids=[f"{b[3][:24]}-{i}" for i, b in enumerate(BAD_ERRORS)])
def test_a_fault_in_an_error_is_found(old, new, _, said):
    found = faults("ec2", "DescribeVolumes", ERROR.replace(old, new), 400)
    assert any(said in f for f in found), found


def test_faults_of_other_protocols_are_found():
    def said(part, found):
        assert any(part in f for f in found), found

    said("Content-Type", faults("ec2", "DescribeVolumes", VOLUMES, headers={**HEADERS, "content-type": "text/html"}))
    said("success of Describe", faults("ec2", "Describe", VOLUMES))
    said("not XML", faults("ec2", "DescribeVolumes", "<html><br></html>"))
    said("the root is", faults("sts", "GetCallerIdentity", CALLER.replace(STS, EC2)))
    said("unknown element", faults("sts", "GetCallerIdentity", CALLER.replace("UserId>", "userId>")))
    said("holds", faults("sts", "GetCallerIdentity", CALLER.replace("GetCallerIdentityResult>", "Result>")))
    said("Type 'Sender' with HTTP 500", faults("sts", "GetCallerIdentity", STS_ERROR, 500))
    said("the root is", faults("sts", "GetCallerIdentity", ERROR, 403))
    said("not of the enum", faults("sqs", "GetQueueAttributes", ATTRIBUTES.replace("DelaySeconds", "Delay")))
    said("not a <Name> and a <Value>", faults("sqs", "GetQueueAttributes", ATTRIBUTES.replace("Name>", "name>")))
    eic = ("ec2-instance-connect", "SendSSHPublicKey")
    said("Content-Type", faults(*eic, EIC, headers={**JSON, "content-type": "application/json"}))
    said("not JSON", faults(*eic, ERROR))
    said("unknown member", faults(*eic, EIC.replace("Success", "success")))
    said("is no boolean", faults(*eic, EIC.replace("true", '"true"')))
    said("no error of", faults(*eic, EIC_ERROR.replace("EC2InstanceNotFound", "InstanceMissing"), 400))
    said("no message", faults(*eic, EIC_ERROR.replace("no", ""), 400))
    said("an error holds", faults(*eic, EIC_ERROR.replace("Message", "Reason"), 400))


# ---- requests ----

def signed(service="ec2", **more):
    return {"host": "127.0.0.1:1", "x-amz-date": "20261122T054233Z", "user-agent": "hearth/1",
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "authorization": f"AWS4-HMAC-SHA256 Credential=AKIA/20261122/us-east-1/{service}/aws4_request, "
                             f"SignedHeaders=content-type;host;x-amz-date, Signature={'0' * 64}", **more}


RUN = ("Action=RunInstances&Version=2016-11-15&ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=2&ClientToken=t"
       "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b%20c"
       "&SecurityGroupId.1=sg-1&MetadataOptions.HttpTokens=required&UserData=aGk%3D")


def asked(body, path="/", headers=None):
    return aws_model.check_request(headers or signed(), path, body.encode())


def test_a_request_that_conforms_passes():
    assert asked(RUN) == ("ec2", "RunInstances", [])
    op = aws_model.model("ec2").operation_model("DescribeInstances")
    params = {"Filters": [{"Name": "tag:x", "Values": ["a", "b"]}], "MaxResults": 5}
    form = botocore.serialize.create_serializer("ec2").serialize_to_request(params, op)["body"]
    assert asked("&".join(f"{k}={v}" for k, v in form.items()))[1:] == ("DescribeInstances", [])
    assert asked("Action=GetCallerIdentity&Version=2011-06-15", headers=signed("sts")) == ("sts", "GetCallerIdentity", [])
    assert asked("Action=GetQueueAttributes&Version=2012-11-05&QueueUrl=u&AttributeName.1=All", path="/1/q",
                 headers=signed("sqs")) == ("sqs", "GetQueueAttributes", [])
    assert "numbered" in asked("Action=GetQueueAttributes&Version=2012-11-05&QueueUrl=u&AttributeName.2=All",
                               headers=signed("sqs"))[2][0]
    unsigned = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    assert asked("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx"
                 "&RoleSessionName=ab&WebIdentityToken=abcd", headers=unsigned)[2] == []


BAD_REQUESTS = [
    ("RunInstances", "RunInstance", "is none of ec2"), ("2016-11-15", "2015-11-15", "Version"),
    ("ImageId=", "imageId=", "no such parameter"), ("MinCount=1", "MinCount=one", "integer 'one'"),
    ("MinCount=1&", "", "MinCount"), ("Tag.1.Key", "Tag.0.Key", "not from 1 on"), ("Tag.1.", "Tag.2.", "not from 1 on"),
    ("TagSpecification.1.Tag", "TagSpecification.1.Tags", "no such parameter"), ("=instance", "=instances", "not of the enum"),
    ("SecurityGroupId.1", "SecurityGroupId", "is a list"), ("SecurityGroupId.1", "SecurityGroupId.member.1", "not from 1 on"),
    ("HttpTokens=required", "HttpTokens=yes", "not of the enum"), ("MetadataOptions.HttpTokens", "MetadataOptions", "is a structure"),
    ("aGk%3D", "h", "UserData: not base64"), ("&ClientToken=t", "&ClientToken=t&ClientToken=u", "twice"),
    ("b%20c", "\xe4", "not ASCII"), ("&UserData", "&&UserData", "not a form"),
]


@pytest.mark.parametrize("old,new,said", BAD_REQUESTS, ids=[f"{b[2][:20]}-{i}" for i, b in enumerate(BAD_REQUESTS)])
def test_a_fault_in_a_request_is_found(old, new, said):
    assert old in RUN
    found = asked(RUN.replace(old, new))[2]
    assert any(said in f for f in found), found


def test_a_fault_in_a_signature_is_found():
    def found(**change):
        return " ".join(asked(RUN, headers=signed(**change))[2])

    good = signed()["authorization"]
    assert "no signature of version 4" in found(authorization="AWS abc")
    assert "host is not signed" in found(authorization=good.replace("host;", ""))
    assert "not in order" in found(authorization=good.replace("content-type;host", "host;content-type"))
    assert "is signed and not sent" in found(authorization=good.replace("x-amz-date,", "x-amz-date;x-b,"))
    assert "x-amz-security-token is not signed" in found(**{"x-amz-security-token": "t"})
    assert "scope of" in found(**{"x-amz-date": "20261123T000000Z"})
    assert "Content-Type" in found(**{"content-type": "text/plain"})
    assert "path" in " ".join(asked(RUN, path="/x")[2])


# ---- the proxy ----

class Upstream:
    """Answers each connection with what `script` says, and keeps what came."""

    def __init__(self, script):
        self.script, self.got = list(script), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        for answer in self.script:
            conn, _ = self.listener.accept()
            with conn:
                conn.settimeout(10)
                data = b""
                while b"END" not in data:
                    data += conn.recv(65536)
                self.got.append(data)
                conn.sendall(answer)

    def close(self):
        self.listener.close()
        self.thread.join(10)


def test_the_proxy_changes_no_byte(tmp_path):
    plain = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\nX-Odd:  two  blanks\r\n\r\nhello"
    chunked = b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    closed = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\nto the end"
    upstream = Upstream([plain, chunked, closed, b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut"])
    request = b"POST /?a=b HTTP/1.1\r\nhost: ec2.example:99\r\nAuthorization: x\r\nContent-Length: 8\r\n\r\nbody END"
    with Recorder("127.0.0.1", upstream.port, tmp_path) as proxy:
        for answer in (plain, chunked, closed, b"", b""):
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as s:
                s.sendall(request)
                came = b""
                while len(came) < len(answer) or not answer:
                    data = s.recv(65536)
                    if not data:
                        break
                    came += data
                assert came == answer
        upstream.close()
    assert upstream.got == [request] * 5
    records = proxy.records()
    assert [r["reply"] and (r["reply"]["status"], base64.b64decode(r["reply"]["body"])) for r in records] == [
        (200, b"hello"), (400, b"abcde"), (200, b"to the end"), None, None]
    assert all(r["request"]["headers"]["host"] == "ec2.example:99" and r["request"]["path"] == "/?a=b" for r in records)


def test_what_was_recorded_is_checked(tmp_path):
    def answer(text):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml;charset=UTF-8\r\nx-amzn-requestid: {ID}\r\n"
        return (head + f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}").encode()

    body = "Action=DescribeVolumes&Version=2016-11-15&Filter.1.Name=tag%3AEND&Filter.1.Value.1=x"
    upstream = Upstream([answer(VOLUMES), answer(VOLUMES.replace("in-use", "used"))])
    with Recorder("127.0.0.1", upstream.port, tmp_path) as proxy:
        def call():
            c = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
            c.request("POST", "/", body, {k: v for k, v in signed().items() if k != "host"})
            c.getresponse().read()
            c.close()

        with pytest.raises(AssertionError, match="only 0 exchanges"):
            proxy.check()
        call()
        assert proxy.check() == 1
        body = body.replace("Filter.1.Name", "Filter.1.Nane")
        call()
        with pytest.raises(AssertionError) as failed:
            proxy.check()
        assert "not of the enum VolumeState" in str(failed.value) and "no such parameter" in str(failed.value)
    upstream.close()
