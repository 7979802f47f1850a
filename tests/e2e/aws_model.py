# SPDX-License-Identifier: Apache-2.0
"""Whether requests and replies are what AWS's own service model says: the one in Debian's python3-botocore (ec2, sts, sqs,
ec2-instance-connect). Stricter than any client: botocore's parser takes unknown elements, any root and no request id.

    check_reply(service, operation, status, headers, body)  -> list of faults, [] when it conforms
    check_request(headers, path, body)                      -> (service, operation, list of faults)

`headers` is a dict with names in lower case. `aws_model.py DIR` checks what aws_proxy.py has recorded in DIR."""

import base64
import json
import pathlib
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ET
from xml.parsers import expat

import botocore.parsers
import botocore.serialize
import botocore.session
import botocore.validate

SESSION = botocore.session.get_session()
NAMESPACES = {"ec2": "http://ec2.amazonaws.com/doc/2016-11-15/", "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
              "sqs": "http://queue.amazonaws.com/doc/2012-11-05/"}
TIMESTAMP = re.compile(r"\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z")
STS_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CODE = re.compile(r"[A-Z][A-Za-z0-9]*(\.[A-Z][A-Za-z0-9]*)*")

# Prefixes of ids by the member's name. EC2 ids are 8 or 17 hexadecimal digits.
PREFIXES = {"InstanceId": "i", "VolumeId": "vol", "SnapshotId": "snap", "NetworkInterfaceId": "eni", "ImageId": "ami",
            "SubnetId": "subnet", "VpcId": "vpc", "GroupId": "sg", "ReservationId": "r", "AllocationId": "eipalloc",
            "AttachmentId": "eni-attach", "KeyPairId": "key", "SecurityGroupRuleId": "sgr",
            "SpotInstanceRequestId": "sir", "DhcpOptionsId": "dopt", "LaunchTemplateId": "lt"}

# What AWS sends with every object of the shape, as its API reference's sample replies and botocore's examples have it.
ALWAYS = {
    "Reservation": "reservationId ownerId groupSet instancesSet",
    "Instance": "instanceId imageId instanceState privateDnsName dnsName reason amiLaunchIndex productCodes instanceType launchTime"
                " placement monitoring groupSet architecture rootDeviceType blockDeviceMapping virtualizationType hypervisor"
                " networkInterfaceSet ebsOptimized",
    "InstanceState": "code name",
    "InstanceStateChange": "instanceId currentState previousState",
    "InstanceStatus": "instanceId availabilityZone instanceState instanceStatus systemStatus",
    "Placement": "availabilityZone groupName tenancy",
    "Volume": "volumeId size snapshotId availabilityZone status createTime attachmentSet volumeType encrypted",
    "VolumeAttachment": "volumeId instanceId device status attachTime deleteOnTermination",
    "Snapshot": "snapshotId volumeId status startTime progress ownerId volumeSize description encrypted",
    "Image": "imageId imageLocation imageState imageOwnerId isPublic architecture imageType rootDeviceType blockDeviceMapping"
             " virtualizationType hypervisor",
    "NetworkInterface": "networkInterfaceId subnetId vpcId availabilityZone description ownerId status macAddress privateIpAddress"
                        " sourceDestCheck groupSet privateIpAddressesSet",
    "Subnet": "subnetId state vpcId cidrBlock availableIpAddressCount availabilityZone",
    "Vpc": "vpcId state cidrBlock isDefault",
    "SecurityGroup": "ownerId groupId groupName groupDescription ipPermissions ipPermissionsEgress",
    "KeyPairInfo": "keyPairId keyName keyFingerprint",
    "Region": "regionName regionEndpoint optInStatus",
    "AvailabilityZone": "zoneName zoneState regionName messageSet zoneId",
    "Tag": "key value", "TagDescription": "resourceId resourceType key value",
    "GroupIdentifier": "groupId groupName",
    "InstanceTypeInfo": "instanceType currentGeneration vCpuInfo memoryInfo networkInfo",
}

