#!/usr/bin/env python3
"""The text that "render" prints, loaded by nft, is what the agent programs."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
from harness import check, equal


def every_kind(lab):
    """One Service of each way to be served."""
    pods = ["10.244.1.2", "10.244.2.2", "10.244.2.3"]
    sticky = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}
    kinds = {
        "plain": {}, "node-port": {"node_port": 30001}, "sticky": dict(sticky, node_port=30002),
        "ranges": {"vips": ["203.0.113.3"], "loadBalancerSourceRanges": ["198.51.100.0/25", "192.0.2.0/24"]},
        "local": {"vips": ["203.0.113.4"], "externalTrafficPolicy": "Local", "healthCheckNodePort": 31004, "node_port": 30004},
        "sticky-local": dict(sticky, vips=["203.0.113.5"], externalTrafficPolicy="Local", healthCheckNodePort=31005),
        "external": {"externalIPs": ["203.0.113.60"]}, "inside": {"internalTrafficPolicy": "Local"},
    }
    items = [obj.node()]
    for n, (name, extra) in enumerate(kinds.items()):
        items += [obj.service(name, "10.96.1.%d" % n, **extra), obj.slice_of(name, pods[:1 + n % 3])]
    items += [obj.service("none", "10.96.1.90", node_port=30090), obj.service("udp", "10.96.1.91", 53, "UDP"),
              obj.slice_of("udp", pods, protocol="UDP")]
    return lab.put("all.json", *items)


def same(lab, path, **config):
    agent = lab.run(paths=path, **config).ready()
    p = lab.command("render", "-f", path, "--config", agent.config)
    equal(p.returncode, 0, "render: %s" % p.stderr)
    other = lab.bare_node()
    # nft 1.0.6 cannot read some IPv6 rules that it lists (nft-design 3.1), so the tables are told apart.
    text = p.stdout.split("table ip6 ")[0]
    loaded = nft.run(other, "-f", "-", text=text)
    equal(loaded.returncode, 0, "nft -f: %s" % loaded.stderr[:800])
    equal(nft.difference(nft.listing(lab.node), nft.listing(other)), "", "agent against nft -f")


def test_same_rules_both_ways(lab):
    same(lab, every_kind(lab))


def test_same_rules_masquerade_all(lab):
    same(lab, every_kind(lab), nftables={"masqueradeAll": True})


def test_same_rules_without_cluster_cidr(lab):
    same(lab, every_kind(lab), clusterCIDR="")


def test_same_rules_node_port_addresses(lab):
    same(lab, every_kind(lab), nodePortAddresses=["192.0.2.0/24"])


def test_same_text_every_time(lab):
    path = every_kind(lab)
    texts = {lab.command("render", "-f", path, "--node", obj.NODE).stdout for _ in range(3)}
    equal(len(texts), 1, "different texts of three runs")
    check("table ip proxylet" in texts.pop(), "no table")


def test_render_needs_no_root_and_no_kernel(lab):
    path = every_kind(lab)
    os.chmod(lab.folder, 0o755)
    p = lab.command("render", "-f", path, "--node", obj.NODE)
    equal(p.returncode, 0, p.stderr)
    equal(nft.raw(lab.node), [], "tables after render")


def render(lab, config, *flags):
    """-> the finished process"""
    file = os.path.join(lab.folder, "render.json")
    with open(file, "w") as f:
        json.dump(dict(config, apiVersion="kubeproxy.config.k8s.io/v1alpha1", kind="KubeProxyConfiguration"), f)
    return lab.command("render", "-f", every_kind(lab), "--config", file, *flags)


def test_as_run_would(lab):
    """The same mode, the same errors, and the same warning."""
    node = ["--node", obj.NODE]
    p = render(lab, {"mode": "ipvs", "proxylet": {"fallback": "iptables"}}, *node)
    equal(p.returncode, 0, "exit status in mode ipvs with a fallback")
    check("*nat" in p.stdout, "rules of another mode: %s", p.stdout[:80])
    p = render(lab, {"mode": "ipvs"}, *node)
    equal((p.returncode, p.stdout), (2, ""), "exit status and rules in mode ipvs")
    check("fallback" in p.stderr, "the message: %s", p.stderr)
    equal(render(lab, {"mode": "ipvs"}, "--mode", "nftables", *node).returncode, 0, "exit status in another mode")
    for flags in (["--cluster-cidr", "10.244.0.0/33"], []):
        p = render(lab, {"unknown": 1} if flags else {"unknown": 1, "clusterCIDR": "10.244.0.0/33"}, *flags, *node)
        equal((p.returncode, p.stdout), (2, ""), "exit status and rules")
        check("clusterCIDR" in p.stderr and "unknown" not in p.stderr, "the message: %s", p.stderr)
    p = render(lab, {}, "--node", "node-0")
    equal(p.returncode, 0, "exit status for a node that is not there")
    check('no Node object named "node-0"' in p.stderr, "the message: %s", p.stderr)


def test_bad_input(lab):
    path = os.path.join(lab.folder, "bad.yaml")
    with open(path, "w") as f:
        f.write("kind: Service\napiVersion: v1\nmetadata: {name: x, namespace: default}\nspec: {ports: [{port: 70000}]}\n")
    p = lab.command("render", "-f", path, "--node", obj.NODE)
    equal(p.returncode, 2, "exit status: %s" % p.stderr)
    check("bad.yaml" in p.stderr and "port" in p.stderr, "the message: %s", p.stderr)


if __name__ == "__main__":
    harness.main(globals())
