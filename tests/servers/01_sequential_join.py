"""A right server for stage 01: it reads all that a client says, then answers it."""
import socket
import sys

with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        connection, address = listener.accept()
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    text = line.decode(errors="replace").rstrip("\r\n")
                    print(f"[{address}] {text}")
                for answer in sys.stdin:
                    connection.sendall(answer.encode())
            except OSError as error:
                print(f"{address} left: {error}")
