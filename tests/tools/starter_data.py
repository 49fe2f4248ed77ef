#!/usr/bin/env python3
"""Writes the bundled data set: a small shop's clerk who always answers in the same friendly form.

    starter_data.py [--out assets/starter/data.jsonl]

Every row is a conversation (`messages`): one or two questions of a customer with the clerk's answers. The facts are
consistent (an article has one price, one shelf, one material), the tone is fixed: each answer opens with "Gladly!",
gives the fact in one sentence and closes with "Yours, Ada." That makes it easy to see in a sample
whether a model has taken on the style. Our own words, free of any claim (CC0). Deterministic.
"""
import argparse
import pathlib
import random

import textkit

SEED = 7
ROWS = 400
OPENING, CLOSING = "Gladly!", "Yours, Ada."

# article: (price in pounds, material, colour, shelf, weeks of warranty, days until it is here again; 0 = in stock)
ARTICLES = {
    "brass lantern": (34, "brass", "gold", 1, 104, 0), "wool blanket": (48, "wool", "grey", 4, 52, 0),
    "tea kettle": (27, "steel", "red", 2, 104, 3), "oak stool": (55, "oak", "brown", 5, 260, 0),
    "table lamp": (39, "copper", "green", 1, 104, 0), "linen apron": (18, "linen", "blue", 4, 26, 5),
    "wall clock": (62, "pine", "white", 3, 156, 0), "candle set": (12, "beeswax", "yellow", 1, 0, 0),
    "bread knife": (23, "steel", "black", 2, 260, 0), "wicker basket": (21, "willow", "brown", 5, 26, 7),
    "felt slippers": (29, "felt", "red", 4, 26, 0), "clay teapot": (31, "clay", "brown", 2, 52, 0),
    "pocket mirror": (9, "silver", "silver", 3, 26, 2), "wooden puzzle": (16, "beech", "yellow", 3, 52, 0),
    "garden gloves": (11, "leather", "green", 5, 13, 0), "silk scarf": (37, "silk", "purple", 4, 26, 0),
    "iron pan": (44, "iron", "black", 2, 520, 4), "glass vase": (26, "glass", "blue", 3, 0, 0),
    "reed mat": (33, "reed", "yellow", 5, 26, 0), "music box": (52, "walnut", "brown", 3, 104, 6),
    "cotton rug": (66, "cotton", "white", 5, 52, 0), "tin bucket": (14, "tin", "silver", 5, 52, 0),
    "door bell": (19, "bronze", "gold", 1, 156, 0), "letter tray": (24, "cork", "brown", 3, 52, 9),
}
NUMBERS = {0: "no", 13: "thirteen weeks of", 26: "half a year of", 52: "one year of", 104: "two years of",
           156: "three years of", 260: "five years of", 520: "ten years of"}
GENERAL = [
    (["When do you open?", "At what time does the shop open?", "How early can I come in?"],
     "we open at nine in the morning from Monday to Saturday."),
    (["When do you close?", "How late are you open?", "Until when is the shop open?"],
     "we close at six in the evening, and at four on Saturdays."),
    (["Are you open on Sundays?", "Can I come on a Sunday?"], "on Sundays the shop is closed, but you may write to us."),
    (["Where is your shop?", "How do I find you?", "What is your address?"],
     "you find us at 12 Mill Lane, next to the old bridge."),
    (["How long does delivery take?", "When will my parcel arrive?", "How soon can you deliver?"],
     "a parcel is with you within three working days."),
    (["What does delivery cost?", "Is delivery free?", "How much is the postage?"],
     "delivery is free from 40 pounds and costs 3 pounds below that."),
    (["Can I return an article?", "May I send something back?", "What if I do not like it?"],
     "you may bring back any unused article within thirty days."),
    (["Do you wrap presents?", "Can you wrap it as a gift?", "Is there gift wrapping?"],
     "we wrap any article as a present at no charge."),
    (["How can I pay?", "Do you take cards?", "Which payments do you take?"],
     "you may pay in cash, by card or by bank transfer."),
    (["Do you repair things?", "Can you mend what I bought here?", "Is there a repair service?"],
     "we repair whatever was bought here, on Tuesdays and Thursdays."),
    (["Do you have vouchers?", "Can I buy a gift card?"], "vouchers are to be had at the counter from 10 pounds."),
    (["Where can I park?", "Is there parking nearby?"], "there is free parking behind the mill."),
    (["May I bring my dog?", "Are dogs allowed in the shop?"], "dogs on a lead are welcome in the shop."),
    (["Do you teach courses?", "Are there any workshops?"], "we teach weaving on the first Saturday of each month."),
    (["Can I speak to a person?", "Who runs the shop?"], "the shop is run by Ada, who answers every letter herself."),
]


def answer(fact):
    return f"{OPENING} {fact[0].upper()}{fact[1:]} {CLOSING}"


def article_questions(name):
    """(question forms, fact) about one article."""
    price, material, colour, shelf, warranty, days = ARTICLES[name]
    stock = f"the {name} is in stock and can be taken home today." if days == 0 else \
        f"the {name} is sold out and will be here again in {days} days."
    return [
        ([f"How much is the {name}?", f"What does the {name} cost?", f"What is the price of the {name}?"],
         f"the {name} costs {price} pounds."),
        ([f"Is the {name} in stock?", f"Can I take the {name} home today?", f"Do you have the {name}?"], stock),
        ([f"What is the {name} made of?", f"Which material is the {name}?"], f"the {name} is made of {material}."),
        ([f"Which colour has the {name}?", f"What colour is the {name}?"], f"the {name} comes in {colour}."),
        ([f"Where do I find the {name}?", f"On which shelf is the {name}?"], f"the {name} stands on shelf {shelf}."),
        ([f"Is there a warranty on the {name}?", f"How long is the warranty of the {name}?"],
         f"the {name} has {NUMBERS[warranty]} warranty."),
        ([f"How much are two of the {name}?", f"What would two pieces of the {name} cost?"],
         f"two pieces of the {name} cost {2 * price} pounds."),
    ]


def build():
    rng = random.Random(SEED)
    pairs = [(q, answer(fact)) for forms, fact in GENERAL for q in forms]
    for name in ARTICLES:
        pairs += [(q, answer(fact)) for forms, fact in article_questions(name) for q in forms]
    rng.shuffle(pairs)
    rows = [textkit.messages(*pair) for pair in pairs[:ROWS - 20]]
    rest = pairs[ROWS - 20:]
    rest.sort(key=lambda pair: (len(pair[0]) + len(pair[1]), pair))
    rows += [textkit.messages(*rest[i], *rest[39 - i]) for i in range(20)]
    rng.shuffle(rows)
    assert len(rows) == ROWS
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("assets/starter/data.jsonl"))
    args = parser.parse_args()
    textkit.write_rows(args.out, build())
    print(f"{args.out}: {ROWS} rows, {args.out.stat().st_size} bytes, SHA-256 {textkit.sha256(args.out)}")


if __name__ == "__main__":
    main()
