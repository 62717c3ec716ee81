"""A server for stage 03 with two faults that many tutorials have.

It takes what one recv returned for a message. And a thread that fails to send removes the
dead client: for that it takes a lock that it holds already.
"""
import socket
import sys
import threading

everybody = []
guard = threading.Lock()


def forget(gone):
    with guard:
        if gone in everybody:
            everybody.remove(gone)


def relay(message, speaker):
    with guard:
        for one in everybody:
            if one is not speaker:
                try:
                    one.sendall(message)
                except OSError:
                    forget(one)


def attend(connection, address):
    with guard:
        everybody.append(connection)
    try:
        while packet := connection.recv(1024):
            relay(f"{address[0]}:{address[1]} says: ".encode() + packet, connection)
        forget(connection)
    finally:
        connection.close()


with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as listener:
    while True:
        threading.Thread(target=attend, args=listener.accept(), daemon=True).start()
