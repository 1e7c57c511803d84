"""API objects as short calls, and the HTTP request of a prober."""
import http.client
import re

NODE, ZONE = "node-1", "zone-a"


def node(taints=(), name=NODE):
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": ZONE}},
        "spec": {"taints": [{"key": t, "effect": "NoSchedule"} for t in taints]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "2001:db8::1"}]},
    }


def service(name, ip, port=80, protocol="TCP", target=8080, node_port=0, **spec):
    """ip: clusterIP, or a list of two for dual stack. spec: more fields of spec; 'vips' fills the status."""
    ips = [ip] if isinstance(ip, str) else list(ip)
    vips = spec.pop("vips", [])
    one = {"name": "p", "port": port, "protocol": protocol, "targetPort": target}
    if node_port:
        one["nodePort"] = node_port
    full = {
        "type": "LoadBalancer" if vips else "NodePort" if node_port else "ClusterIP",
        "clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": ["IPv6" if ":" in i else "IPv4" for i in ips],
        "ipFamilyPolicy": "SingleStack" if len(ips) == 1 else "RequireDualStack",
        "internalTrafficPolicy": "Cluster", "sessionAffinity": "None", "ports": [one],
    }
    if vips or node_port:
        full["externalTrafficPolicy"] = "Cluster"
    full.update(spec)
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": full, "status": {"loadBalancer": {"ingress": [{"ip": v, "ipMode": "VIP"} for v in vips]}},
    }


def endpoint(ip, node_name=None, ready=True, serving=True, terminating=False):
    """Pods of 10.244.1 and fd00:10:244:1 run on this node unless told."""
    here = ip.startswith("10.244.1.") or ip.startswith("fd00:10:244:1:")
    return {
        "addresses": [ip], "nodeName": node_name or (NODE if here else "node-2"), "zone": ZONE,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    }


def slice_of(service_name, endpoints, port=8080, protocol="TCP", suffix="x"):
    """endpoints: addresses, or values of endpoint(); all of one family, IPv4 if there are none."""
    items = [endpoint(e) if isinstance(e, str) else e for e in endpoints]
    v6 = bool(items) and ":" in items[0]["addresses"][0]
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "%s-%s" % (service_name, suffix), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": service_name}},
        "addressType": "IPv6" if v6 else "IPv4",
        "ports": [{"name": "p", "port": port, "protocol": protocol}], "endpoints": items,
    }


def read_answer(sock):
    """The next one of a connection that is kept, whole: it may come in parts. -> bytes; b"": the end before it"""
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) >= int(re.search(rb"(?i)content-length: *(\d+)", head)[1]):
            return data
        part = sock.recv(65536)
        if not part:
            return data
        data += part


def http_get(address, port, path="/healthz", timeout=20.0, source=""):
    """-> (status, headers, body); status 0: nobody answers"""
    c = http.client.HTTPConnection(address, port, timeout=timeout, source_address=(source, 0) if source else None)
    try:
        c.request("GET", path)
        r = c.getresponse()
        return r.status, dict(r.getheaders()), r.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, {}, ""
    finally:
        c.close()
