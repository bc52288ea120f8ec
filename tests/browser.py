"""A headless Chromium, driven through chromedriver by the WebDriver protocol (W3C), with nothing but the standard library."""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROME = next(filter(None, map(shutil.which, NAMES)), None)
DRIVER = shutil.which("chromedriver")
IS_HERE = bool(CHROME and DRIVER)
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic")
PLAIN = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


class Browser:
    """One session. ``folder`` is for its profile."""

    def __init__(self, folder, width=1280, height=800):
        self.driver = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        port = next(found[1] for line in self.driver.stdout if (found := re.search(r"success\w* on port (\d+)", line)))
        self.url = f"http://127.0.0.1:{port}/session"
        args = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", *QUIET]
        args += [f"--user-data-dir={folder}", f"--window-size={width},{height}"]
        chrome = {"binary": CHROME, "args": args, "perfLoggingPrefs": {"enableNetwork": True}}
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.url += "/" + self._ask("POST", "", capabilities={"alwaysMatch": wanted})["sessionId"]

    def _ask(self, method, path, **body):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with PLAIN.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from error

    def open(self, url):
        """Load a page to its end, and forget what was logged before. Local."""
        self._ask("POST", "/url", url="about:blank")
        self.logged("browser"), self.logged("performance")
        self._ask("POST", "/url", url=url)

    def run(self, script, *args):
        """What a function's body in JavaScript returns. Local."""
        return self._ask("POST", "/execute/sync", script=script, args=list(args))

    def press(self, *keys):
        """Press keys, one after the other. Local."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def point(self, x, y, click=False):
        """Move the pointer within the window, and perhaps click there. Local."""
        actions = [{"type": "pointerMove", "x": int(x), "y": int(y), "duration": 0}]
        actions += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp") if click]
        self._ask("POST", "/actions", actions=[{"type": "pointer", "id": "mouse", "actions": actions}])

    def logged(self, kind):
        """What was logged since it was last asked for: "browser" (console) or "performance". Local."""
        return self._ask("POST", "/se/log", type=kind)

    def requests(self):
        """Addresses that were asked for, of all schemes. Local."""
        events = (json.loads(entry["message"])["message"] for entry in self.logged("performance"))
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def cdp(self, command, **params):
        """A command of Chromium's own protocol. Local."""
        return self._ask("POST", "/goog/cdp/execute", cmd=command, params=params)

    def picture(self, path):
        """Write what the window shows as PNG. Local."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def close(self):
        """End the session, and all its processes. Local."""
        with contextlib.suppress(OSError, RuntimeError):
            self._ask("DELETE", "")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        self.driver.stdout.close()