# Enums that AWS adds to every month: what is newer than Debian's model has at least their form.
GROWING = {"InstanceType": re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*")}

# Describe…Attribute answers the attribute that was asked for, and no other.
ONE_ATTRIBUTE = re.compile(r"Describe\w+Attribute|Modify\w+|Reset\w+")

# HTTP statuses of EC2's errors that are not 400 (EC2 API Reference, "Error codes").
STATUSES = {"RequestLimitExceeded": 503, "Unavailable": 503, "ServiceUnavailable": 503, "InternalError": 500,
            "InternalFailure": 500, "InsufficientInstanceCapacity": 500, "InsufficientCapacity": 500,
            "InsufficientAddressCapacity": 500, "InsufficientHostCapacity": 500, "ServerInternal": 500, "AuthFailure": 401,
            "OptInRequired": 401, "UnauthorizedOperation": 403, "SignatureDoesNotMatch": 403, "AccessDenied": 403,
            "InvalidClientTokenId": 403, "MissingAuthenticationToken": 403, "DryRunOperation": 412, "RequestEntityTooLarge": 413}


def model(service):
    return SESSION.get_service_model(service)


def local(tag):
    return tag.rsplit("}", 1)[-1]


# ---- values ----

def scalar_fault(shape, text, sts=False):
    """Why `text` is not a value of the shape on the wire, or None."""
    kind = shape.type_name
    if kind == "boolean":
        return None if text in ("true", "false") else f"boolean {text!r}"
    if kind in ("integer", "long"):
        bits = 31 if kind == "integer" else 63
        good = re.fullmatch(r"0|-?[1-9]\d*", text) and -(1 << bits) <= int(text) < 1 << bits
        return None if good else f"{kind} {text!r}"
    if kind in ("float", "double"):
        return None if re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", text) else f"{kind} {text!r}"
    if kind == "timestamp":
        good = (STS_TIMESTAMP if sts else TIMESTAMP).fullmatch(text)
        return None if good else f"timestamp {text!r}"
    if kind == "blob":
        try:
            base64.b64decode(text, validate=True)
            return None
        except ValueError:
            return f"blob {text[:40]!r}"
    if getattr(shape, "enum", None) and text not in shape.enum and not (
            shape.name in GROWING and GROWING[shape.name].fullmatch(text)):
        return f"{text!r} is not of the enum {shape.name}"
    return None


# ---- replies: XML ----

class Walk:
    def __init__(self, service):
        self.service, self.faults = service, []

    def fault(self, path, what):
        self.faults.append(f"{path}: {what}")

    def value(self, shape, el, path):
        if el.attrib:
            self.fault(path, f"attributes {sorted(el.attrib)}")
        if shape.type_name == "structure":
            self.structure(shape, el, path)
        elif shape.type_name == "list":
            self.list(shape, el, path)
        elif shape.type_name == "map":
            self.entry(shape, el, path)
        else:
            if len(el):
                self.fault(path, "elements inside a scalar")
            why = scalar_fault(shape, el.text or "", self.service != "ec2")
            if why:
                self.fault(path, why)

    def no_text(self, el, path):
        if (el.text or "").strip() or any((c.tail or "").strip() for c in el):
            self.fault(path, "text between elements")

    def structure(self, shape, el, path, extra=()):
        names = {self.tag(n, m): (n, m) for n, m in shape.members.items()}
        seen = set()
        self.no_text(el, path)
        for child in el:
            tag = local(child.tag)
            if tag in extra:
                continue
            if tag not in names:
                self.fault(path, f"unknown element <{tag}>")
                continue
            name, member = names[tag]
            flat = member.type_name in ("list", "map") and member.serialization.get("flattened")
            if tag in seen and not flat:
                self.fault(path, f"<{tag}> twice")
            seen.add(tag)
            if flat and member.type_name == "list":
                self.value(member.member, child, f"{path}/{tag}")
            else:
                self.value(member, child, f"{path}/{tag}")
            self.id(shape, name, child, f"{path}/{tag}")
        for tag in ALWAYS.get(shape.name, "").split() if self.service == "ec2" else []:
            if tag not in seen:
                self.fault(path, f"no <{tag}>, which AWS sends with every {shape.name}")
        for name in shape.required_members:
            if self.tag(name, shape.members[name]) not in seen:
                self.fault(path, f"no <{name}>, which the model requires")
        return seen

    @staticmethod
    def tag(name, member):
        if member.type_name == "list" and member.serialization.get("flattened"):
            return member.member.serialization.get("name", member.serialization.get("name", name))
        return member.serialization.get("name", name)

    def entry(self, shape, el, path):
        """One of a flattened map, which are the only ones here (SQS)."""
        key, value = (s.serialization.get("name", n) for s, n in ((shape.key, "key"), (shape.value, "value")))
        self.no_text(el, path)
        if [local(c.tag) for c in el] != [key, value]:
            self.fault(path, f"holds {[local(c.tag) for c in el]}, not a <{key}> and a <{value}>")
            return
        self.value(shape.key, el[0], f"{path}/{key}")
        self.value(shape.value, el[1], f"{path}/{value}")

    def list(self, shape, el, path):
        item = shape.member.serialization.get("name", "item" if self.service == "ec2" else "member")
        self.no_text(el, path)
        for i, child in enumerate(el):
            if local(child.tag) != item:
                self.fault(path, f"<{local(child.tag)}> where the model has <{item}>")
            else:
                self.value(shape.member, child, f"{path}[{i}]")

    def id(self, shape, name, el, path):
        if self.service != "ec2" or name not in PREFIXES or not el.text:
            return
        if not re.fullmatch(PREFIXES[name] + r"-([0-9a-f]{8}|[0-9a-f]{17})", el.text):
            self.fault(path, f"{el.text!r} is no id of the form {PREFIXES[name]}-…")


def parse_xml(body, faults):
    """The root, or None. A DOCTYPE, which no AWS reply has, is a fault."""
    try:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = lambda *_: faults.append("a DOCTYPE")
        parser.Parse(body, True)
        return ET.fromstring(body)
    except (expat.ExpatError, ET.ParseError) as e:
        faults.append(f"not XML: {e}")
        return None


def check_request_id(text, headers, faults):
    if not UUID.fullmatch(text or ""):
        faults.append(f"request id {text!r} is no UUID")
    elif headers.get("x-amzn-requestid") != text:
        faults.append(f"request id {text} in the body, x-amzn-requestid {headers.get('x-amzn-requestid')!r}")


def check_root(service, wanted, root, faults):
    if root.tag != f"{{{NAMESPACES[service]}}}{wanted}":
        faults.append(f"the root is {root.tag}, not {wanted} of {NAMESPACES[service]}")
    strange = sorted({el.tag for el in root.iter() if not el.tag.startswith("{" + NAMESPACES[service] + "}")})
    if strange and not root.tag.startswith("{"):
        faults.append("no namespace")
    elif strange:
        faults.append(f"other namespaces: {strange[:3]}")


def check_ec2(operation, root, headers, faults):
    walk = Walk("ec2")
    check_root("ec2", operation + "Response", root, faults)
    ids = [el.text for el in root if local(el.tag) == "requestId"]
    if len(ids) != 1:
        faults.append(f"{len(ids)} <requestId>")
    else:
        check_request_id(ids[0], headers, faults)
    shape = model("ec2").operation_model(operation).output_shape
    if shape is None:
        # such actions answer <return>true</return>
        rest = [(local(el.tag), el.text) for el in root if local(el.tag) != "requestId"]
        if rest != [("return", "true")]:
            faults.append(f"{operation}: {rest} where AWS answers <return>true</return>")
        return
    seen = walk.structure(shape, root, operation, extra=("requestId",))
    if not ONE_ATTRIBUTE.fullmatch(operation):
        for name, member in shape.members.items():
            tag = member.serialization.get("name", name)
            if operation.startswith("Describe") and member.type_name == "list" and tag not in seen:
                walk.fault(operation, f"no <{tag}>: EC2 sends an empty set as an empty element")
    faults.extend(walk.faults)


def check_query(service, operation, root, headers, faults):
    walk = Walk(service)
    check_root(service, operation + "Response", root, faults)
    shape = model(service).operation_model(operation).output_shape
    tags = [local(el.tag) for el in root]
    wanted = ([f"{operation}Result"] if shape is not None and shape.members else []) + ["ResponseMetadata"]
    if tags != wanted and tags != [f"{operation}Result", "ResponseMetadata"]:
        faults.append(f"{operation}: holds {tags}, not {wanted}")
    for el in root:
        if local(el.tag) == "ResponseMetadata":
            check_request_id("".join(c.text or "" for c in el if local(c.tag) == "RequestId"), headers, faults)
        elif shape is not None:
            walk.structure(shape, el, operation)
    faults.extend(walk.faults)


def check_xml_error(service, status, root, headers, faults):
    ec2 = service == "ec2"
    paths = (["Errors/Error", "RequestID"] if ec2 else ["Error", "RequestId"])
    if ec2 and root.tag != "Response":
        faults.append(f"the error's root is {root.tag}; EC2 sends <Response>, without a namespace")
    elif not ec2:
        check_root(service, "ErrorResponse", root, faults)
    ns = "" if ec2 else "{" + NAMESPACES[service] + "}"
    error = root.find("/".join(ns + p for p in paths[0].split("/")))
    request_id = root.find(ns + paths[1])
    if error is None or request_id is None or len(root) != 2:
        faults.append(f"an error holds {[local(c.tag) for c in root]}, not {paths}")
        return
    if ec2 and len(root.find("Errors")) != 1:
        faults.append("more than one <Error>")
    tags = [local(c.tag) for c in error]
    if tags != (["Code", "Message"] if ec2 else ["Type", "Code", "Message"]) and tags != ["Type", "Code", "Message", "Detail"]:
        faults.append(f"<Error> holds {tags}")
    if not ec2 and error.findtext(ns + "Type") != ("Sender" if status < 500 else "Receiver"):
        faults.append(f"Type {error.findtext(ns + 'Type')!r} with HTTP {status}")
    check_request_id(request_id.text, headers, faults)
    check_code(service, status, error.findtext(ns + "Code") or "", error.findtext(ns + "Message") or "", faults)


def check_code(service, status, code, message, faults):
    if not CODE.fullmatch(code):
        faults.append(f"error code {code!r}")
    if not message.strip():
        faults.append(f"{code}: no message")
    wanted = STATUSES.get(code, 400)
    if service == "ec2" and status != wanted:
        faults.append(f"{code} with HTTP {status}; EC2 sends {wanted}")


# ---- replies: JSON ----

def check_json_value(shape, value, path, faults):
    kind = shape.type_name
    types = {"structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "blob": str, "integer": int,
             "long": int, "timestamp": (int, float), "float": (int, float), "double": (int, float)}
    if not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "boolean"):
        faults.append(f"{path}: {value!r} is no {kind}")
    elif kind == "structure":
        for name, v in value.items():
            if name not in shape.members:
                faults.append(f"{path}: unknown member {name}")
            else:
                check_json_value(shape.members[name], v, f"{path}/{name}", faults)
        faults.extend(f"{path}: no {name}, which the model requires" for name in shape.required_members if name not in value)
    elif kind == "map":
        for k, v in value.items():
            check_json_value(shape.key, k, f"{path} key", faults)
            check_json_value(shape.value, v, f"{path}[{k}]", faults)
    elif kind == "list":
        for i, v in enumerate(value):
            check_json_value(shape.member, v, f"{path}[{i}]", faults)
    elif kind == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        faults.append(f"{path}: {value!r} is not of the enum {shape.name}")


