"""What the kernel holds: the generation id, listings that can be compared, and their meaning."""
import json
import re
import socket
import struct
import subprocess

NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN, NFT_MSG_NEWGEN, NFTA_GEN_ID = 10, 16, 15, 1
TABLES = (("ip", "proxylet"), ("ip6", "proxylet"))


def generation(ns):
    """nf_tables' generation id of a namespace: every write transaction that holds anything raises it."""
    with ns:
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
    with s:
        s.settimeout(5)
        s.send(struct.pack("=IHHIIBBH", 20, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 1, 1, 0, 0, 0, 0))
        data = s.recv(4096)
    at = 20
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if kind & 0x3FFF == NFTA_GEN_ID:
            return struct.unpack_from("!I", data, at + 4)[0]
        at += (length + 3) & ~3
    raise ValueError("no generation in the kernel's answer")


def run(ns, *argv, text=None):
    with ns:
        return subprocess.run(["nft", *argv], input=text, capture_output=True, text=True)


def raw(ns, family="ip", table="proxylet"):
    """The objects of 'nft -j list table', [] if there is no such table."""
    p = run(ns, "-j", "list", "table", family, table)
    return json.loads(p.stdout)["nftables"][1:] if p.returncode == 0 else []


def stable(value):
    """Without handles and without what changes by itself; elements in one order."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if k not in ("handle", "expires", "index")}
    return [stable(v) for v in value] if isinstance(value, list) else value


def listing(ns, family="ip", table="proxylet"):
    """
    A table as {"chain NAME": [rules], "set NAME": ...} in which equal rules compare equal.
    Entries of dynamic sets are traffic, not rules, and left out.
    """
    out = {}
    for item in raw(ns, family, table):
        (kind, body), = stable(item).items()
        if kind == "rule":
            out["chain " + body["chain"]]["rules"].append([body.get("comment")] + body["expr"])
        elif kind == "chain":
            out["chain " + body["name"]] = dict(body, rules=[])
        elif kind in ("set", "map"):
            elements = [] if "timeout" in body.get("flags", []) else body.get("elem", [])
            body["elem"] = sorted(elements, key=json.dumps)
            out["set " + body["name"]] = body
        else:
            out["%s %s" % (kind, body.get("name", ""))] = body
    return out


def difference(a, b):
    """A few words about where two listings differ, '' if nowhere."""
    for key in sorted(set(a) | set(b)):
        if a.get(key) != b.get(key):
            if key.startswith("set ") and key in a and key in b and a[key]["elem"] != b[key]["elem"]:
                ours, theirs = ([json.dumps(e) for e in side[key]["elem"]] for side in (a, b))
                return "%s: only left %s, only right %s" % (
                    key, [e for e in ours if e not in theirs][:3], [e for e in theirs if e not in ours][:3])
            return "%s: %s against %s" % (key, json.dumps(a.get(key))[:600], json.dumps(b.get(key))[:600])
    return ""


def element(e):
    """-> (key as a tuple, comment or None, data) of a map's element"""
    key, data = e if isinstance(e, list) else (e, None)
    comment = None
    if isinstance(key, dict) and "elem" in key:
        comment, key = key["elem"].get("comment"), key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    return tuple(parts), comment, data


def verdict(data):
    """'drop', or the chain a verdict goes to"""
    for how in ("goto", "jump"):
        if how in data:
            return data[how]["target"]
    return next(iter(data))


def chain_meaning(table, name, depth=0):
    """What a chain does, whatever size class it is of: its rules with the sizes taken out."""
    rules = table.get("chain " + name, {"rules": []})["rules"]
    text = json.dumps(rules, sort_keys=True)
    private = sorted(set(re.findall(r'"target": "([a-z-]+/[^"]+)"', text)))
    inner = [chain_meaning(table, p, depth + 1) for p in private] if depth < 3 else []
    return [re.sub(r"((?:pick|try|cip|ext|np|loc)-)[\d-]*\d", r"\1N", text)] + inner


def meaning(table):
    """
    What a listing does, so that tables that got there by different ways compare equal: each front end's
    treatment and its endpoints. Which slot holds which endpoint, the size of the class and shared
    chains that are not used are left out.
    """
    out = {}
    for fronts, slots in (("svc", "eps"), ("np", "npeps")):
        chosen = {}
        for e in table.get("set " + slots, {"elem": []})["elem"]:
            key, _, data = element(e)
            chosen.setdefault(key[:-1], {})[key[-1]] = json.dumps(data)
        for e in table.get("set " + fronts, {"elem": []})["elem"]:
            key, comment, data = element(e)
            target, mine = verdict(data), chosen.pop(key, {})
            kind = re.sub(r"-\d+", "", target) if "/" not in target else target
            out[fronts, key] = (
                comment, kind, chain_meaning(table, target) if "/" in target else None,
                sorted(v for k, v in mine.items() if k < 32768), sorted(v for k, v in mine.items() if k >= 32768))
        for key in chosen:
            out[slots, key] = "slots without a front end"
    for name in ("cluster-ips", "hairpin", "node-ips", "nodeport-ips", "affrec", "affrecnp"):
        out[name] = [json.dumps(e) for e in table.get("set " + name, {"elem": []})["elem"]]
    for name in ("services", "record", "nat-prerouting", "nat-output", "nat-input", "nat-postrouting", "reject-new"):
        out[name] = table.get("chain " + name)
    return out


def meaning_difference(a, b):
    """As difference(), for two listings that only have to mean the same."""
    a, b = meaning(a), meaning(b)
    for key in sorted(set(a) | set(b), key=str):
        if a.get(key) != b.get(key):
            return "%s: %s against %s" % (key, str(a.get(key))[:600], str(b.get(key))[:600])
    return ""


def faults(table):
    """Broken invariants of a listing: slots dense from 0 (and from 32768), as many as the class can draw."""
    out = []
    for fronts, slots in (("svc", "eps"), ("np", "npeps")):
        chosen = {}
        for e in table.get("set " + slots, {"elem": []})["elem"]:
            key, _, _ = element(e)
            chosen.setdefault(key[:-1], []).append(key[-1])
        for e in table.get("set " + fronts, {"elem": []})["elem"]:
            key, _, data = element(e)
            target = verdict(data)
            numbers = sorted(chosen.get(key, []))
            shared = [n for n in numbers if n < 32768]
            local = [n - 32768 for n in numbers if n >= 32768]
            for kind, have in (("slots", shared), ("local slots", local)):
                if have != list(range(len(have))):
                    out.append("%s %s: %s are not dense: %s" % (fronts, key, kind, have))
            size = re.search(r"(?:cip|ext|loc)-(\d+)(?:-(\d+))?$", target)
            if size and (len(shared) > int(size[1]) or len(local) > int(size[2] or 0) or not (shared or local)):
                out.append("%s %s: class %s with %d and %d slots" % (fronts, key, target, len(shared), len(local)))
    return out


def endpoints(ns, address, port, protocol="tcp", family="ip"):
    """Addresses in the slots of one front end, as the kernel holds them now."""
    table = listing(ns, family)
    found = set()
    for e in table.get("set eps", {"elem": []})["elem"]:
        key, _, data = element(e)
        if key[:3] == (address, protocol, port):
            found.add(data["concat"][0])
    return found
