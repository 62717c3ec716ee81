"""A right server for stage 02: a thread per client, and one for the keyboard."""
import socket
import sys
import threading

clients = []
changed = threading.Condition()


def show_lines(connection, address):
    with connection, connection.makefile("rb") as lines:
        try:
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r\n")
                print(f"[{address}] {text}")
        except OSError as error:
            print(f"{address} left: {error}")
        with changed:
            clients.remove(connection)


def send_answers():
    for answer in sys.stdin:
        with changed:
            changed.wait_for(lambda: clients)
            try:
                clients[-1].sendall(answer.encode())
            except OSError as error:
                print(f"the client did not get your line: {error}")


threading.Thread(target=send_answers, daemon=True).start()
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        connection, address = listener.accept()
        with changed:
            clients.append(connection)
            changed.notify()
        threading.Thread(target=show_lines, args=(connection, address)).start()
