"""Rules of the shape that kube-proxy 1.36 writes, for the same loads: nftables and iptables.

The nftables text has one command for each chain, rule and element, as kube-proxy's own
transactions; the iptables text is for "iptables-restore --noflush". What every cluster has once and
costs nothing (service CIDRs, source ranges) is left out. Names are hashed as kube-proxy's.
"""
import base64
import hashlib

from loads import CIDR

MARK = "0x4000"
NODE_PORTS = "192.0.2.1"


def hashed(text, length):
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:length]


class Nftables:
    """Lines for "nft -f": the whole table, and the change of one Service."""

    T = "ip kube-proxy"
    BASE = (
        ("filter-prerouting-pre-dnat", "filter", "prerouting", -110, ["ct state new jump firewall-check"]),
        ("filter-output-pre-dnat", "filter", "output", -110, ["ct state new jump firewall-check"]),
        ("filter-input", "filter", "input", 0, ["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"]),
        ("filter-forward", "filter", "forward", 0, ["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"]),
        ("filter-output", "filter", "output", 0, ["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"]),
        ("nat-prerouting", "nat", "prerouting", -100, ["jump services"]),
        ("nat-output", "nat", "output", -100, ["jump services"]),
        ("nat-postrouting", "nat", "postrouting", 100, ["jump masquerading"]),
    )
    SETS = (
        ("set cluster-ips", "type ipv4_addr"), ("set nodeport-ips", "type ipv4_addr"),
        ("set hairpin-connections", "type ipv4_addr . ipv4_addr . inet_proto . inet_service"),
        ("map no-endpoint-services", "type ipv4_addr . inet_proto . inet_service : verdict"),
        ("map no-endpoint-nodeports", "type inet_proto . inet_service : verdict"),
        ("map firewall-ips", "type ipv4_addr . inet_proto . inet_service : verdict"),
        ("map service-ips", "type ipv4_addr . inet_proto . inet_service : verdict"),
        ("map service-nodeports", "type inet_proto . inet_service : verdict"),
    )
    CHAINS = (
        ("reject-chain", ["reject"]),
        ("services", ["ip daddr @cluster-ips ip saddr != %s mark set mark or %s" % (CIDR, MARK),
                      "ip daddr . meta l4proto . th dport vmap @service-ips",
                      "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"]),
        ("service-endpoints-check", ["ip daddr . meta l4proto . th dport vmap @no-endpoint-services"]),
        ("nodeport-endpoints-check", ["ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"]),
        ("firewall-check", ["ip daddr . meta l4proto . th dport vmap @firewall-ips"]),
        ("cluster-ips-check", ["ip daddr @cluster-ips reject"]),
        ("masquerading", ["mark and %s != 0 mark set mark xor %s masquerade fully-random" % (MARK, MARK),
                          "ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random"]),
    )

    def __init__(self, load):
        self.load = load

    def elem(self, where, what, verb="add"):
        return "%s element %s %s { %s }" % (verb, self.T, where, what)

    def chain(self, name, rules, text=""):
        return ["add chain %s %s %s" % (self.T, name, text)] + self.rules(name, rules)

    def rules(self, name, rules):
        return ["add rule %s %s %s" % (self.T, name, rule) for rule in rules]

    def base(self):
        yield "add table %s { comment \"rules for kube-proxy\" ; }" % self.T
        for name, text in self.SETS:
            kind, name = name.split()
            yield "add %s %s %s { %s ; }" % (kind, self.T, name, text)
        for name, rules in self.CHAINS:
            yield from self.chain(name, [])
        for name, kind, hook, priority, rules in self.BASE:
            yield from self.chain(name, rules, "{ type %s hook %s priority %d ; }" % (kind, hook, priority))
        for name, rules in self.CHAINS:
            yield from self.rules(name, rules)
        yield self.elem("nodeport-ips", NODE_PORTS)

    @staticmethod
    def base_name(i):
        text = "default/service-%05d/tcp/http" % i
        return "%s-%s" % (hashed(text, 8), text)

    @staticmethod
    def endpoint_name(i, host):
        text = "default/service-%05d/tcp/http__%s/8080" % (i, host)
        return "%s-%s" % (hashed(text, 8), text)

    def pick(self, hosts):
        return "meta l4proto tcp dnat ip addr . port to numgen random mod %d map { %s }" % (
            len(hosts), ", ".join("%d : %s . 8080" % pair for pair in enumerate(hosts)))

    def sticky(self, i, hosts, timeout):
        name, rules = "service-" + self.base_name(i), []
        for host in hosts:
            end = self.endpoint_name(i, host)
            yield "add set %s affinity-%s { type ipv4_addr ; flags dynamic,timeout ; timeout %ds ; }" % (self.T, end, timeout)
            yield from self.chain("endpoint-" + end, ["update @affinity-%s { ip saddr }" % end, "meta l4proto tcp dnat to %s:8080" % host])
            rules.append("ip saddr @affinity-%s goto endpoint-%s" % (end, end))
        rules.append("numgen random mod %d vmap { %s }" % (
            len(hosts), ", ".join("%d : goto endpoint-%s" % (k, self.endpoint_name(i, h)) for k, h in enumerate(hosts))))
        yield from self.chain(name, rules)

    def service(self, i, spec, hosts, status_ip):
        name, is_local = self.base_name(i), spec.get("externalTrafficPolicy") == "Local"
        affinity = spec.get("sessionAffinityConfig")
        if affinity:
            yield from self.sticky(i, hosts, affinity["clientIP"]["timeoutSeconds"])
        else:
            yield from self.chain("service-" + name, [self.pick(hosts)])
        yield self.elem("cluster-ips", spec["clusterIP"])
        yield self.elem("service-ips", "%s . tcp . 80 : goto service-%s" % (spec["clusterIP"], name))
        for host in hosts:
            yield self.elem("hairpin-connections", "%s . %s . tcp . 8080" % (host, host))
        if spec["type"] == "ClusterIP":
            return
        rules = ["mark set mark or " + MARK, "goto service-" + name]
        if is_local:    # the first endpoint is this node's
            yield from self.chain("local-" + name, [self.pick(hosts[:1])])
            rules = ["ip saddr %s goto service-%s" % (CIDR, name), "fib saddr type local mark set mark or " + MARK,
                     "fib saddr type local goto service-" + name, "goto local-" + name]
        yield from self.chain("external-" + name, rules)
        if spec["ports"][0].get("nodePort"):
            yield self.elem("service-nodeports", "tcp . %d : goto external-%s" % (spec["ports"][0]["nodePort"], name))
        if status_ip:
            yield self.elem("service-ips", "%s . tcp . 80 : goto external-%s" % (status_ip, name))

    def whole(self):
        yield from self.base()
        for i, (spec, status_ip) in enumerate(self.load.services_of()):
            yield from self.service(i, spec, self.load.hosts(i), status_ip)

    def replace(self, i, old, new):
        """One endpoint becomes another: the chain is written anew."""
        hosts = [new if h == old else h for h in self.load.hosts(i)]
        chain = "service-" + self.base_name(i)
        return ["flush chain %s %s" % (self.T, chain)] + self.rules(chain, [self.pick(hosts)]) + [
            self.elem("hairpin-connections", "%s . %s . tcp . 8080" % (old, old), "delete"),
            self.elem("hairpin-connections", "%s . %s . tcp . 8080" % (new, new))]


