"""The page in a real browser, driven as a person would: keys, clicks, a phone's screen.

    drive.py PROGRAM [CHECK...]

starts `PROGRAM serve` with the model inside it and headless Chromium, runs all checks or those that
are named, and ends with status 1 if one fails. Needs the Python package `selenium`, and Debian's
`chromium` and `chromium-driver`. Nothing but loopback is in reach of the browser.

Nano answers in a fraction of a second. Where a check has to see an answer while it comes, the
browser's network is slowed down, not the server.
"""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PATIENCE = 60
CONTEXT = 4096

TOOL = {
    "type": "function",
    "function": {
        "name": "write_file",
        "description": "Write content to a file.",
        "parameters": {
            "type": "object",
            "required": ["path", "content"],
            "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        },
    },
}


class Server:
    """A server with Nano on a free port."""

    def __init__(self, program, folder, *flags):
        args = [program, "serve", "--device", "cpu", "--temp", "0", "--ctx", str(CONTEXT)]
        args += ["--listen", "127.0.0.1:0", *flags]
        self.lines = tempfile.TemporaryFile(mode="w+", dir=folder)
        self.process = subprocess.Popen(args, stderr=self.lines)
        found = until("the server listens", lambda: re.search(r"^listening on (\S+)$", self.log(), re.M))
        self.base = found[1]
        until("the model is loaded", lambda: self.get("/health")[0] == 200)

    def log(self):
        self.lines.flush()
        return pathlib.Path(f"/proc/self/fd/{self.lines.fileno()}").read_text()

    def get(self, path):
        try:
            with urllib.request.urlopen(self.base + path, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def figure(self, name):
        text = self.get("/metrics")[1]
        return float(re.search(rf"^dwarfstar_{name} (\S+)$", text, re.M)[1])

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=PATIENCE)


def until(what, is_so):
    """Waits until something is so, and gives it back."""
    end = time.monotonic() + PATIENCE
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < end, f"waited for nothing: {what}"
        time.sleep(0.03)


class Page:
    """The page in the browser."""

    def __init__(self, driver, base):
        self.driver, self.base = driver, base
        driver.get(base + "/")
        driver.execute_script("sessionStorage.clear(); turns = [];")
        self.reload()

    def reload(self):
        self.driver.get(self.base + "/")
        until("it is ready", lambda: self.text("state") == "ready")

    def by_id(self, name):
        return self.driver.find_element(By.ID, name)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name):
        return self.js(f"return document.getElementById('{name}').textContent")

    def js(self, code, *args):
        return self.driver.execute_script(code, *args)

    def keys(self, *keys):
        """Keys to whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def focus(self):
        return self.js("return document.activeElement.id")

    def answers(self):
        return [article.text for article in self.all("article.assistant")]

    def is_running(self):
        return self.js("return running !== null")

    def wait_until_done(self):
        until("the answer is over", lambda: not self.is_running())

    def ask(self, question):
        """Asks by keys alone, and waits for the whole answer."""
        assert self.focus() == "ask", self.focus()
        self.keys(question, Keys.ENTER)
        self.wait_until_done()

    def errors(self):
        return [article.text for article in self.all("article.error[role=alert]")]

    def slow(self, bytes_per_second):
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": 0,
                "downloadThroughput": bytes_per_second,
                "uploadThroughput": -1,
            },
        )


def check_send_and_stream(page, server):
    """Enter sends; the answer comes piece by piece, reasoning folded; then one may go on writing."""
    assert page.driver.title == "dwarfstar" and page.focus() == "ask"
    page.slow(4000)
    page.keys("Hello, who are you?", Keys.ENTER)
    sizes = set()
    while page.is_running():
        sizes.add(sum(len(text) for text in page.answers()))
    page.slow(-1)
    assert len(sizes) > 5, f"the answer came in {len(sizes)} pieces"
    assert [article.text for article in page.all("article.user")] == ["Hello, who are you?"]
    turn = page.js("return turns[1]")
    assert turn["content"] and turn["content"].strip() in page.answers()[0]
    [thoughts] = page.all("details.thoughts")
    assert turn["reasoning"] and not thoughts.get_property("open"), "reasoning is folded"
    assert turn["reasoning"].strip() not in page.answers()[0]
    assert page.focus() == "ask"
    thoughts.find_element(By.TAG_NAME, "summary").click()
    assert turn["reasoning"].strip() in page.answers()[0], "and can be unfolded"
    note = re.search(r"(\d+) tokens read, \d+ of them known before; (\d+) written, [\d.]+ per", page.answers()[0])
    assert note and int(note[2]) > 1, page.answers()
    assert f"prompt={note[1]} " in server.log() and f"generated={note[2]} " in server.log()


def check_lines(page, server):
    """Shift+Enter breaks the line, and nothing is sent before Enter, nor an empty message."""
    page.keys(Keys.ENTER, "  ", Keys.ENTER)
    page.keys(Keys.BACKSPACE, Keys.BACKSPACE)
    page.keys("one")
    ActionChains(page.driver).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
    page.keys("two")
    assert page.by_id("ask").get_property("value") == "one\ntwo"
    assert page.all("article") == []
    page.keys(Keys.ENTER)
    page.wait_until_done()
    assert page.all("article.user")[0].text == "one\ntwo"
    assert page.by_id("ask").get_property("value") == ""


def begin_slowly(page, question):
    """An answer that has begun to come, and takes its time."""
    page.slow(1500)
    page.keys(question, Keys.ENTER)
    begun = "const last = turns.at(-1); return last.role === 'assistant' && last.reasoning !== ''"
    until("it begins", lambda: page.js(begun))
    assert page.by_id("send").text == "Stop"


def check_stop(page, server):
    """Esc stops, and so does the button; what there was of the answer stays; one may go on."""
    for stop in (lambda: page.keys(Keys.ESCAPE), lambda: page.by_id("send").click()):
        begin_slowly(page, "Tell me a long story about a night train, please.")
        answers = len(page.answers())
        stop()
        page.wait_until_done()
        page.slow(-1)
        assert page.answers()[-1].endswith("stopped") and len(page.answers()) == answers
        assert page.by_id("send").text == "Send" and page.focus() == "ask" and page.errors() == []
        until("the server has stopped too", lambda: server.figure("batch_size") == 0)
    page.ask("And now?")
    assert "tokens read" in page.answers()[-1]


def check_reload(page, server):
    """After a reload the conversation is there and goes on; an answer under way ends with it."""
    page.ask("Hello, who are you?")
    before = [article.text for article in page.all("article")]
    assert len(before) == 2
    page.reload()
    assert [article.text for article in page.all("article")] == before
    assert not page.all("details.thoughts")[0].get_property("open")
    page.ask("And what can you do?")
    assert server.log().rstrip().splitlines()[-1].count("messages=3 ") == 1, server.log()
    begin_slowly(page, "Tell me a long story about a night train, please.")
    page.slow(-1)
    page.reload()
    assert len(page.all("article")) == 6 and not page.is_running()
    page.by_id("clear").click()
    assert page.all("article") == [] and page.focus() == "ask"
    page.reload()
    assert page.all("article") == [], "a new conversation is new after a reload too"


def check_errors(page, server):
    """What goes wrong is told, in words that say what to do; trying again is one key away."""
    page.ask("Hello!")
    page.js("document.getElementById('ask').value = 'word '.repeat(9000)")
    page.keys(Keys.ENTER)
    page.wait_until_done()
    [told] = page.errors()
    assert f"maximum context length is {CONTEXT} tokens" in told, told
    assert len(page.answers()) == 1, "an answer that never was is not shown"
    page.by_id("clear").click()
    page.js("document.getElementById('options').open = true;"
            "document.getElementById('tools').value = '[{'")
    page.ask("Hello!")
    assert "not JSON" in page.errors()[0], page.errors()
    page.js("document.getElementById('tools').value = ''")
    button = page.all("article.error button")[0]
    page.js("arguments[0].focus()", button)
    page.keys(Keys.ENTER)
    until("it works now", lambda: page.answers() and not page.is_running())
    assert page.errors() == [] and "tokens read" in page.answers()[0]


def check_tools(page, server):
    """Calls are shown; whoever gives their results by keys gets the answer to them."""
    page.js("document.getElementById('tools').value = arguments[0]", json.dumps([TOOL]))
    page.ask("Create a file named notes.txt containing hello.")
    [box] = page.all("fieldset")
    assert "Call of write_file" in box.text and "notes.txt" in box.text, box.text
    field = box.find_element(By.TAG_NAME, "textarea")
    assert field.accessible_name == "Result of write_file"
    assert page.js("return document.activeElement === arguments[0]", field), "the result is asked for"
    page.keys("written", Keys.ENTER)
    page.wait_until_done()
    roles = page.js("return turns.map((turn) => turn.role)")
    assert roles == ["user", "assistant", "tool", "assistant"], roles
    assert "Result: written" in page.all("fieldset")[0].text
    assert "replayed=1" in server.log(), "the call comes back as it was written"
    # Calls that nobody answers do not keep anybody from going on.
    page.by_id("clear").click()
    page.ask("Create a file named notes.txt containing hello.")
    page.by_id("ask").click()
    page.ask("Never mind.")
    assert page.js("return turns[2].content") == "no result" and page.errors() == []


def check_phone(page, server):
    """On a phone nothing is wider than the screen, and what one needs is in reach of a thumb."""
    metrics = {"width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.reload()
        page.ask("Hello!")
        wide = "W" * 300 + " https://example.org/" + "path/" * 60
        call = {"id": "x", "name": wide, "arguments": wide}
        turn = {"role": "assistant", "content": wide, "reasoning": wide, "calls": [call], "note": wide}
        page.js("show(arguments[0]); show(arguments[1])", turn, {"role": "user", "content": wide})
        page.js("document.querySelectorAll('details').forEach((details) => details.open = true)")
        page.js("fail('x'.repeat(300), () => {})")
        until("figures are there", lambda: "pages" in page.text("pool"))
        assert page.js("return innerWidth") == 360
        wide = page.js("return [...document.querySelectorAll('*')].filter((element) =>"
                       " element.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))")
        assert wide == [], wide
        for scrolls in ("document.documentElement", "document.body", "document.querySelector('main')"):
            width, client = page.js(f"return [{scrolls}.scrollWidth, {scrolls}.clientWidth]")
            assert width <= client, f"{scrolls}: {width} of {client}"
        page.js("document.querySelectorAll('details').forEach((details) => details.open = false)")
        for name in ("ask", "send", "clear"):
            place = page.by_id(name).rect
            assert place["height"] >= 40 and place["y"] + place["height"] <= 640, (name, place)
        # A smaller text would be zoomed into by phones when it is touched.
        assert page.js("return parseFloat(getComputedStyle(document.getElementById('ask')).fontSize)") >= 16
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def check_keyboard(page, server):
    """Everything is reached by Tab in the order of the page, has a name, and shows the focus."""
    page.ask("Hello!")
    seen = []
    # Once around, and on to where the page begins.
    for _ in range(16):
        page.keys(Keys.TAB)
        element = page.driver.switch_to.active_element
        if element.tag_name == "body":
            continue
        name = element.get_attribute("id") or element.find_element(By.XPATH, "..").get_attribute("id")
        seen.append(name or element.tag_name)
        assert element.accessible_name or element.text, f"{element.tag_name} has no name"
        assert page.js("return getComputedStyle(arguments[0]).outlineStyle", element) != "none", name
    seen = seen[seen.index("server"):]
    order = ["server", "talk", "summary", "options", "ask", "send", "clear"]
    assert seen[: len(order)] == order, seen
    page.js("document.querySelector('#server summary').focus()")
    page.keys(Keys.ENTER)
    assert page.by_id("server").get_property("open")
    page.js("document.querySelector('#options summary').focus()")
    page.keys(Keys.SPACE)
    assert page.by_id("options").get_property("open")
    page.keys(Keys.TAB, Keys.SPACE)
    assert not page.by_id("think").is_selected()
    for element in page.all("button, input, textarea, meter:not([hidden]), main"):
        assert element.accessible_name, element.get_attribute("outerHTML")
    page.by_id("ask").click()
    page.ask("Hello again!")
    assert len(page.all("details.thoughts")) == 1, "without reasoning there is none"


def check_status(page, server):
    """What the server holds is told as its figures say it."""
    # Long enough to be worth saving; Nano says it over and over, until it is stopped.
    page.js("document.getElementById('ask').value = 'word '.repeat(1100)")
    page.keys(Keys.ENTER)
    until("it begins", lambda: page.js("return turns.length === 2 && turns[1].content + turns[1].reasoning"))
    page.keys(Keys.ESCAPE)
    page.by_id("server").find_element(By.TAG_NAME, "summary").click()
    until("it is saved", lambda: server.figure("checkpoints") >= 1)
    kept = f"{server.figure('checkpoints'):.0f} conversations"
    until("the disk is told", lambda: page.text("disk").startswith(kept))
    used = server.figure("row_pages") - server.figure("row_pages_left")
    pool = f"{used:.0f} of {server.figure('row_pages'):.0f} pages"
    until("the pool is told", lambda: page.text("pool").startswith(pool))
    assert page.text("queue") == "0 of 4 at work, 0 waiting"
    assert re.match(r"lately [1-9]\d* tokens per second read, [\d.]+ written", page.text("speed"))
    assert f"{CONTEXT} tokens" in page.text("model")
    # While a model is loaded, the bar says how far that is.
    loading = {"fraction": 0.25, "bytes": 20e9, "bytes_expected": 80e9}
    page.js("tellHealth(arguments[0])", {"status": "loading", "model": "m", "loading": loading})
    assert page.text("state") == "loading the model, 25 % of 80.0 GB"
    assert page.by_id("loading").is_displayed() and page.by_id("loading").get_property("value") == 0.25
    until("it is ready", lambda: page.text("state") == "ready" and not page.by_id("loading").is_displayed())


def check_nothing_from_elsewhere(page, server):
    """The page asks nobody but its server, and the browser has nothing to complain about."""
    page.ask("Hello!")
    names = page.js("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert names and all(name.startswith((server.base, "data:")) for name in names), names
    page.js("show({role: 'user', content: '<img src=x onerror=\"document.title = 1\">'})")
    assert page.all("article img") == [] and page.driver.title == "dwarfstar"
    complaints = [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    refused = [entry for entry in complaints if "status of 4" in entry["message"]]
    assert complaints == refused, complaints


def check_key(page, server, program, folder):
    """A server that wants a key: the page says so, asks for it, and goes on with it."""
    guarded = Server(program, folder, "--api-key", "secret")
    try:
        page = Page(page.driver, guarded.base)
        until("it is told", lambda: "wants the key" in page.text("brief"))
        page.keys("Hello!", Keys.ENTER)
        page.wait_until_done()
        assert "a key is needed" in page.errors()[0] and page.focus() == "key"
        page.keys("secret")
        page.all("article.error button")[0].click()
        until("it works now", lambda: page.answers() and not page.is_running())
        assert page.errors() == [] and "tokens read" in page.answers()[0]
        until("figures are there", lambda: "running" in page.text("brief"))
    finally:
        guarded.end()


def check_end(page, server):
    """A server that is gone is told too. This check is the last."""
    page.ask("Hello!")
    server.end()
    page.ask("Are you there?")
    assert "does not answer" in page.errors()[0], page.errors()
    until("the state says so", lambda: page.text("state") == "the server does not answer")
    assert len(page.answers()) == 1 and page.by_id("send").text == "Send"


def browser(folder):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=1000,800",
        f"--user-data-dir={folder}/profile",
    ):
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


def main():
    program, *names = sys.argv[1:]
    checks = {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}
    failed = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        server = Server(program, folder, "--kv-dir", folder + "/kept")
        ends.callback(server.end)
        driver = browser(folder)
        ends.callback(driver.quit)
        for name in names or checks:
            began = time.monotonic()
            try:
                page = Page(driver, server.base)
                extra = (program, folder) if name == "key" else ()
                checks[name](page, server, *extra)
                print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception as error:  # Whatever it is, the other checks are worth running.
                failed.append(name)
                print(f"FAILED  {name}:", flush=True)
                traceback.print_exc(limit=-2, file=sys.stdout)
                driver.save_screenshot(f"{tempfile.gettempdir()}/dwarfstar-page-{name}.png")
                with contextlib.suppress(Exception):
                    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
                    page.slow(-1)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; what the browser showed is in {tempfile.gettempdir()}")


if __name__ == "__main__":
    main()
