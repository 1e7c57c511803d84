#!/usr/bin/env python3
"""Objects from files: a bad one beside good ones, removal, recovery, a ruleset that someone else flushed."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import check, equal, wait


def put(lab, name, ip, pods, **extra):
    return lab.put(name + ".json", obj.service(name, ip, **extra), obj.slice_of(name, pods))


def start(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    put(lab, "one", "10.96.0.10", ["10.244.2.2"])
    put(lab, "two", "10.96.0.11", ["10.244.2.3"])
    return lab.run().ready()


def reaches(lab, address, pod, **more):
    return traffic.ask(lab.ext, address, 80, **more) == (pod, "192.0.2.1")


def arrives(lab, address, pod):
    wait(lambda: reaches(lab, address, pod, timeout=traffic.POLLING), "%s leads to %s" % (address, pod))


def test_bad_file_beside_good_ones(lab):
    agent = start(lab)
    bad = os.path.join(lab.objects, "two.json")
    with open(bad, "w") as f:
        f.write('{"kind": "List", "apiVersion": "v1", "items": [ {"kind": ')
    put(lab, "one", "10.96.0.10", ["10.244.2.9"])
    arrives(lab, "10.96.0.10", "10.244.2.9")
    check(reaches(lab, "10.96.0.11", "10.244.2.3"), "the bad file's last good state is gone")
    wait(lambda: "two.json" in agent.log(), "the log names the file")
    put(lab, "two", "10.96.0.11", ["10.244.2.4"])
    arrives(lab, "10.96.0.11", "10.244.2.4")


def test_bad_object_beside_good_ones(lab):
    agent = start(lab)
    broken = obj.service("two", "10.96.0.11", port=70000)
    lab.put("two.json", broken, obj.slice_of("two", ["10.244.2.3"]), obj.service("three", "10.96.0.12"),
            obj.slice_of("three", ["10.244.2.5"]))
    arrives(lab, "10.96.0.12", "10.244.2.5")
    check(reaches(lab, "10.96.0.11", "10.244.2.3"), "the refused object's last good form is gone")
    wait(lambda: "default/two" in agent.log() and "port" in agent.log(), "the log names object and field")


def test_removed_file(lab):
    start(lab)
    os.unlink(os.path.join(lab.objects, "one.json"))
    wait(lambda: not nft.endpoints(lab.node, "10.96.0.10", 80), "the Service goes")
    check(reaches(lab, "10.96.0.11", "10.244.2.3"), "the other Service went, too")
    put(lab, "one", "10.96.0.10", ["10.244.2.6"])
    arrives(lab, "10.96.0.10", "10.244.2.6")


def test_one_file_many_objects_and_yaml(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    path = os.path.join(lab.folder, "all.yaml")
    with open(path, "w") as f:
        f.write("""
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ports: [{name: p, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: p, port: 8080}]
endpoints:
- addresses: [10.244.2.8]
""")
    lab.run(paths=path).ready()
    equal(traffic.ask(lab.ext, "10.96.0.10", 80), ("10.244.2.8", "192.0.2.1"), "the Service from YAML")


def test_recorded_cluster(lab):
    """What kubectl printed on a real cluster, in both formats, programs the same rules."""
    data = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "cluster", "cluster-list.")
    tables = []
    for ns, form in ((lab.node, "yaml"), (lab.bare_node(), "json")):
        lab.run(ns, paths=data + form, hostnameOverride="node1").ready()
        tables.append({family: nft.listing(ns, family) for family in ("ip", "ip6")})
    for family in ("ip", "ip6"):
        check(tables[0][family].get("set svc", {}).get("elem"), "no Services in %s", family)
        equal(nft.difference(tables[0][family], tables[1][family]), "", "YAML against JSON, %s" % family)
        equal(nft.faults(tables[0][family]), [], "faults in %s" % family)


def test_flushed_by_someone_else(lab):
    start(lab)
    before = {family: nft.listing(lab.node, family) for family in ("ip", "ip6")}
    nft.run(lab.node, "flush", "ruleset")
    put(lab, "two", "10.96.0.11", ["10.244.2.4"])
    arrives(lab, "10.96.0.11", "10.244.2.4")
    arrives(lab, "10.96.0.10", "10.244.2.2")
    put(lab, "two", "10.96.0.11", ["10.244.2.3"])
    arrives(lab, "10.96.0.11", "10.244.2.3")
    for family in ("ip", "ip6"):
        equal(nft.meaning_difference(nft.listing(lab.node, family), before[family]), "", "the table %s" % family)


def test_others_tables_are_left_alone(lab):
    rules = "table inet theirs {\n chain c {\n type filter hook forward priority 0; policy accept;\n ip saddr 203.0.113.7 drop\n }\n}\n"
    equal(nft.run(lab.node, "-f", "-", text=rules).returncode, 0, "nft -f")
    theirs = nft.run(lab.node, "list", "table", "inet", "theirs").stdout
    agent = start(lab)
    put(lab, "one", "10.96.0.10", ["10.244.2.9"])
    arrives(lab, "10.96.0.10", "10.244.2.9")
    agent.stop()
    lab.command("cleanup", "--now")
    equal(nft.run(lab.node, "list", "table", "inet", "theirs").stdout, theirs, "the other program's table")


if __name__ == "__main__":
    harness.main(globals())