def check_json(service, operation, status, headers, body, faults):
    op = model(service).operation_model(operation)
    try:
        value = json.loads(body or "{}")
    except ValueError as e:
        faults.append(f"not JSON: {e}")
        return
    if not isinstance(value, dict):
        faults.append("not a JSON object")
    elif status < 300:
        if op.output_shape is not None:
            check_json_value(op.output_shape, value, operation, faults)
            if service == "ec2-instance-connect" and "RequestId" in value:
                check_request_id(value["RequestId"], headers, faults)
        elif value:
            faults.append(f"{operation} answers nothing, not {value}")
    else:
        kind = value.get("__type", "")
        message = value.get("Message", value.get("message", ""))
        name = kind.rsplit("#", 1)[-1]
        if set(value) - {"__type", "Message", "message"}:
            faults.append(f"an error holds {sorted(value)}")
        check_code(service, status, name if "." not in name else name.replace("AWS.SimpleQueueService.", ""), message, faults)
        known = {e.name for e in op.error_shapes} | {
            "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException",
            "MissingAuthenticationTokenException", "IncompleteSignatureException", "UnknownOperationException",
            "SerializationException", "ValidationException", "InternalFailure", "ServiceUnavailable", "RequestExpired"}
        if service == "ec2-instance-connect" and name not in known:
            faults.append(f"{name}: no error of {operation}")


