"""An OpenAI-compatible server in this process that fails as it is told to. It computes nothing."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BASE = "the-base"


class FaultyServer:
    """Answers with fixed log-probabilities and texts.

    Attributes:
        url: Its address.
        asked: Path, body and headers of all requests.
        logprobs: By token; all others have -3.
        names_tokens: Whether it takes `logprob_token_ids`.
        tells: Whether it tells log-probabilities at all.
        faults: Statuses with which the next requests fail; 0 for a broken connection, -1 for no JSON.
        seconds: How long it waits before it answers.
        text: What it writes.
        content: What it answers in a chat.
        known: Models it knows; None for any.
        change: Changes an answer before it is sent.
    """

    def __init__(self):
        self.asked, self.logprobs, self.faults, self.loaded = [], {}, [], []
        self.names_tokens, self.tells, self.seconds, self.known = True, True, 0.0, None
        self.text, self.content, self.top = " something to say", "nothing", {}
        self.change = lambda answer: answer
        self._listening = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._listening.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._listening.server_port}/v1"
        threading.Thread(target=self._listening.serve_forever, daemon=True).start()

    def close(self):
        self._listening.shutdown()
        self._listening.server_close()

    def bodies(self, path):
        return [body for asked, body, _ in self.asked if asked == path]

    def answer(self, path, body):
        """Status and JSON."""
        if path == "/v1/models":
            return 200, {"data": [{"id": BASE, "parent": None}, *({"id": n, "parent": BASE} for n in self.loaded)]}
        if path == "/version":
            return 200, {"version": "0.0.1"}
        if path == "/v1/load_lora_adapter":
            self.loaded.append(body["lora_name"])
            return 200, "Success"
        if self.known is not None and body["model"] not in [*self.known, *self.loaded]:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        if path == "/v1/chat/completions":
            message = {"role": "assistant", "content": self.content}
            return 200, {"choices": [{"message": message}], "usage": {"completion_tokens": 3}}
        choice = {"text": self.text}
        if self.tells and "logprobs" in body:
            named = body.get("logprob_token_ids") if self.names_tokens else None
            top = {f"token_id:{n}": self.logprobs.get(n, -3.0) for n in named} if named else dict(self.top)
            choice["logprobs"] = {"top_logprobs": [top]}
        return 200, {"choices": [choice], "usage": {"completion_tokens": 5, "prompt_tokens": len(body["prompt"])}}

    def _handler(server):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._reply({})

            def do_POST(self):
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body):
                server.asked.append((self.path, body, dict(self.headers)))
                time.sleep(server.seconds)
                fault = server.faults.pop(0) if server.faults else 200
                if fault == 0:
                    self.close_connection = True
                    return
                status, answer = server.answer(self.path, body)
                sent = b"<html>" if fault == -1 else json.dumps(server.change(answer)).encode()
                if fault > 200:
                    status, key = fault, self.headers.get("Authorization", "")
                    sent = json.dumps({"error": {"message": f"out of order, \x1b[2J {key}"}}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_):
                pass

        return Handler