class Iptables:
    """Lines for "iptables-restore --noflush", table nat, of clusterIPs, node ports and virtual addresses."""

    def __init__(self, load):
        self.load = load

    @staticmethod
    def names(i):
        return tuple("KUBE-%s-%s" % (kind, hashed("default/service-%05d:httptcp" % i, 16)) for kind in ("SVC", "EXT", "SVL"))

    @staticmethod
    def sep(i, host):
        return "KUBE-SEP-" + hashed("default/service-%05d:httptcp%s:8080" % (i, host), 16)

    def draw(self, i, chain, hosts):
        for k, host in enumerate(hosts):
            odds = "" if k == len(hosts) - 1 else "-m statistic --mode random --probability %.10f " % (1 / (len(hosts) - k))
            yield "-A %s -m comment --comment \"default/service-%05d:http -> %s:8080\" %s-j %s" % (chain, i, host, odds, self.sep(i, host))

    def service(self, i, spec, hosts, status_ip):
        """-> (chains, rules)"""
        svc, ext, svl = self.names(i)
        is_local = spec.get("externalTrafficPolicy") == "Local"
        chains = [svc] + [self.sep(i, h) for h in hosts]
        rules = ["-A KUBE-SERVICES -d %s/32 -p tcp -m comment --comment \"default/service-%05d:http cluster IP\" -m tcp --dport 80 -j %s" % (spec["clusterIP"], i, svc),
                 "-A %s ! -s %s -d %s/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ" % (svc, CIDR, spec["clusterIP"])]
        rules += self.draw(i, svc, hosts)
        for host in hosts:
            rules += ["-A %s -s %s/32 -j KUBE-MARK-MASQ" % (self.sep(i, host), host),
                      "-A %s -p tcp -m tcp -j DNAT --to-destination %s:8080" % (self.sep(i, host), host)]
        if spec["type"] == "ClusterIP":
            return chains, rules
        chains.append(ext)
        if is_local:
            chains.append(svl)
            rules += ["-A %s -s %s -j %s" % (ext, CIDR, svc), "-A %s -j %s" % (ext, svl)] + list(self.draw(i, svl, hosts[:1]))
        else:
            rules += ["-A %s -j KUBE-MARK-MASQ" % ext, "-A %s -j %s" % (ext, svc)]
        if spec["ports"][0].get("nodePort"):
            rules.append("-A KUBE-NODEPORTS -p tcp -m tcp --dport %d -j %s" % (spec["ports"][0]["nodePort"], ext))
        if status_ip:
            rules.append("-A KUBE-SERVICES -d %s/32 -p tcp -m tcp --dport 80 -j %s" % (status_ip, ext))
        return chains, rules

    def whole(self):
        chains, rules = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-MARK-MASQ", "KUBE-POSTROUTING"], [
            "-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES", "-A POSTROUTING -j KUBE-POSTROUTING",
            "-A KUBE-MARK-MASQ -j MARK --or-mark " + MARK, "-A KUBE-POSTROUTING -m mark ! --mark %s/%s -j RETURN" % (MARK, MARK),
            "-A KUBE-POSTROUTING -j MARK --xor-mark " + MARK, "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"]
        for i, (spec, status_ip) in enumerate(self.load.services_of()):
            more = self.service(i, spec, self.load.hosts(i), status_ip)
            chains += more[0]
            rules += more[1]
        rules.append("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
        return ["*nat"] + [":%s - [0:0]" % c for c in chains] + rules + ["COMMIT"]