# ---- replies ----

def speaks_json(service, headers):
    return service == "ec2-instance-connect" or headers.get("content-type", "").startswith("application/x-amz-json")


def check_reply(service, operation, status, headers, body):
    faults = []
    if speaks_json(service, headers):
        version = "1.0" if service == "sqs" else "1.1"
        if headers.get("content-type") != f"application/x-amz-json-{version}":
            faults.append(f"Content-Type {headers.get('content-type')!r}")
        check_json(service, operation, status, headers, body, faults)
        return faults
    if not re.fullmatch(r"text/xml(; ?charset=(UTF|utf)-8)?", headers.get("content-type", "")):
        faults.append(f"Content-Type {headers.get('content-type')!r}")
    if not body.startswith(b"<?xml "):
        faults.append("no XML declaration")
    root = parse_xml(body, faults)
    if root is None:
        return faults
    if status >= 300:
        check_xml_error(service, status, root, headers, faults)
    elif operation not in model(service).operation_names:
        faults.append(f"success of {operation}, which {service} does not have")
    elif service == "ec2":
        check_ec2(operation, root, headers, faults)
    else:
        check_query(service, operation, root, headers, faults)
    check_parsed(service, operation, status, headers, body, faults)
    return faults


def check_parsed(service, operation, status, headers, body, faults):
    """botocore's own parser must get the same out of it."""
    protocol = "ec2" if service == "ec2" else "query"
    shape = model(service).operation_model(operation).output_shape if operation in model(service).operation_names else None
    try:
        parsed = botocore.parsers.create_parser(protocol).parse({"status_code": status, "headers": headers, "body": body}, shape)
    except Exception as e:
        faults.append(f"botocore cannot parse it: {type(e).__name__}: {e}")
        return
    if status >= 300 and not parsed.get("Error", {}).get("Code"):
        faults.append("botocore finds no error code in it")


