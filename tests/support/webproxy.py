"""A proxy for tests, inside a namespace: HTTP CONNECT and SOCKS5 on one port. Tunnels only."""
import socket
import struct
import threading


class WebProxy:
    def __init__(self, ns, refuse=None):
        """refuse: a status that every CONNECT gets."""
        self.refuse, self.asked = refuse, []  # "http 192.0.2.1:6443"
        with ns:
            self.listener = socket.create_server(("127.0.0.1", 0))
        self.ns, self.port = ns, self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def close(self):
        """The thread ends first: an accept that the kernel begins again would be one of whoever has the number by then."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            to = (self.socks if client.recv(1, socket.MSG_PEEK) == b"\x05" else self.connect)(client)
            if not to:
                client.close()
                return
            with self.ns:
                server = socket.create_connection(to, 10)
            server.settimeout(None)
            threading.Thread(target=self.pump, args=(client, server), daemon=True).start()
            self.pump(server, client)
        except OSError:
            client.close()

    def connect(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1)
        host, port = head.split()[1].decode().rsplit(":", 1)
        self.asked.append("http %s:%s" % (host, port))
        if self.refuse:
            client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.refuse)
            return None
        client.sendall(b"HTTP/1.1 200 OK\r\nServer: proxy\r\n\r\n")
        return host.strip("[]"), int(port)

    def socks(self, client):
        client.recv(1 + 1 + client.recv(2, socket.MSG_PEEK)[1])
        client.sendall(b"\x05\x00")
        kind = client.recv(4, socket.MSG_WAITALL)[3]
        length = client.recv(1)[0] if kind == 3 else 4
        host = client.recv(length, socket.MSG_WAITALL)
        host = host.decode() if kind == 3 else socket.inet_ntoa(host)
        port = struct.unpack(">H", client.recv(2, socket.MSG_WAITALL))[0]
        self.asked.append("socks %s:%d" % (host, port))
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        return host, port

    @staticmethod
    def pump(source, sink):
        try:
            while True:
                data = source.recv(1 << 16)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
