"""Real clients against `dwarfstar serve` with Nano: each makes a file by a call that it executes.

`./test --clients` calls it with the program and the driver that installs and runs the clients. A
client is run again only where the server is beyond suspicion: every request was answered without an
error, and yet the file is not there or is a wrong one, so the small model has written a wrong call.

The large agents offer a dozen tools in 8,000 to 15,000 tokens, among which Nano picks a wrong one.
They are run as they come, where only that is excused, and once more as `NAME-small`: the same agent,
told by its own settings to offer few tools. Of Claude Code that is `claude-bare`.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

# What is asked, in one wording after the other if a client is run again; `{probe}` is a name that the
# driver makes up for each run.
TASKS = [
    "Create a file named {probe} containing hello",
    "Create a file named {probe} and put hello in it.",
    "write a file {probe} with hello in it",
]
# Runs of a client at most: Nano copies a made-up name right about every second time where more than
# three thousand tokens stand in front.
TRIES = 6
CLIENTS = """
    sdk-openai-py-chat sdk-openai-py-responses sdk-openai-py-completions sdk-anthropic-py
    sdk-openai-node-chat sdk-openai-node-responses sdk-anthropic-node
    sdk-litellm-chat sdk-litellm-anthropic
    pi-chat pi-chat-plain pi-responses pi-anthropic pi2-chat pi2-responses pi2-anthropic
    claude-bare claude-context codex-small
    opencode-small opencode-responses-small opencode-anthropic-small
    openclaw-small openclaw-responses-small openclaw-anthropic-small
""".split()
# As they come, with all their tools: a wrong call by Nano is no surprise. Anything else is.
LARGE = """
    claude claude-effort-max codex codex-reasoning opencode opencode-responses opencode-anthropic
    openclaw openclaw-responses openclaw-anthropic
""".split()
LARGE_SECONDS = 120
# The first argument of this program as the driver.
AS_DRIVER = "--as-driver"

class Server:
    """The server under test: its log, and all that was said in it."""

    def __init__(self, program, folder):
        self.log, self.trace = folder / "server.log", folder / "trace.log"
        command = [program, "serve", "--listen", "127.0.0.1:0", "--temp", "0", "--device", "cpu",
                   "--trace", self.trace]
        with open(self.log, "wb") as log:
            # In a session of its own: Ctrl+C is for this program, which ends the server by its id.
            self.process = subprocess.Popen(command, stderr=log, start_new_session=True)

    def base(self):
        """Its address, once it listens."""
        for _ in range(600):
            for line in self.log.read_text().splitlines():
                if line.startswith("listening on "):
                    return line.removeprefix("listening on ")
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"the server did not start:\n{self.log.read_text()}")

    def rest(self, base):
        """Waits until nothing is answered any more: what clients have left is over then."""
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"{base}/health", timeout=10) as answer:
                    if json.load(answer)["running"] == 0:
                        return
            except OSError:
                return
            time.sleep(0.1)

    def requests(self, start):
        """The requests that were logged from `start` on, as pairs of names and values."""
        lines = self.log.read_bytes()[start:].decode().splitlines()
        split = (line.split(" error=", 1) for line in lines if line.startswith("request="))
        return [dict(word.split("=", 1) for word in head.split()) | {"error": " ".join(error)}
                for head, *error in split]

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def with_settings(driver, name):
    """A client of the driver with settings that leave it few tools, as the driver writes clients."""
    folder, set_up, api = driver.CLIENTS[name]

    def changed(context, path, change):
        path = context.home / path
        settings = json.loads(path.read_text())
        change(settings)
        path.write_text(json.dumps(settings))

    def opencode(settings):
        names = "edit write read glob grep skill task todowrite webfetch".split()
        settings["tools"] = dict.fromkeys(names, False)
        settings["permission"] = {"bash": "allow", "edit": "deny", "webfetch": "deny"}

    def openclaw(settings):
        settings["tools"] |= {"allow": ["exec"], "toolSearch": False}
        # Names that repeat themselves are copied for ever.
        settings["models"]["providers"]["local"]["models"][0]["maxTokens"] = 1000

    def small(context):
        argv, environment = set_up(context)
        if folder == "codex":
            off = [word for tool in ("multi_agent", "goals", "view_image")
                   for word in ("--disable", tool)]
            argv[2:2] = [*off, "-c", 'web_search="disabled"']
        elif folder == "opencode":
            changed(context, ".config/opencode/opencode.json", opencode)
        elif folder == "openclaw":
            changed(context, ".openclaw/openclaw.json", openclaw)
        return argv, environment

    return folder, small, api


def as_driver(path, arguments):
    """The driver itself, with the small variants among its clients."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("run_clients", path)
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    for client in CLIENTS:
        name, small, _ = client.partition("-small")
        if small:
            driver.CLIENTS[client] = with_settings(driver, name)
    sys.argv = [path, *arguments]
    return driver.main()