# ---- requests ----

class BadForm(Exception):
    pass


def nest(pairs):
    """{"Filter.1.Name": "x"} as {"Filter": {"1": {"Name": "x"}}}."""
    tree = {}
    for name, value in pairs:
        at = tree
        *parents, last = name.split(".")
        for part in parents:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise BadForm(f"{name}: {part} is a value and a structure")
        if last in at:
            raise BadForm(f"{name} twice")
        at[last] = value
    return tree


def wire_name(service, name, member):
    """How EC2Serializer and QuerySerializer name a member."""
    s = member.serialization
    if service != "ec2":
        return Walk.tag(name, member)
    if "queryName" in s:
        return s["queryName"]
    return s["name"][0].upper() + s["name"][1:] if "name" in s else name


def from_form(service, shape, tree, path):
    """The parameters as botocore would be given them."""
    kind = shape.type_name
    if kind == "structure":
        names = {wire_name(service, n, m): (n, m) for n, m in shape.members.items()}
        if not isinstance(tree, dict):
            raise BadForm(f"{path} is a structure")
        out = {}
        for part, sub in tree.items():
            if part not in names:
                raise BadForm(f"{path}{'.' if path else ''}{part}: no such parameter")
            name, member = names[part]
            out[name] = from_form(service, member, sub, f"{path}.{part}" if path else part)
        return out
    if kind == "list":
        if not isinstance(tree, dict):
            raise BadForm(f"{path} is a list: {path}.1")
        if service != "ec2" and not shape.serialization.get("flattened"):
            if set(tree) != {"member"}:
                raise BadForm(f"{path} is a list: {path}.member.1")
            tree = tree["member"]
        if sorted(tree, key=lambda k: (len(k), k)) != [str(i + 1) for i in range(len(tree))]:
            raise BadForm(f"{path} is numbered {sorted(tree)}, not from 1 on")
        return [from_form(service, shape.member, tree[str(i + 1)], f"{path}.{i + 1}") for i in range(len(tree))]
    if kind == "map":
        key, value = (s.serialization.get("name", n) for s, n in ((shape.key, "key"), (shape.value, "value")))
        if not isinstance(tree, dict) or sorted(map(str, tree)) != sorted(str(i + 1) for i in range(len(tree))) or any(
                not isinstance(e, dict) or set(e) != {key, value} for e in tree.values()):
            raise BadForm(f"{path} is a map: {path}.1.{key}, {path}.1.{value}")
        return {e[key]: from_form(service, shape.value, e[value], path) for e in tree.values()}
    if not isinstance(tree, str):
        raise BadForm(f"{path} is a value")
    why = None if kind == "timestamp" else scalar_fault(shape, tree)
    if path.endswith("UserData"):  # a plain string in the model; clients encode it before they serialise
        try:
            base64.b64decode(tree, validate=True)
        except ValueError:
            why = "not base64"
    if why:
        raise BadForm(f"{path}: {why}")
    if kind == "boolean":
        return tree == "true"
    if kind in ("integer", "long"):
        return int(tree)
    if kind in ("float", "double"):
        return float(tree)
    return base64.b64decode(tree) if kind == "blob" else tree


