"""Objects in JSON to Kubernetes protobuf: what a proxy looks at, and what it has to skip; for test API servers.

A value of a map may hold bytes that are no UTF-8, as "\\udcff" (surrogateescape).
Field numbers as in Kubernetes' generated.proto. What is not in the tables is left out, except that every message
gets a field that no reader knows, as newer servers send them.
"""
import calendar
import json
import struct
import time

MAGIC = b"k8s\0"

# name -> (number, type); a list has the type of its elements. Types: str, int, bool, "time", "map", "json", or a table.
OWNER = {"kind": (1, str), "name": (3, str), "uid": (4, str), "apiVersion": (5, str), "controller": (6, bool), "blockOwnerDeletion": (7, bool)}
MANAGED = {"manager": (1, str), "operation": (2, str), "apiVersion": (3, str), "time": (4, "time"), "fieldsType": (6, str), "fieldsV1": (7, "json")}
META = {"name": (1, str), "generateName": (2, str), "namespace": (3, str), "uid": (5, str), "resourceVersion": (6, str),
        "creationTimestamp": (8, "time"), "deletionTimestamp": (9, "time"), "labels": (11, "map"), "annotations": (12, "map"),
        "ownerReferences": (13, OWNER), "managedFields": (17, MANAGED)}
REFERENCE = {"kind": (1, str), "namespace": (2, str), "name": (3, str), "uid": (4, str)}
NAMED = {"name": (1, str)}
KINDS = {
    "Service": {
        "metadata": (1, META),
        "spec": (2, {
            "ports": (1, {"name": (1, str), "protocol": (2, str), "port": (3, int), "nodePort": (5, int)}),
            "selector": (2, "map"), "clusterIP": (3, str), "type": (4, str), "externalIPs": (5, str), "sessionAffinity": (7, str),
            "loadBalancerSourceRanges": (9, str), "externalTrafficPolicy": (11, str), "healthCheckNodePort": (12, int),
            "sessionAffinityConfig": (14, {"clientIP": (1, {"timeoutSeconds": (1, int)})}),
            "clusterIPs": (18, str), "ipFamilies": (19, str), "internalTrafficPolicy": (22, str)}),
        "status": (3, {"loadBalancer": (1, {"ingress": (1, {"ip": (1, str), "hostname": (2, str), "ipMode": (3, str)})})})},
    "EndpointSlice": {
        "metadata": (1, META), "addressType": (4, str),
        "endpoints": (2, {
            "addresses": (1, str), "conditions": (2, {"ready": (1, bool), "serving": (2, bool), "terminating": (3, bool)}),
            "targetRef": (4, REFERENCE), "nodeName": (6, str), "zone": (7, str), "hints": (8, {"forZones": (1, NAMED), "forNodes": (2, NAMED)})}),
        "ports": (3, {"name": (1, str), "protocol": (2, str), "port": (3, int), "appProtocol": (4, str)})},
    "Node": {
        "metadata": (1, META),
        "spec": (2, {"podCIDR": (1, str), "taints": (5, {"key": (1, str), "value": (2, str), "effect": (3, str)}), "podCIDRs": (7, str)}),
        "status": (3, {
            "conditions": (4, {"type": (1, str), "status": (2, str), "reason": (5, str), "message": (6, str)}),
            "addresses": (5, {"type": (1, str), "address": (2, str)})})},
    "ServiceCIDR": {"metadata": (1, META), "spec": (2, {"cidrs": (1, str)})},
    "Status": {"status": (2, str), "message": (3, str), "reason": (4, str), "code": (6, int)},
}
LIST_META = {"resourceVersion": (2, str), "continue": (3, str)}
UNKNOWN = b"\xfa\x3f\x03new"  # number 1023


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def data(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def field(number, kind, value):
    if kind in (int, bool):
        return varint(number << 3) + varint(int(value))
    if kind == "time":
        seconds = calendar.timegm(time.strptime(value, "%Y-%m-%dT%H:%M:%SZ"))
        return data(number, b"\x08" + varint(seconds))
    if kind == "map":
        return b"".join(data(number, data(1, k.encode()) + data(2, v.encode(errors="surrogateescape"))) for k, v in value.items())
    if kind == "json":
        return data(number, data(1, json.dumps(value, separators=(",", ":")).encode()))
    return data(number, value.encode() if kind is str else message(kind, value))


def message(table, value):
    out = UNKNOWN
    for name, (number, kind) in table.items():
        v = value.get(name)
        for one in v if isinstance(v, list) else [] if v is None else [v]:
            out += field(number, kind, one)
    return out


def envelope(value, raw):
    kind = data(1, value.get("apiVersion", "").encode()) + data(2, value.get("kind", "").encode())
    return MAGIC + data(1, kind) + data(2, raw) + data(3, b"") + data(4, b"")


def body(value):
    """An object, a list or a Status that stands alone."""
    kind = value.get("kind", "")
    if kind.endswith("List"):
        items = b"".join(data(2, message(KINDS[kind[:-4]], item)) for item in value["items"])
        return envelope(value, data(1, message(LIST_META, value["metadata"])) + items)
    return envelope(value, message(KINDS.get(kind, {}), value))


def frame(kind, raw):
    """One event of a watch; raw: the body() of its object."""
    event = data(1, kind.encode()) + data(2, data(1, raw))
    return struct.pack(">I", len(event)) + event


def frames(lines):
    """Events of a watch, one in each line of JSON. What is no JSON stays as it is."""
    try:
        events = [json.loads(line) for line in lines.splitlines() if line]
    except ValueError:
        return lines
    return b"".join(frame(e.get("type", ""), body(e.get("object") or {})) for e in events)
