"""The discovery service that one writes first: a dictionary behind a UDP
socket, in the plain dialect, forgetful. usage: discovery.py PORT"""
import socket
import sys

rooms = {}  # name: address
taken = set()  # addresses


def answer(line):
    verb, _, rest = line.partition(" ")
    verb = verb.upper()
    if verb in ("LOOKUP", "DEREGISTER") and rest not in rooms:
        return f'NOTOK name "{rest}" is not registered'
    if verb == "LOOKUP":
        return "OK " + rooms[rest]
    if verb == "REGISTER":
        address, _, name = rest.partition(" ")
        if not address.startswith("room://") or not name:
            return "NOTOK REGISTER takes an address and a name"
        if name in rooms:
            return f'NOTOK name "{name}" is already registered'
        if address in taken:
            return f"NOTOK address {address} is already registered"
        rooms[name] = address
        taken.add(address)
        return "OK"
    if verb == "DEREGISTER":
        taken.discard(rooms.pop(rest))
        return "OK"
    return f'NOTOK unknown verb "{verb}"'


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
server.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    data, peer = server.recvfrom(2048)
    server.sendto(answer(data.decode(errors="replace")).encode(), peer)