def check_form(service, body, faults):
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        faults.append("the form is not ASCII: not percent-encoded")
        return None
    pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=100000)
    if text and not all("=" in part for part in text.split("&")):
        faults.append("not a form: a part without '='")
    operation = dict(pairs).get("Action")
    if operation not in model(service).operation_names:
        faults.append(f"Action {operation!r} is none of {service}")
        return operation
    if dict(pairs).get("Version") != model(service).api_version:
        faults.append(f"Version {dict(pairs).get('Version')!r}, not {model(service).api_version}")
    op = model(service).operation_model(operation)
    rest = [(k, v) for k, v in pairs if k not in ("Action", "Version")]
    try:
        tree = nest(rest)
        params = from_form(service, op.input_shape, tree, "") if op.input_shape is not None else {}
        if op.input_shape is None and rest:
            raise BadForm(f"{operation} takes no parameters: {rest}")
    except BadForm as e:
        faults.append(f"{operation}: {e}")
        return operation
    if op.input_shape is not None:
        report = botocore.validate.ParamValidator().validate(params, op.input_shape)
        if report.has_errors():
            faults.append(f"{operation}: {report.generate_report()}")
            return operation
    check_serialized(service, op, params, pairs, faults)
    return operation


def check_serialized(service, op, params, pairs, faults):
    """botocore, given the same parameters, sends the same form."""
    protocol = "ec2" if service == "ec2" else "query"
    ours = dict(pairs)
    theirs = botocore.serialize.create_serializer(protocol).serialize_to_request(params, op)["body"]
    theirs = {k: ("true" if v is True else "false" if v is False else str(v)) for k, v in theirs.items()}
    for name in sorted(set(ours) | set(theirs)):
        a, b = ours.get(name), theirs.get(name)
        if a != b and not (a and b and "T" in a and "T" in b and re.match(r"\d{4}-", a)):
            faults.append(f"{op.name}: {name} is {a!r}, botocore sends {b!r}")


AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([\w+=,.@-]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
                           r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})")


def check_signature(headers, faults):
    """The service by the scope; None without a signature of this form."""
    found = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if not found:
        faults.append(f"Authorization {headers.get('authorization', '')[:60]!r} is no signature of version 4")
        return None
    _, day, _, service, signed, _ = found.groups()
    names = signed.split(";")
    if names != sorted(names):
        faults.append(f"SignedHeaders not in order: {signed}")
    for name in ["host", "x-amz-date"] + (["x-amz-security-token"] if "x-amz-security-token" in headers else []):
        if name not in names:
            faults.append(f"{name} is not signed")
    faults.extend(f"{n} is signed and not sent" for n in names if n not in headers)
    if not re.fullmatch(r"\d{8}T\d{6}Z", headers.get("x-amz-date", "")) or headers["x-amz-date"][:8] != day:
        faults.append(f"X-Amz-Date {headers.get('x-amz-date')!r}, scope of {day}")
    return service