def size(path):
    return path.stat().st_size if path.exists() else 0


def descendants(parent):
    """Ids of all processes below this one; clients are in sessions of their own."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], stdout=subprocess.PIPE, text=True)
    children = {}
    for line in listed.stdout.splitlines():
        pid, above = map(int, line.split())
        children.setdefault(above, []).append(pid)
    found, waiting = [], [parent]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def drive(options, base, client, folder, task):
    """One run of a client by the driver: its result, and what the driver has printed."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    seconds = LARGE_SECONDS if client in LARGE else options.timeout
    command = [sys.executable, __file__, AS_DRIVER, options.driver, "--base-url", base, "--clients",
               client, "-v", "--timeout", str(seconds), "--work-dir", folder / "work",
               "--json", result, "--task", task]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              start_new_session=True)
    try:
        output, _ = driver.communicate()
    except BaseException:
        for pid in [*descendants(driver.pid), driver.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        raise
    if not result.exists():
        sys.exit(f"the driver did not run {client}:\n{output}")
    return json.loads(result.read_text())[0], output


def attempt(options, server, base, client, folder, task):
    """One try: (result, why it failed or "", whether only the model can be at fault)."""
    log, trace = size(server.log), size(server.trace)
    result, output = drive(options, base, client, folder, task)
    server.rest(base)
    requests = result["requests"] = server.requests(log)
    # Those that ended with a client that was stopped because its time was over.
    left = [r for r in requests if r["status"] == "499" and result["exit"] is None]
    wrong = [r for r in requests if (r["status"] != "200" or r["error"]) and r not in left]
    model = False
    if server.process.poll() is not None:
        why = f"the server has ended with {server.process.returncode}"
    elif wrong:
        why = "; ".join(f"{r['path']}: {r['status']} {r['error']}" for r in wrong)
    elif result["pass"]:
        return result, "", False
    else:
        why, model = f"wrong call ({result['why']})", bool(requests)
    said = server.trace.read_bytes()[trace:]
    if options.keep:
        (options.keep / f"{client}.trace").write_bytes(said)
    lines = server.log.read_bytes()[log:].decode().splitlines()[-20:]
    if client not in LARGE or not model:
        print("\n".join(["  " + line for line in [*output.splitlines(), "server:", *lines]]))
    return result, why, model


def row(client, result, state):
    """A line of the summary."""
    requests = [r for r in result["requests"] if "prompt" in r]
    prompt = max((int(r["prompt"]) for r in requests), default=0)
    # Those that only count tokens have nothing read.
    fed = sum(int(r["prompt"]) - int(r["cached"]) for r in requests if "cached" in r)
    return [client, result["version"], result["api"], f"{result['seconds']:.0f} s",
            str(len(requests)), str(prompt), str(fed), state]


def show(rows):
    head = ["client", "version", "API", "time", "requests", "longest prompt", "tokens read", "result"]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for cells in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="dwarfstar, built for speed")
    parser.add_argument("driver", help="run_clients.py")
    parser.add_argument("clients", nargs="*", metavar="client", help="all if none")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for one run of a client")
    parser.add_argument("--task", help="what is asked; {probe} is the file's name")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for what failed runs have said")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        server = Server(options.program, folder)
        try:
            base = server.base()
            for client in options.clients or CLIENTS + LARGE:
                result, state = run(options, server, base, client, folder)
                rows.append(row(client, result, state))
                if state.startswith("fails"):
                    failed.append(client)
        finally:
            code = server.stop()
            show(rows)
    if code != 0:
        failed.append(f"the server, which ended with {code}")
    if failed:
        sys.exit("failed: " + ", ".join(failed))


def run(options, server, base, client, folder):
    """A client, as often as it takes: its last result, and what to say of it."""
    tasks = [options.task] if options.task else TASKS
    for tries in range(1, TRIES + 1):
        task = tasks[(tries - 1) % len(tasks)]
        result, why, model = attempt(options, server, base, client, folder, task)
        print(f"{client}, try {tries}: {why or 'ok'} ({result['seconds']:.0f} s)", flush=True)
        if not why:
            return result, "works" if tries == 1 else f"works at try {tries}"
        if model and client in LARGE:
            return result, f"answered, {why}"
        if not model:
            break
    return result, f"fails: {why}"


if __name__ == "__main__":
    sys.exit(as_driver(sys.argv[2], sys.argv[3:]) if sys.argv[1:2] == [AS_DRIVER] else main())
