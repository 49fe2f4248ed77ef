"""Drives the real window: a virtual screen, a session bus with accessibility, the program, and what a person would do.

Used by window_e2e.py and the scripts that share its stage. Needs the system's Python with python3-gi and gir1.2-atspi-2.0, and Xvfb, xwd, xdotool and
ImageMagick. The program is seen as a screen reader sees it (AT-SPI): by roles and names, never by pixels; pixels are
only for screenshots and for the place of a drop. Start scripts through `in_session`.
"""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


class Failed(Exception):
    """Something did not appear or happen in time; the text says what and what was there instead."""


def in_session():
    """Starts this script again inside its own session bus, with accessibility switched on, unless it is in one."""
    if os.environ.get("TEMPER_WINDOW_SESSION") != "1":
        os.environ["TEMPER_WINDOW_SESSION"] = "1"
        os.execvp("dbus-run-session", ["dbus-run-session", "--", sys.executable, *sys.argv])
    subprocess.run(["gdbus", "call", "--session", "--dest", "org.a11y.Bus", "--object-path", "/org/a11y/bus", "--method",
                    "org.freedesktop.DBus.Properties.Set", "org.a11y.Status", "IsEnabled", "<true>"],
                   check=True, stdout=subprocess.DEVNULL)


class Screen:
    """A virtual screen of its own."""

    def __init__(self, width=1440, height=900):
        read, write = os.pipe()
        self.process = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24",
                                         "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        if not number:
            raise Failed("Xvfb did not start")
        self.display = f":{number}"

    def close(self):
        self.process.terminate()
        self.process.wait()

    def shot(self, path, crop=None):
        """Writes a PNG, whole or cut to WIDTHxHEIGHT+X+Y, and gives the number of its colours."""
        with tempfile.TemporaryDirectory() as work:
            raw = f"{work}/screen.xwd"
            subprocess.run(["xwd", "-silent", "-root", "-display", self.display, "-out", raw], check=True)
            convert = "/usr/bin/convert-im6.q16"
            convert = convert if os.path.exists(convert) else shutil.which("convert")
            cut = ["-crop", crop, "+repage"] if crop else []
            subprocess.run([convert, f"xwd:{raw}", *cut, "-define", "png:exclude-chunks=date,time", str(path)], check=True)
            colours = subprocess.run([convert, str(path), "-format", "%k", "info:"], check=True, capture_output=True, text=True)
        return int(colours.stdout)