def check_json_request(service, headers, body, faults):
    target = headers.get("x-amz-target", "")
    meta = model(service).metadata
    prefix, _, operation = target.partition(".")
    wanted = meta.get("targetPrefix", "AmazonSQS" if service == "sqs" else "")
    if prefix != wanted or operation not in model(service).operation_names:
        faults.append(f"X-Amz-Target {target!r} is none of {service}")
        return operation
    try:
        params = json.loads(body)
    except ValueError as e:
        faults.append(f"not JSON: {e}")
        return operation
    check_json_value(model(service).operation_model(operation).input_shape, params, operation, faults)
    return operation


def check_request(headers, path, body):
    faults = []
    unsigned = b"Action=AssumeRoleWithWebIdentity&" in body and "authorization" not in headers
    service = "sts" if unsigned else check_signature(headers, faults)
    if service not in ("ec2", "sts", "sqs", "ec2-instance-connect"):
        return service, None, faults
    kind = headers.get("content-type", "")
    if "x-amz-target" in headers:
        if kind != f"application/x-amz-json-{'1.0' if service == 'sqs' else '1.1'}":
            faults.append(f"Content-Type {kind!r}")
        return service, check_json_request(service, headers, body, faults), faults
    if path != "/" and service != "sqs":
        faults.append(f"path {path!r}")
    if not re.fullmatch(r"application/x-www-form-urlencoded(; charset=utf-8)?", kind):
        faults.append(f"Content-Type {kind!r}")
    try:
        return service, check_form(service, body, faults), faults
    except ValueError as e:
        faults.append(f"not a form: {e}")
        return service, None, faults


# ---- recordings ----

def check_exchange(record):
    """Faults of one recorded request and its reply. A request counts if it is of our own client, or of AWS's and was
    done; others are what tests make badly on purpose, and of these only the reply is looked at."""
    request, reply = record["request"], record["reply"]
    agent = request["headers"].get("user-agent", "")
    path, _, query = request["path"].partition("?")
    body = base64.b64decode(request["body"]) or (query.encode() if request["method"] == "GET" else b"")
    service, operation, asked = check_request(request["headers"], path, body)
    done = reply is not None and reply["status"] < 300
    counts = agent.startswith("hearth/") or done and agent.startswith(("Boto", "aws-cli/"))
    faults = [f"request: {f}" for f in asked] if counts else []
    known = service in NAMESPACES or service == "ec2-instance-connect"
    if reply is not None and request["method"] != "HEAD" and (known or not speaks_json(service, reply["headers"])):
        answered = base64.b64decode(reply["body"])
        faults += [f"reply: {f}" for f in check_reply(service if known else "ec2", operation or "", reply["status"],
                                                     reply["headers"], answered)]
    return [f"{service} {operation}: {f}" for f in faults]


def check_directory(directory):
    """(number of exchanges, {fault: (times, first file)})."""
    faults, n = {}, 0
    for path in sorted(pathlib.Path(directory).glob("*.json")):
        exchange = json.loads(path.read_text())
        if exchange["request"]["path"].startswith("/2015-02-01/"):
            continue  # EFS speaks JSON: test_efs.py holds it against its own model
        n += 1
        for fault in check_exchange(exchange):
            general = re.sub(r"\[\d+\]", "[]", fault)
            times, first = faults.get(general, (0, path.name))
            faults[general] = (times + 1, first)
    return n, faults


def main(argv):
    if len(argv) != 2:
        print("usage: aws_model.py DIR", file=sys.stderr)
        return 2
    n, faults = check_directory(argv[1])
    for fault, (times, first) in sorted(faults.items()):
        print(f"{times} times, first in {first}: {fault}")
    print(f"{n} exchanges, {len(faults)} kinds of faults")
    return 1 if faults or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
