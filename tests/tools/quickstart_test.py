#!/usr/bin/env python3
"""The first README command without a window: trains, the loss falls, forgetting is shown, the certificate passes.
Then what a person does with the result: a report, a card of their own, a copy of the project and another place for it.

    quickstart_test.py --temper PROGRAM [--max-seconds 180]
"""
import argparse
import html.parser
import pathlib
import tempfile
import time

import yaml

import temper_cli
from temper_cli import check, last


def body(args, work):
    temper = temper_cli.Temper(args.temper)
    begin = time.monotonic()
    events = temper.run("quickstart", "--headless", "--dir", work / "quickstart")
    seconds = time.monotonic() - begin
    done = last(events, "finished")
    check("the run finished", done and done["status"] == "finished", steps=done and done["steps"])
    check("the validation loss falls by half", done["final_loss"] < 0.5 * done["base_loss"], base=done["base_loss"],
          final=done["final_loss"])
    check("forgetting is measured", isinstance(done["forgetting"], float), nats=done["forgetting"])
    sets = {e["set"] for e in events if e.get("event") == "probe"}
    check("four probe sets were measured", len(sets) == 4, sets=sorted(sets))
    certificates = [e for e in events if e.get("event") == "certificate"]
    check("every export has a passed certificate", certificates and all(c["pass"] for c in certificates),
          formats=[c["format"] for c in certificates])
    written = [pathlib.Path(e["path"]) for e in events if e.get("event") == "written"]
    check("what was written is there", written and all(path.exists() for path in written), files=len(written))
    check(f"in under {args.max_seconds} seconds", seconds < args.max_seconds, seconds=f"{seconds:.0f}")
    report(temper, work / "quickstart", work / "report.html", done)
    card(temper, work / "quickstart", work)
    places(temper, work / "quickstart", work)


class Page(html.parser.HTMLParser):
    """Elements that are open, whether each is closed in its turn, and what the page would load or run."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.faults, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag == "script" or any(name in ("src", "href") or name.startswith("on") for name, _ in attrs):
            self.faults.append(f"<{tag}> {attrs}")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.words.append(data)


def report(temper, project, out, done):
    temper.run("report", "last", "--project", project, "--out", out)
    page = Page()
    page.feed(out.read_text(encoding="utf-8"))
    page.close()
    check("the report is whole and runs nothing", not page.faults and not page.open, faults=page.faults[:3], open=page.open)
    words = " ".join(page.words)
    for figure in (f"{done['best_loss']:.3f} nats", f"{done['base_loss']:.3f} nats", "[method]", "SHA-256", "PEFT adapter"):
        check("the report holds the run", figure in words, figure=figure)
    temper.run("report", "99", "--project", project, "--out", out, ok=False)
    check("a run that is not there has no report", temper.exit_code == 1)


def card(temper, project, work):
    text = work / "card.md"
    text.write_text("---\nlibrary_name: other\n---\n# Calm answers\n\nFor the support team.\n", encoding="utf-8")
    out = work / "with-card"
    events = temper.run("export", "last", "--project", project, "--format", "peft", "--out", out, "--card", text)
    check("an export with a card of one's own passes", last(events, "certificate")["pass"])
    _, front, body = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    front = yaml.safe_load(front)
    check("the front matter stays the program's", front["library_name"] == "peft" and "temper" in front["tags"]
          and isinstance(front["base_model"], str), front=front)
    check("the text is one's own", body == "# Calm answers\n\nFor the support team.\n", body=body)


def places(temper, project, work):
    runs = len(temper.run("runs", project))
    copy, moved = work / "copy", work / "deep" / "moved"
    event = last(temper.run("project", "duplicate", project, copy), "project")
    check("a copy has the runs", event["runs"] == runs and pathlib.Path(event["path"]) == copy, runs=event["runs"])
    temper.run("project", "move", copy, moved)
    check("a moved project is gone from its old place", moved.is_dir() and not copy.exists())
    temper.run("project", "move", moved, project, ok=False)
    check("nothing is written over", temper.exit_code == 1 and moved.is_dir())
    events = temper.run("export", "last", "--project", moved, "--format", "peft", "--out", work / "from-moved")
    check("a run of a moved project can be exported", last(events, "certificate")["pass"])
    events = temper.run("train", moved, "--resume", "last")
    check("and gone on with", not any(e.get("event") == "error" for e in events))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--max-seconds", type=float, default=180)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper_cli.main(lambda: body(args, pathlib.Path(work)))


if __name__ == "__main__":
    main()
