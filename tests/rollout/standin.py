"""A stand-in for a vLLM server: a process that speaks as much of vLLM 0.33's protocol as the engine uses, and refuses
what vLLM would. It can be told to misbehave. `python standin.py FOLDER` prints its port.

It samples with the built-in engine, so that with the same weights it agrees with the learner; with --perturb it samples
from weights that are a little beside those it was given, as a program that rounds otherwise does.
"""

import argparse
import json
import os
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tercih.rollout.engine import Engine
from tercih.rollout.sampling import Sampling

KNOWN = {
    "model", "prompt", "n", "seed", "max_tokens", "temperature", "top_k", "top_p", "min_p", "stop", "stop_token_ids",
    "include_stop_str_in_output", "ignore_eos", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "add_special_tokens", "skip_special_tokens", "logprobs", "return_token_ids", "return_weight_versions",
}  # fmt: skip


class Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Server:
    """The state of the server, and what each path does with it."""

    def __init__(self, folder: str, perturb: float, mode: str, dev: bool) -> None:
        self.perturb, self.mode, self.dev = perturb, mode, dev
        self.version, self.paused, self.lock = "default", False, Lock()
        self.misbehaviour, self.times = "", 0
        self.load(folder)

    def load(self, folder: str) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        if self.perturb:
            noise = torch.randn(self.model.lm_head.weight.shape, generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                self.model.lm_head.weight += self.perturb * noise

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        path, _, query = path.partition("?")
        if path == "/misbehave":
            self.misbehaviour, self.times = body["kind"], body["times"]
            return None
        if path == "/health":
            return None
        if path == "/v1/models":
            return {"data": [{"id": "tiny", "max_model_len": self.model.config.max_position_embeddings}]}
        if path == "/v1/completions":
            return self.complete(body)
        if not self.dev:
            raise Refused(404, "Not Found")
        return self.rule(path, query, body)

    def rule(self, path: str, query: str, body: dict[str, Any]) -> Any:
        if path == "/weight_info":
            return {"weight_version": self.version}
        if path == "/server_info" and query == "config_format=json":
            return {"vllm_config": {"model_config": {"logprobs_mode": self.mode}}}
        if path == "/pause" and query == "mode=abort":
            self.paused = True
            return {"status": "paused"}
        if path == "/resume":
            self.paused = False
            return {"status": "resumed"}
        if path == "/reset_prefix_cache":
            return {"success": True}
        if path == "/update_weight_version":
            self.version = body["new_version"]
            return {"success": True, "new_version": self.version}
        if path == "/collective_rpc" and body["method"] == "reload_weights":
            self.load(body["kwargs"]["weights_path"])
            return {"results": [None]}
        raise Refused(404, "Not Found")

    def complete(self, body: dict[str, Any]) -> Any:
        if self.paused:
            raise Refused(503, "the engine is paused")
        if unknown := set(body) - KNOWN:
            raise Refused(400, f"unknown fields {sorted(unknown)}")
        if body["model"] != "tiny":
            raise Refused(404, f"The model {body['model']} does not exist.")
        sampling = Sampling(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_k=body["top_k"],
            top_p=body["top_p"],
        )
        with self.lock:
            engine = Engine(self.model, eos_ids=body["stop_token_ids"])
            made = engine.generate([body["prompt"]], sampling, samples=body["n"], seed=body["seed"])
            version = self.version
        choices = []
        for s, count in enumerate(made.response_len_B.tolist()):
            choice = {
                "index": s,
                "text": "",
                "token_ids": made.response_ids_BT[s, :count].tolist(),
                "logprobs": {"token_logprobs": made.logp_BT[s, :count].tolist()},
                "finish_reason": "stop" if made.ended_B[s] else "length",
                "weight_versions": [{"version": version, "start": 0, "end": count}],
            }
            choices.append(choice)
        return {"object": "text_completion", "model": "tiny", "choices": choices}

    def trick(self) -> str:
        """What to do wrong this time."""
        with self.lock:
            if not self.times:
                return ""
            self.times -= 1
            return self.misbehaviour


class Handler(BaseHTTPRequestHandler):
    server_of: Server

    def do_GET(self) -> None:
        with suppress(ConnectionError):
            self.handle_one("GET")

    def do_POST(self) -> None:
        with suppress(ConnectionError):
            self.handle_one("POST")

    def handle_one(self, method: str) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        trick = self.server_of.trick() if self.path == "/v1/completions" else ""
        if trick == "mute":
            time.sleep(30)
            return
        if trick == "die":
            os._exit(1)
        try:
            status, answer = 200, self.server_of.answer(method, self.path, body)
            if trick == "busy":
                raise Refused(503, "busy")
        except Refused as error:
            status, answer = error.status, {"error": {"message": str(error)}}
        if trick in BENT:
            BENT[trick](answer["choices"])
        said = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if trick == "break off":
            self.wfile.write(said[: len(said) // 2])
        elif trick == "trickle":
            for byte in said:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.2)
        else:
            self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


def _no_ids(choices: list[Any]) -> None:
    del choices[0]["token_ids"]


BENT = {
    "no ids": _no_ids,
    "one less": lambda choices: choices.pop(),
    "nan": lambda choices: choices[0]["logprobs"]["token_logprobs"].__setitem__(0, float("nan")),
    "aborted": lambda choices: choices[0].__setitem__("finish_reason", "abort"),
    "two weights": lambda choices: choices[0]["weight_versions"].append({"version": "x", "start": 1, "end": 2}),
    "no weights": lambda choices: choices[0].__setitem__("weight_versions", None),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--perturb", type=float, default=0.0)
    parser.add_argument("--mode", default="processed_logprobs")
    parser.add_argument("--no-dev", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    Handler.server_of = Server(given.folder, given.perturb, given.mode, not given.no_dev)
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
