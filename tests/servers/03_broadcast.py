"""A right server for stage 03: the thread that adds a client to the list also removes it."""
import socket
import sys
import threading

clients = []
lock = threading.Lock()


def relay_lines(connection, address):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with lock:
        clients.append(connection)
    try:
        with connection.makefile("rb") as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r\n")
                broadcast(connection, f"{address} says: {text}\n".encode())
    except OSError as error:
        print(f"{address} left: {error}")
    finally:
        with lock:
            clients.remove(connection)
        connection.close()


def broadcast(sender, message):
    with lock:
        for client in clients:
            if client is not sender:
                try:
                    client.sendall(message)
                except OSError:
                    pass  # its own thread notices, and removes it


with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        threading.Thread(target=relay_lines, args=listener.accept()).start()
