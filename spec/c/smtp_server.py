"""A real SMTP server for tests: 127.0.0.1, a free port. Prints its port, then each mail it accepts as one line of JSON.

Arguments: --refuse N CODE (the first N recipients are answered with CODE), --never ADDRESS (always 550), --tls CERT KEY (STARTTLS and log-in required).
"""
import argparse
import json
import socket
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

parser = argparse.ArgumentParser()
parser.add_argument("--refuse", nargs=2, type=int, default=(0, 0))
parser.add_argument("--never")
parser.add_argument("--tls", nargs=2)
options = parser.parse_args()
left = options.refuse[0]


class Keep:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        global left
        if address == options.never:
            return "550 no such user"
        if left > 0:
            left -= 1
            return "%d not now" % options.refuse[1]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "data": envelope.content.decode("latin-1"),
                "tls": session.ssl is not None, "user": getattr(session, "auth_data", None) or ""}
        print(json.dumps(mail), flush=True)
        return "250 accepted"


def authenticate(server, session, envelope, mechanism, data):
    if (data.login, data.password) == (b"si", b"pass word"):
        return AuthResult(success=True, auth_data="si")
    return AuthResult(success=False, handled=False)


arguments = {"hostname": "127.0.0.1"}
if options.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*options.tls)
    arguments.update(tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    arguments["port"] = probe.getsockname()[1]
controller = Controller(Keep(), **arguments)
controller.start()
print(arguments["port"], flush=True)
sys.stdin.read()  # until the test lets go
controller.stop()
