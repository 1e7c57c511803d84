"""Loads: the Services and endpoints that are programmed, the same for every opponent and every run.

They are those of tests/judge/load.py: 10 % have a node port, 5 % are load balancers (half of them
Local), 1 % have affinity. Changes come from a random number generator with a fixed seed.
"""
import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

import fakeapi
import k8spb
import load
import objects as obj

CIDR = "10.128.0.0/9"   # holds every endpoint of load.address()
SEED = 7
SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"


def compact(o):
    return json.dumps(o, separators=(",", ":")).encode()


def service(i):
    return dict(load.service(i), kind="Service", apiVersion="v1")


def newcomer(k):
    """The k-th address that an endpoint is replaced by: no endpoint of any load has it."""
    return "10.%d.%d.%d" % (64 + (k >> 16), k >> 8 & 255, k & 255)


class Load:
    """N Services with E endpoints each."""

    def __init__(self, services, endpoints):
        self.services, self.endpoints = services, endpoints
        self.name, self.key, self.size = "%d x %d" % (services, endpoints), "%dx%d" % (services, endpoints), services * endpoints
        self.random = random.Random(SEED)
        self.version = 2000000
        self.n_changes = 0
        self.initial = {}

    def services_of(self):
        """Each Service's spec and its load balancer's address, if any."""
        for i in range(self.services):
            o = load.service(i)
            yield o["spec"], (o["status"]["loadBalancer"].get("ingress") or [{}])[0].get("ip")

    def hosts(self, i):
        return [load.address(i, j) for j in range(self.endpoints)]

    def file(self, folder):
        """Everything as kubectl prints it, in one file. -> path"""
        path = os.path.join(folder, "load-%d-%d.json" % (self.services, self.endpoints))
        if os.path.exists(path):
            return path
        with open(path, "wb") as f:
            f.write(b'{"apiVersion":"v1","kind":"List","items":[' + compact(obj.node()))
            for i in range(self.services):
                for item in (service(i), load.endpointslice(i, self.endpoints, i)):
                    item["metadata"].pop("managedFields")
                    f.write(b",\n" + compact(item))
            f.write(b"]}\n")
        return path

    def collections(self, protobuf=False):
        """What an API server has: path -> the events that a watch begins with."""
        def added(o):
            return event("ADDED", o, protobuf)

        if protobuf not in self.initial:
            self.initial[protobuf] = {
                SERVICES: [added(service(i)) for i in range(self.services)],
                SLICES: [added(load.endpointslice(i, self.endpoints, i)) for i in range(self.services)]}
        return self.initial[protobuf]

    def bytes(self, protobuf=False):
        return sum(len(e) for events in self.collections(protobuf).values() for e in events)

    def next_version(self):
        self.version += 1
        return self.version

    def replace(self, i=None):
        """One endpoint of one Service, at random, becomes another. -> the event's object"""
        self.n_changes += 1
        i = self.random.randrange(self.services) if i is None else i
        return load.endpointslice(i, self.endpoints, self.next_version(), newcomer(self.n_changes))

    def add(self, k):
        """A Service that was not there, the k-th. -> Service, EndpointSlice"""
        i = self.services + 10 * k + 3      # neither node port nor load balancer
        return dict(service(i), metadata=load.meta("service-%05d" % i, self.next_version())), \
            load.endpointslice(i, self.endpoints, self.next_version())


def named(text):
    """Those of "1000x10,5000x50"."""
    return [Load(*map(int, name.split("x"))) for name in filter(None, text.split(","))]


def event(kind, o, protobuf=False):
    if protobuf:
        return k8spb.frame(kind, k8spb.body(o))
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), compact(o))


def api_objects(node_name=obj.NODE):
    """The other collections of an API server that has a load."""
    return fakeapi.objects_of({"nodeName": node_name, "nodeIP": "192.0.2.1", "nodeIPs": ["192.0.2.1"],
                               "services": [], "endpointSlices": []})