class Window:
    """The program on a screen."""

    def __init__(self, screen, binary, *arguments, env=None, python=None, patience=1):
        import gi
        gi.require_version("Atspi", "2.0")
        from gi.repository import Atspi
        self.atspi, self.screen = Atspi, screen
        Atspi.init()
        # a busy machine may take long for one frame; the default is 0.8 s
        Atspi.set_timeout(10_000, 30_000)
        self.name = pathlib.Path(binary).name
        self.python = python or sys.executable
        self.patience = patience
        self.work = tempfile.mkdtemp()
        os.chmod(self.work, 0o700)
        # The labels that the steps look for are English, whatever this machine speaks.
        self.env = {**os.environ, "LC_ALL": "C.UTF-8", "DISPLAY": screen.display, "XDG_RUNTIME_DIR": self.work, **(env or {})}
        self.env.pop("WAYLAND_DISPLAY", None)
        self.log = open(pathlib.Path(self.work) / "log.txt", "w+")
        self.process = subprocess.Popen([str(binary), *map(str, arguments)], env=self.env, stdout=self.log, stderr=self.log)

    # -- what is there

    def root(self):
        desktop = self.atspi.get_desktop(0)
        desktop.clear_cache()
        for index in range(desktop.get_child_count()):
            child = desktop.get_child_at_index(index)
            if child is not None and child.get_name() == self.name:
                return child
        return None

    def nodes(self):
        """(role, name, node) of everything, top to bottom."""
        root, found = self.root(), []
        if root is None:
            return found
        stack = [root]
        while stack:
            node = stack.pop()
            try:
                found.append((node.get_role_name(), node.get_name() or "", node))
                children = [node.get_child_at_index(i) for i in range(node.get_child_count())]
            except Exception:  # the tree may change while it is read: what is gone is not there
                continue
            stack.extend(child for child in reversed(children) if child is not None)
        return found

    def find(self, pattern, role=None):
        """The first node whose name matches the regular expression wholly."""
        for kind, name, node in self.nodes():
            if re.fullmatch(pattern, name, re.S) and (role is None or re.fullmatch(role, kind)):
                return node
        return None

    def tree(self):
        return "\n".join(f"{role}: {name}" for role, name, _ in self.nodes() if name)

    def wait(self, pattern, role=None, seconds=30):
        """Waits until something with this name is there."""
        seconds *= self.patience
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"the program ended with {self.process.returncode}:\n{self.tail()}")
            node = self.find(pattern, role)
            if node is not None:
                return node
            time.sleep(0.2)
        raise Failed(f"nothing called {pattern!r} after {seconds} s; there was:\n{self.tree()[-4000:]}\n{self.tail()}")

    def wait_gone(self, pattern, role=None, seconds=30):
        seconds *= self.patience
        end = time.monotonic() + seconds
        while self.find(pattern, role) is not None:
            if time.monotonic() > end:
                raise Failed(f"{pattern!r} is still there after {seconds} s")
            time.sleep(0.2)

    def wait_drawn(self, seconds=60):
        """Waits until the screen shows more than a few colours."""
        end = time.monotonic() + seconds
        while self.screen.shot(pathlib.Path(self.work) / "probe.png") <= 50:
            if time.monotonic() > end:
                raise Failed("nothing was drawn")
            time.sleep(0.3)

    def wait_enabled(self, pattern, role=None, seconds=30):
        """Waits until it is there and can be used."""
        end = time.monotonic() + seconds * self.patience
        while time.monotonic() < end:
            node = self.wait(pattern, role, max(1.0, end - time.monotonic()) / self.patience)
            if node.get_state_set().contains(self.atspi.StateType.ENABLED):
                return node
            time.sleep(0.2)
        raise Failed(f"{pattern!r} cannot be used after {seconds * self.patience} s; there was:\n{self.tree()[-4000:]}")

    def settle(self, seconds=10):
        """Waits until two looks at the tree give the same texts, so that a screenshot shows a finished frame."""
        end = time.monotonic() + seconds
        before = self.tree()
        while time.monotonic() < end:
            time.sleep(0.25)
            now = self.tree()
            if now == before:
                return
            before = now

    def tail(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text()[-2000:]

    # -- what a person does

    def press(self, pattern, role=None, seconds=30):
        """Presses what has this name, by its first action."""
        node = self.wait_enabled(pattern, role, seconds)
        node.clear_cache()  # what the client remembers of this place may be of what stood there before
        action = node.get_action_iface()
        if action is None or not action.do_action(0):
            raise Failed(f"{pattern!r} cannot be pressed: {'no action' if action is None else 'refused'}")
        time.sleep(0.3)

    def click(self, pattern, role, across, down):
        """Clicks into something with the pointer, at shares of its width and height; then the pointer rests elsewhere."""
        place = self.wait(pattern, role).get_component_iface().get_extents(self.atspi.CoordType.WINDOW)
        x, y = round(place.x + across * place.width), round(place.y + down * place.height)
        subprocess.run(["xdotool", "mousemove", str(x), str(y), "click", "1", "mousemove", "40", "600"], check=True,
                       env=self.env)

    def keys(self, *keys):
        """Presses keys by their X names, such as ctrl+k."""
        subprocess.run(["xdotool", "key", "--clearmodifiers", *keys], check=True, env=self.env)
        time.sleep(0.2)

    def type(self, text):
        subprocess.run(["xdotool", "type", "--delay", "5", text], check=True, env=self.env)
        time.sleep(0.2)

    def command(self, name):
        """Carries a command out by the palette: opens it, types the command's name, presses Enter."""
        self.keys("ctrl+k")
        self.wait("Search commands", "entry|text")
        self.type(name)
        self.wait(re.escape(name), "menu item")
        self.keys("Return")

    def theme(self, name):
        """To the `dark` or the `light` theme; the button in the top bar says which one comes next, so it tells."""
        self.command(f"{name.capitalize()} theme")
        self.wait("Switch to the light theme" if name == "dark" else "Switch to the (dark|high-contrast) theme")

    def focus_window(self):
        """Gives the window the keyboard: a bare screen has no window manager that would."""
        found = subprocess.run(["xdotool", "search", "--sync", "--onlyvisible", "--name", "^Temper$"], check=True,
                               env=self.env, capture_output=True, text=True).stdout.split()
        self.number = found[0]
        subprocess.run(["xdotool", "windowmove", self.number, "0", "0", "windowfocus", "--sync", self.number,
                        "mousemove", "40", "600"], check=True, env=self.env)

    def resize(self, width, height):
        subprocess.run(["xdotool", "windowsize", "--sync", self.number, str(width), str(height)], check=True, env=self.env)

    def set_field(self, pattern, text, enter=True):
        """Gives a text field the keyboard focus, replaces its text, and commits it by Enter."""
        node = self.wait(pattern, "entry|text")
        component = node.get_component_iface()
        if component is None or not component.grab_focus():
            raise Failed(f"{pattern!r} does not take the focus")
        end = time.monotonic() + 10
        while not node.get_state_set().contains(self.atspi.StateType.FOCUSED):
            if time.monotonic() > end:
                raise Failed(f"{pattern!r} did not get the focus")
            time.sleep(0.1)
            node.clear_cache()
        self.keys("ctrl+a")
        self.type(str(text))
        if enter:
            self.keys("Return")

    @contextlib.contextmanager
    def hovering(self, files, x=400, y=300):
        """Files hover over the window, held by another program, for as long as the block lasts."""
        command = [self.python, str(HERE / "xdnd_drop.py"), "Temper", str(x), str(y), "--hover", *map(str, files)]
        hand = subprocess.Popen(command, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            hand.stdin.close()
            hand.wait(10)

    def drop(self, files, x=400, y=300):
        """A real drop of files from another program."""
        command = [self.python, str(HERE / "xdnd_drop.py"), "Temper", str(x), str(y)]
        done = subprocess.run([*command, *map(str, files)], env=self.env, capture_output=True, text=True)
        if done.returncode != 0 or "XdndFinished accepted=1" not in done.stdout:
            raise Failed(f"the drop was not accepted: {done.stdout} {done.stderr}")

    def shot(self, path, crop=None):
        return self.screen.shot(path, crop)

    def close(self, seconds=20):
        """Asks the window to close; kills what stays."""
        if self.process.poll() is None:
            subprocess.run(["xdotool", "search", "--name", "^Temper$", "windowclose"], env=self.env, check=False,
                           stdout=subprocess.DEVNULL)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.work, ignore_errors=True)
