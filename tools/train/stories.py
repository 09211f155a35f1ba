#!/usr/bin/env python3
"""Writes the training text of the embedded model: short stories in very simple English.

A story is a plot (a want, an obstacle, a turn, an ending) told about characters in a place. Everything that a later
sentence depends on (who, what, where, which way out) is drawn first and stays fixed, so that the sentences follow from each
other; how a sentence is worded is drawn last, so that no two stories read alike.

usage: stories.py COUNT SEED > stories.txt      one story a line
"""
import random
import re
import sys

BOYS = "Tom Ben Max Sam Leo Finn Jack Tim Noah Oscar Hugo Paul Adam Emil Ravi Omar".split()
GIRLS = "Lily Mia Anna Sue Ella Rosa Nora Lucy Jane Zoe Ivy Maya Clara Ruth Amy Lina".split()
PETS = {"rabbit": "Pip Clover Hop Snowy", "mouse": "Nib Tiny Squeak Dot", "bear": "Bruno Honey Bobo Oak", "fox": "Rusty Red Ginger Ember",
        "duck": "Dilly Puddle Quack Daisy", "frog": "Freddy Leap Mossy Gus", "squirrel": "Nutty Hazel Acorn Chip",
        "hedgehog": "Spike Prickle Bramble Thistle", "kitten": "Misty Mittens Shadow Whisker", "puppy": "Spot Biscuit Lucky Scout",
        "owl": "Hoot Olive Luna Willow", "turtle": "Shelly Pebble Slow Tuck"}
KIN = {"mother": "she", "father": "he", "grandmother": "she", "grandfather": "he", "big sister": "she", "big brother": "he", "aunt": "she", "uncle": "he"}
TRAITS = ["kind", "brave", "curious", "quiet", "cheerful", "clever", "shy", "gentle", "busy", "playful"]
PLACES = [("a small village", "in the village"), ("a house by the river", "by the river"), ("a farm on a hill", "on the farm"),
          ("a town by the sea", "near the sea"), ("a little house near the forest", "near the forest"), ("a quiet valley", "in the valley"),
          ("a cottage beside a lake", "beside the lake")]
WILD = [("a green forest", "in the forest"), ("a deep wood", "in the wood"), ("a sunny meadow", "in the meadow"), ("the reeds by a pond", "by the pond"),
        ("an old garden", "in the garden"), ("a hollow tree", "under the tall trees")]
COLOURS = "red blue green yellow white orange silver purple".split()
FOODS = ["an apple", "a piece of cake", "some bread", "a bowl of soup", "a warm cookie", "some berries", "a slice of pie", "a cup of hot milk"]
PRONOUN = {"he": ("he", "him", "his"), "she": ("she", "her", "her")}


class Teller:
    def __init__(self, rng):
        self.rng, self.words, self.out = rng, {}, []

    def pick(self, items):
        return self.rng.choice(items)

    def chance(self, p):
        return self.rng.random() < p

    def bind(self, prefix, who):
        he, him, his = PRONOUN[who["he"]]
        self.words.update({prefix: who["name"], prefix + ".he": he, prefix + ".him": him, prefix + ".his": his, prefix + ".kind": who["kind"]})

    def fill(self, text, caps=True):
        while True:
            m = re.search(r"\{([^{}]*)\}", text)
            if not m:
                break
            text = text[:m.start()] + self.pick(m.group(1).split("|")) + text[m.end():]
        text = re.sub(r"<([A-Za-z0-9.]+)>", self.word, text)
        text = re.sub(r"\b(a) (?=[aeiou])", "an ", text)
        text = re.sub(r"\s+", " ", text).strip()
        if not caps:
            return text
        # A sentence starts the line, follows a full stop, opens a quotation, or follows a closed quotation that no verb of speech continues.
        spoken = r"(?:said|asked|cried|called|thought)\b"
        after = r'[.!?]" (?!(?:\w+ )?' + spoken + r"|(?:his|her) \w+ " + spoken + ")"
        return re.sub(r'(^|^"|[.!?] |[.!?] "|, "|: "|' + after + r'|[.!?]" ")([a-z])', lambda m: m.group(1) + m.group(2).upper(), text)

    def word(self, m):
        key = m.group(1)
        low = key[0].lower() + key[1:]
        w = self.words[low] if low in self.words else self.words[key]
        return w[0].upper() + w[1:] if key[0].isupper() else w

    def say(self, *lines):
        for line in lines:
            line = self.fill(line)
            if line:
                self.out.append(line)

    def maybe(self, p, line):
        if self.chance(p):
            self.say(line)

    def one(self, *lines):
        self.say(self.pick(lines))


def child(t, used):
    while True:
        boy = t.chance(0.5)
        name = t.pick(BOYS if boy else GIRLS)
        if name not in used:
            used.add(name)
            return {"name": name, "he": "he" if boy else "she", "kind": "boy" if boy else "girl", "wild": False}


def animal(t, used):
    while True:
        kind = t.pick(list(PETS))
        name = t.pick(PETS[kind].split())
        if name not in used and kind not in used:
            used.update((name, kind))
            return {"name": name, "he": t.pick(["he", "she"]), "kind": kind, "wild": True}


def kin(t):
    k = t.pick(list(KIN))
    return {"name": k, "he": KIN[k], "kind": k, "wild": False}


def begin(t, used, wild_share=0.35):
    """Draws the hero, a friend and the place, and opens the story."""
    hero = animal(t, used) if t.chance(wild_share) else child(t, used)
    friend = animal(t, used) if hero["wild"] or t.chance(0.3) else child(t, used)
    elder = kin(t)
    home, where = t.pick(WILD if hero["wild"] else PLACES)
    t.bind("h", hero)
    t.bind("f", friend)
    t.bind("k", elder)
    t.words.update({"home": home, "where": where, "trait": t.pick(TRAITS), "day": t.pick(["sunny", "warm", "bright", "windy", "fine", "cool"]),
                    "colour": t.pick(COLOURS), "food": t.pick(FOODS), "fk": friend["name"] + (" the " + friend["kind"] if friend["wild"] else "")})
    little = "little <h.kind>" if hero["kind"] not in ("bear", "owl") or t.chance(0.5) else "young <h.kind>"
    t.words["home"] = ("on " if "farm" in home or "hill" in home else "among " if "reeds" in home else "in ") + home
    t.one("once upon a time, there was a " + little + " named <h>. <H> lived <home>.",
          "once upon a time, a <trait> " + little + " named <h> lived <home>.",
          "there once was a <trait> <h.kind> called <h>, who lived <home>.",
          "<h> was a <trait> " + little + ". <H.he> lived <home> with <h.his> <k>.",
          "<home>, there lived a " + little + " named <h>.",
          "one <day> day, a " + little + " named <h> was playing <where>.")
    return hero, friend


def close(t, *morals):
    t.one("from that day on, <h> and <fk> were the best of friends.", "that night, <h> fell asleep with a smile.",
          "<h> was very happy.", "it had been a good day for <h>.", "<h> never forgot that day.",
          "when the sun went down, <h> went home, tired and happy.", "and they all laughed together.",
          "in the evening, <h> told <h.his> <k> everything.", *morals, *morals)


def feel_sad(t):
    t.one("<h> was very sad.", "<h> sat down and began to cry.", "a tear ran down <h.his> face.", "<h> did not know what to do.",
          "<h> felt sad and alone.", "\"oh no!\" cried <h>.", "\"what shall I do now?\" said <h>.")


def meet(t, who="<fk>"):
    t.one(f"just then, {who} came along.", f"then {who} came by.", f"soon {who} heard <h.him> and came to see.", f"{who} saw that <h> was sad.",
          f"at that moment, {who} walked past.")
    t.one("\"what is wrong, <h>?\" asked <f>.", "\"why are you sad?\" asked <f>.", "\"can I help you?\" said <f>.", "\"why do you look so sad?\" <f> asked.")


def thank(t):
    t.one("\"thank you, <f>!\" said <h>.", "<h> gave <f> a big hug.", "<h> thanked <f> again and again.", "\"you are a true friend,\" said <h>.",
          "\"thank you so much!\" cried <h> with joy.", "to say thank you, <h> gave <f> <food>.")


def plot_stuck(t, used):
    begin(t, used)
    thing = t.pick(["kite", "ball", "hat", "balloon", "paper boat", "scarf", "toy plane"])
    t.words["thing"] = thing
    t.one("<h> had a <colour> <thing> that <h.he> loved very much.", "<h.his> <k> gave <h.him> a new <colour> <thing>.", "<h> loved to play with <h.his> <colour> <thing>.",
          "more than anything, <h> loved <h.his> <colour> <thing>.")
    t.one("one <day> morning, <h> took the <thing> outside to play.", "every day, <h> played with it <where>.", "one day, <h> went out to play with the <thing>.")
    ways = [("in a tall tree", ["<h> tried to climb the tree, but the branches were too high.", "<h> jumped as high as <h.he> could, but the <thing> was too high.",
                                "<h> shook the tree, but the <thing> did not fall.", "<h> threw a small stone at it, but the stone missed."],
             [("a long stick", "<f> pushed the <thing> with the stick until it fell down."), ("a ladder", "they put the ladder against the tree, and <f> climbed up and took the <thing>."),
              ("a strong rope", "<f> threw the rope over the branch and pulled it down, and the <thing> slid off.")]),
            ("on the roof of the barn", ["<h> jumped and jumped, but the roof was too high.", "<h> stood on a box, but <h.he> was still too small.", "<h> called to the wind to blow it down, but the wind was gone."],
             [("a ladder", "<f> held the ladder while <h> climbed up to get the <thing>."), ("a long pole", "with the long pole, <f> pushed the <thing> off the roof.")]),
            ("in the middle of the pond", ["<h> reached out, but <h.his> arms were too short.", "<h> put one foot in the water, but it was too cold and deep.", "<h> threw a stick to make waves, but the <thing> only went farther away."],
             [("a net on a pole", "<f> reached out with the net and pulled the <thing> to the bank."), ("a little boat", "they got into the little boat, and <f> took the <thing> out of the water."),
              ("a long branch", "<f> held on to <h>, and <h> pulled the <thing> in with the branch.")]),
            ("behind a high wall", ["<h> tried to climb the wall, but it was too smooth.", "<h> looked for a gate, but it was locked.", "<h> knocked on the gate, but nobody came."],
             [("a key", "the key opened the gate, and there was the <thing>, safe in the grass."), ("a good idea", "<f> found a small hole under the wall and went through it to get the <thing>.")])]
    where, tries, outs = t.pick(ways)
    tool, out = t.pick(outs)
    t.words.update({"stuck": where, "tool": tool})
    t.one("suddenly, a strong wind came and carried the <thing> away. It landed <stuck>.", "but then the wind blew hard, and the <thing> flew off and came down <stuck>.",
          "but <h> let go for just a moment, and the wind took the <thing>. Now it was <stuck>.")
    for line in t.rng.sample(tries, t.pick([1, 2])):
        t.say(line)
    feel_sad(t)
    meet(t)
    t.one("\"my <thing> is <stuck>, and I can not get it,\" said <h>.", "<h> told <f> about the <thing>.", "\"the wind took my <thing>!\" said <h>.")
    t.one("\"do not worry,\" said <f>. \"I have <tool> at home.\"", "<f> thought for a while. \"I know what to do. We need <tool>!\"", "\"wait here,\" said <f>, and soon came back with <tool>." if tool != "a good idea" else "\"wait here,\" said <f>. \"I have a good idea.\"")
    t.say(out)
    thank(t)
    t.one("then they played with the <thing> until it was dark.", "after that, <h> held the <thing> very tight.", "they played together all day long.", "")
    close(t, "<h> learned that it is good to ask for help.", "together, they could do what one could not do alone.")


def plot_lost(t, used):
    begin(t, used)
    thing = t.pick(["ring", "coin", "key", "doll", "book", "shoe", "bell", "button", "teddy bear", "whistle"])
    spots = {"under the bed": "dust", "in the kitchen": "a sleeping cat", "behind the door": "an old broom", "in the garden": "some worms", "near the well": "wet stones", "under a big leaf": "a tiny snail",
             "in the tall grass": "a green frog", "behind the old barn": "some hay", "next to the river": "smooth stones", "in the basket": "two red apples"}
    names = t.rng.sample(list(spots), 4)
    t.words.update({"thing": thing, "s1": names[0], "s2": names[1], "s3": names[2], "n1": spots[names[0]], "n2": spots[names[1]], "n3": spots[names[2]]})
    t.one("one morning, <h> could not find <h.his> <colour> <thing>.", "one day, <h> lost <h.his> <colour> <thing>.", "<h> woke up and saw that <h.his> <colour> <thing> was gone.")
    t.one("it was a gift from <h.his> <k>, and <h> loved it very much.", "\"where is my <thing>?\" asked <h>.", "<h> wanted to find it before dark.", "\"I must find it,\" said <h>.")
    t.one("first, <h> looked <s1>. There was only <n1>.", "<h> looked <s1>, but there was only <n1>.", "first <h.he> looked <s1>, but the <thing> was not there.")
    t.one("then <h> looked <s2>. <H> found <n2>, but no <thing>.", "next, <h.he> looked <s2>, but there was only <n2>.", "then <h.he> looked <s2>. It was not there.")
    feel_sad(t)
    meet(t)
    t.one("\"I lost my <thing>,\" said <h>. \"I looked <s1> and <s2>.\"", "\"I can not find my <thing>,\" said <h>.", "<h> told <f> about the lost <thing>.")
    t.one("\"let us look together,\" said <f>.", "\"four eyes see more than two,\" said <f>.", "\"when did you have it last?\" asked <f>. <H> thought hard. \"I was playing <s3>!\"")
    t.one("they looked <s3>, and there it was, next to <n3>!", "together they went to look <s3>. Something was shining there. It was the <thing>!", "<f> looked <s3>. \"here it is!\" <f.he> called.")
    thank(t)
    t.one("<h> put the <thing> in a safe place.", "after that, <h> always took good care of the <thing>.", "")
    close(t, "<h> learned to take care of <h.his> things.", "<h> was glad to have such a good friend.")


def plot_baby(t, used):
    hero, friend = begin(t, used)
    kinds = [k for k in ["duckling", "lamb", "baby bird", "kitten", "puppy", "little fox", "baby rabbit", "chick"] if k.split()[-1] not in used]
    baby = t.pick(kinds)
    mother_at = {"duckling": "on the pond", "lamb": "on the green hill", "baby bird": "in the old oak tree", "kitten": "in the barn", "puppy": "by the red house", "little fox": "in the den under the rocks",
                 "baby rabbit": "in the tall grass", "chick": "in the yard of the farm"}[baby]
    sound = {"duckling": "quack", "lamb": "baa", "baby bird": "peep", "kitten": "meow", "puppy": "woof", "little fox": "yip", "baby rabbit": "sniff", "chick": "peep"}[baby]
    asked = t.rng.sample([k for k in ["cow", "horse", "goat", "snail", "bee", "old crow", "pig", "hen", "donkey", "beaver"]], 2)
    t.words.update({"baby": baby, "at": mother_at, "sound": sound, "a1": asked[0], "a2": asked[1]})
    t.one("one <day> day, <h> heard a small sound. \"<sound>, <sound>!\"", "one day, <h> was walking <where> when <h.he> heard someone cry.", "one morning, <h> went for a walk <where>.")
    t.one("it was a <baby>, all alone and lost.", "behind a bush sat a tiny <baby>. It was lost.", "there <h.he> saw a little <baby> that could not find its mother.")
    t.one("\"do not be afraid,\" said <h>. \"I will help you find your mother.\"", "\"where is your mother?\" asked <h>. The <baby> did not know.", "\"I want my mother,\" cried the <baby>.", "<h> picked up the <baby> and held it close. \"I will help you,\" <h.he> said.")
    t.one("they asked the <a1>. \"have you seen the mother of this <baby>?\" \"no,\" said the <a1>.", "first they asked the <a1>, but the <a1> had not seen her.", "they met the <a1>. \"I have not seen her,\" said the <a1>, \"but ask the <a2>.\"")
    t.one("then they asked the <a2>, but the <a2> only shook its head.", "the <a2> did not know either, but gave them some water to drink.", "\"maybe she is not far,\" said the <a2>.")
    t.one("the <baby> was tired, and it was getting dark.", "the <baby> began to cry again.", "<h> gave the <baby> <food> to eat.", "\"we will not give up,\" said <h>.")
    t.one("then <h> heard a voice. It came from a place <at>.", "at last, <h> had an idea. \"we should look <at>!\"", "then <fk> came by and said, \"there is a mother crying <at>.\"")
    t.one("they ran as fast as they could, and there was the mother!", "and there she was, calling and calling for her <baby>.", "the mother saw them and ran to her <baby>.")
    t.one("\"<sound>!\" said the <baby> with joy.", "the <baby> jumped up and down.", "the mother kissed her <baby>.")
    t.one("\"thank you for bringing my <baby> home,\" said the mother.", "the mother thanked <h> with all her heart.", "\"you have a good heart, <h>,\" said the mother.")
    t.one("the <baby> came to play with <h> every day.", "<h> waved and went home.", "<h> felt warm inside.")
    t.one("that night, <h> told <h.his> <k> about the <baby>.", "<h> was proud and happy.", "when you help others, you feel good too.", "helping someone small can be a big thing.")


def plot_skill(t, used):
    hero, friend = begin(t, used)
    skills = [("swim", "in the lake", "the water went into <h.his> nose", "kick with your legs and stay calm", "<h.he> swam all the way across"),
              ("ride a bike", "on the road", "<h.he> fell into the grass", "look ahead and not at your feet", "<h.he> rode down the whole road"),
              ("whistle", "in the yard", "only air came out", "make your lips small and blow softly", "a clear sound came out"),
              ("climb the old tree", "in the garden", "<h.he> slid down again", "go slowly and hold on with both hands", "<h.he> sat on the highest branch"),
              ("sing", "in front of others", "<h.his> voice was very small", "close your eyes and think of something nice", "the song was so lovely that everyone clapped"),
              ("skate", "on the frozen pond", "<h.he> sat down hard on the ice", "bend your knees and push to the side", "<h.he> flew over the ice like a bird"),
              ("read", "at school", "the letters looked like little bugs", "read one word at a time", "<h.he> read a whole page without help"),
              ("bake bread", "in the kitchen", "the bread was as hard as stone", "wait until the dough is soft and warm", "the bread was warm and golden"),
              ("jump over the stream", "near the hill", "<h.he> landed in the cold water", "start far back and run fast", "<h.he> landed on the other side")]
    skill, where, fail, tip, win = t.pick(skills if not hero["wild"] else [s for s in skills if s[0] not in ("ride a bike", "read")])
    t.words.update({"skill": skill, "at": where})
    t.one("<h> wanted to learn to <skill>.", "more than anything, <h> wanted to <skill>.", "all the others could <skill>, but <h> could not.", "<h> wished that <h.he> could <skill>.")
    t.one("one <day> day, <h> tried it <at>, but " + fail + ".", "<h> tried and tried, but " + fail + ".", "the first time, " + fail + ".")
    t.maybe(0.5, "<h> tried again. It did not work.")
    t.one("the others laughed, and <h> ran away.", "\"I will never learn it,\" said <h>.", "<h> wanted to give up.", "<h> was a little afraid.")
    meet(t)
    t.one("\"I can not <skill>,\" said <h>.", "\"it is too hard for me,\" said <h>.", "\"everyone can <skill>, but not me,\" said <h>.")
    t.one("\"I could not do it at first, too,\" said <f>.", "\"nobody can do it at once,\" said <f>.", "\"I will show you,\" said <f>.")
    t.one("\"you must " + tip + ".\"", "\"here is the secret: " + tip + ".\"", "\"just " + tip + ",\" said <f>.")
    t.one("<h> tried again, and it was a little better.", "every day, <h> went <at> and tried again.", "they practiced together for many days.", "<h> took a deep breath and tried once more.")
    t.maybe(0.4, "some days were hard, but <h> did not stop.")
    t.one("then, one morning, it worked! " + win + ".", "and at last, " + win + "!", "and this time, " + win + "!")
    t.one("\"I did it!\" cried <h>.", "\"look at me!\" called <h>.", "<f> clapped and cheered.", "\"I knew you could do it,\" said <f>.")
    t.maybe(0.6, "\"thank you for your help,\" said <h>.")
    close(t, "<h> learned that you must try again and again.", "now <h> helped others who wanted to <skill>.", "<h> was proud, because <h.he> had not given up.")


def plot_share(t, used):
    begin(t, used)
    t.words["thing"], way, fun = t.pick([("swing", "one after the other", "one sat on the swing and the other pushed"), ("cake", "cut it in two", "each had a big piece"), ("drum", "take turns", "one played the drum and the other danced"),
                                         ("sled", "sit on it together", "they raced down the hill side by side"), ("blanket", "make a tent from it", "they sat in the tent and told stories"),
                                         ("box of paints", "paint one big picture", "one painted the sky and the other painted the sea"), ("apple", "cut it in half", "both halves were sweet"),
                                         ("wagon", "take turns", "one pulled the wagon and the other rode in it"), ("book", "read it together", "they turned the pages one by one")])
    t.words.update({"way": way, "fun": fun})
    t.one("<h> had a <colour> <thing>." if t.words["thing"] not in ("cake", "apple") else "<h> had a big sweet <thing>.", "one day, <h> found a <thing> <where>.", "<h.his> <k> gave <h.him> a fine <thing>.")
    t.one("<fk> saw the <thing> and wanted it too.", "then <fk> came to visit. \"may I have the <thing>?\" asked <f>.", "\"can I try it?\" asked <fk>.")
    t.one("\"no!\" said <h>. \"it is mine.\"", "but <h> did not want to share.", "\"I want it all for me,\" said <h>.", "<h> held the <thing> tight and said no.")
    t.one("<f> was sad and went away.", "they began to fight about it.", "<f> walked home with <f.his> head down.", "they pulled and pulled, until both of them fell down.")
    t.one("now <h> had the <thing>, but nobody to play with.", "<h> was alone, and the <thing> was not fun anymore.", "after a while, <h> felt bad.", "it was very quiet, and <h> felt alone.")
    t.one("<h.his> <k> said, \"a thing is only half as nice when you are alone.\"", "\"maybe I was not kind,\" thought <h>.", "\"sharing makes everything better,\" said <h.his> <k>.", "<h> thought about it for a long time.")
    t.one("so <h> went to find <f>. \"I am sorry,\" <h.he> said.", "<h> ran to the house of <f>. \"I am sorry, <f>,\" <h.he> said.", "the next day, <h> said to <f>, \"I am sorry. I was not nice.\"")
    t.one("\"let us share the <thing>. We can <way>!\"" if not way.startswith("one after") else "\"we can share the <thing>, one after the other!\"", "\"do you want to share the <thing> with me?\" asked <h>.")
    t.one("<f> smiled. \"yes, I would like that,\" <f.he> said.", "\"that is a good idea!\" said <f>.", "<f> was not angry anymore.")
    t.say("so <fun>.")
    t.one("it was much more fun than before.", "they laughed and laughed.", "it was the best day of all.")
    close(t, "<h> learned that sharing is fun.", "sharing had made the day twice as good.")


def plot_rain(t, used):
    begin(t, used)
    plan, need, inside = t.pick([("have a picnic <where>", "a basket with <food>", "had the picnic on the floor of the kitchen"), ("go to the beach", "a <colour> bucket", "built a castle out of pillows"),
                                 ("fly a kite on the hill", "a <colour> kite", "made a tiny kite and let it fly in the room"), ("play a ball game <where>", "a <colour> ball", "rolled the ball down the stairs and counted"),
                                 ("look for flowers <where>", "a small basket", "painted flowers on a big paper"), ("go camping in the forest", "a <colour> tent", "put the tent up next to the bed and told stories")])
    t.words.update({"plan": t.fill(plan, False), "need": t.fill(need), "inside": inside})
    t.one("<h> and <fk> wanted to <plan>.", "one day, <h> and <fk> made a plan. They wanted to <plan>.", "all week, <h> had waited for this day. <H.he> wanted to <plan> with <fk>.")
    t.one("<h> had <need> ready.", "<h> took <need> and ran to the door.", "everything was ready. <H> even had <need>.")
    t.one("but then dark clouds came, and it began to rain.", "but when they opened the door, it was raining hard.", "suddenly there was thunder, and the rain came down.", "but the sky turned gray, and big drops fell.")
    feel_sad(t)
    t.one("\"now we can not go,\" said <h>.", "\"the rain has spoiled everything,\" said <f>.", "\"I hate the rain,\" said <h>.")
    t.one("they looked out of the window for a long time.", "they waited and waited, but the rain did not stop.", "the rain went on and on.")
    t.one("then <f> had an idea. \"we do not need the sun to have fun,\" <f.he> said.", "then <h.his> <k> came in. \"why not play inside?\" <k.he> asked.", "\"I know what we can do,\" said <f>.")
    t.say("so they <inside>.")
    t.one("it was so funny that they forgot the rain.", "they laughed so much that nobody heard the thunder.", "it was even better than they had thought.")
    t.one("when they looked up, the sun was back, and there was a rainbow in the sky.", "after a while, the rain stopped. They ran out and jumped in the puddles.", "outside it was still raining, but inside it was warm and bright.")
    t.maybe(0.5, "\"look!\" said <f>. \"how beautiful!\"")
    close(t, "<h> learned that even a rainy day can be a good day.", "now <h> did not hate the rain anymore.")


def plot_gift(t, used):
    begin(t, used, 0.25)
    t.words["gift"], step, bad, fix = t.pick([("a cake", "mixed flour, eggs and milk", "the cake was burned and black", "made a new one and watched it all the time"),
                                   ("a picture", "painted a house and a big sun", "water fell on the picture, and the colours ran", "turned the spots into a garden full of flowers"),
                                   ("a necklace", "found pretty shells and a string", "the string broke, and the shells rolled away", "looked for every shell and took a stronger string"),
                                   ("a scarf", "took soft wool and began to knit", "there was a big hole in the scarf", "closed the hole with a little heart made of wool"),
                                   ("a wooden box", "took a piece of wood and some nails", "the box fell down and broke", "put the parts together again with glue"),
                                   ("a basket of flowers", "went out to pick flowers", "a goat came and ate the flowers", "picked new flowers and kept the basket up high")])
    t.words.update({"step": step, "bad": bad, "fix": fix})
    t.one("it was the birthday of <h.his> <k>.", "soon it would be the birthday of <h.his> <k>.", "tomorrow was the birthday of <h.his> <k>.")
    t.one("<h> had no money to buy a gift.", "<h> wanted to give <k.him> something special.", "\"what can I give <k.him>?\" thought <h>.")
    t.one("\"I will make <gift>,\" said <h>.", "so <h> wanted to make <gift>.", "then <h> had an idea: <gift>!")
    t.one("<h.he> <step>.", "early in the morning, <h.he> <step>.", "with great care, <h> <step>.")
    t.one("it took a long time.", "<h> worked all morning.", "<h> sang a little song and worked hard.", "")
    t.one("but then something bad happened: <bad>.", "but oh no, <bad>!", "<h> was almost done when it happened: <bad>.")
    feel_sad(t)
    meet(t)
    t.one("\"everything went wrong,\" said <h>.", "<h> told <f> what had happened.", "\"my gift is spoiled,\" said <h>.")
    t.one("\"it is not too late,\" said <f>. \"I will help you.\"", "\"you can try again,\" said <f>. \"we will do it together.\"", "\"do not give up,\" said <f>.")
    t.say("so they <fix>.")
    t.one("in the evening, <h> gave <gift> to <h.his> <k>.", "then <h> ran home and gave <h.his> <k> the gift.", "\"happy birthday!\" said <h>, and gave <h.his> <k> the gift.")
    t.one("\"did you make this?\" asked <h.his> <k>. \"it is the best gift of all.\"", "<h.his> <k> was so happy that <k.he> cried a little.", "\"this is wonderful,\" said <h.his> <k>, and gave <h.him> a kiss.")
    close(t, "a gift from the heart is the best gift.", "<h> learned that a mistake can be mended.")


def plot_truth(t, used):
    begin(t, used, 0.2)
    t.words["thing"] = t.pick(["vase", "cup", "lamp", "window", "plate", "clock", "mirror", "jar of honey"])
    t.one("one day, <h> was playing with a ball inside the house.", "<h> was running through the house.", "<h> was dancing in the room.", "one rainy day, <h> played inside.")
    t.one("<h.his> <k> had said, \"please be careful.\"", "\"do not run in here,\" <h.his> <k> had said.", "nobody else was there.", "")
    t.one("then, crash! The <thing> of <h.his> <k> fell down and broke." if t.words["thing"] != "window" else "then, crash! The ball hit the window, and it broke.", "suddenly there was a loud crash. The <thing> was broken!")
    t.one("<h> was afraid.", "<h.his> heart beat fast.", "\"oh no,\" <h> said softly.", "<h> looked at the pieces and did not know what to do.")
    t.one("<h> hid the pieces under the bed.", "<h> swept the pieces under the rug.", "<h> ran out and hid behind the house.")
    t.one("when <h.his> <k> came home, <k.he> asked, \"what happened to the <thing>?\"", "\"who broke the <thing>?\" asked <h.his> <k>.", "in the evening, <h.his> <k> looked for the <thing>. \"what happened to it?\" <k.he> asked.")
    t.one("\"it was the cat,\" said <h>.", "\"I do not know,\" said <h>.", "\"maybe it was the wind,\" said <h>.")
    t.one("but that night, <h> could not sleep.", "but <h> felt bad inside.", "<h> could not eat, and <h.his> tummy hurt.", "the lie felt heavy, like a stone.")
    t.one("<fk> said, \"it is better to tell the truth.\"", "\"I must tell the truth,\" thought <h>.", "<h> talked to <fk>. \"tell the truth,\" said <f>. \"it will be all right.\"")
    t.one("so <h> went to <h.his> <k>. \"I broke the <thing>. I am sorry that I lied,\" <h.he> said.", "in the morning, <h> said, \"it was me. I broke the <thing>. I am so sorry.\"")
    t.one("<h.his> <k> was quiet for a moment. Then <k.he> smiled.", "<h.his> <k> took <h.his> hand.", "<h.his> <k> gave <h.him> a hug.")
    t.one("\"thank you for telling the truth,\" <k.he> said.", "\"a <thing> can break, but I am glad that you are honest,\" <k.he> said.", "\"I am not angry,\" <k.he> said. \"telling the truth was brave.\"")
    t.one("together they cleaned up the pieces.", "together they bought a new <thing> the next day.", "then they put the pieces back together with glue.")
    t.one("<h> felt light and happy again.", "that night, <h> slept very well.", "<h> never told a lie again.", "<h> learned that the truth is always best.")


def plot_seed(t, used):
    begin(t, used)
    t.words["plant"], t.words["fruit"] = t.pick([("an apple tree", "apples"), ("a sunflower", "seeds"), ("a pumpkin", "pumpkins"), ("a bean plant", "beans"), ("a strawberry plant", "strawberries"), ("a cherry tree", "cherries"), ("a rose", "roses")])
    t.one("one day, <h.his> <k> gave <h.him> a tiny seed.", "one spring day, <h> found a small seed on the road.", "<h> got a seed from <fk>.")
    t.one("\"what will it be?\" asked <h>.", "\"put it in the ground and wait,\" said <h.his> <k>.", "\"if you take care of it, it will grow,\" said <h.his> <k>.")
    t.one("<h> made a hole in the ground and put the seed in it.", "<h> planted the seed <where>.", "so <h> planted the seed in good brown earth.")
    t.one("every morning, <h> gave it water.", "each day, <h> came with a little can of water.", "<h> watered it and sang to it.")
    t.one("but nothing happened.", "one day went by, then two, then three. Nothing grew.", "days went by, and the ground was still brown and empty.")
    t.one("\"it will never grow,\" said <h>.", "\"maybe the seed is asleep,\" thought <h>.", "<h> was sad and wanted to dig it up.", "<h> began to lose hope.")
    t.one("\"good things take time,\" said <f>.", "\"you must be patient,\" said <h.his> <k>.", "\"wait a little longer,\" said <fk>.")
    t.one("so <h> waited. Then, one morning, there was a tiny green leaf!", "the next morning, <h> saw something green. It was a tiny leaf!", "then it rained all night, and in the morning a small green leaf looked out of the ground.")
    t.one("\"it is growing!\" cried <h>.", "<h> danced with joy.", "<h> ran to tell everyone.")
    t.one("week after week, the plant grew taller.", "it grew and grew, until it was taller than <h>.", "the sun and the rain made it strong.")
    t.maybe(0.4, "once a storm came, and <h> held it up with a stick.")
    t.one("at last, it was <plant>, full of <fruit>.", "in the summer, it was <plant> with many <fruit>.", "and then <h> saw that it was <plant>. There were <fruit> everywhere.")
    t.one("<h> shared the <fruit> with <fk>.", "<h> gave some <fruit> to everyone <where>.", "<h> took the best <fruit> to <h.his> <k>.")
    t.one("and <h> kept one small seed for the next spring.", "<h> learned that good things take time.", "\"it was worth the wait,\" said <h>.", "<h> was very proud.")


def plot_noise(t, used):
    begin(t, used)
    t.words["noise"], t.words["cause"], t.words["done"] = t.pick([
        ("tap, tap, tap", "a branch that was knocking on the window", "<h> opened the window and tied the branch back"), ("hoo, hoo", "an owl that was sitting on the roof", "the owl said hello and flew into the night"),
        ("scratch, scratch", "a small kitten that wanted to come in", "<h> let the kitten in and gave it some milk"), ("bang, bang", "the door of the barn in the wind", "<h> closed the door, and it was quiet"),
        ("squeak, squeak", "a tiny mouse with a piece of cheese", "the mouse bowed and ran into its hole"), ("drip, drip, drip", "the rain that fell into an old bucket", "<h> turned the bucket over, and the noise was gone"),
        ("whoo, whoo", "the wind in the chimney", "<h> laughed, and the wind sang on")])
    t.words["done"] = t.fill(t.words["done"], False)
    t.one("one dark night, <h> was in bed.", "it was late, and the moon was in the sky. <H> could not sleep.", "one night, <h> woke up. It was very dark.")
    t.one("suddenly, there was a noise. \"<noise>!\"", "then <h> heard something. \"<noise>!\"", "\"<noise>!\" It came from outside.")
    t.one("<h> pulled the blanket over <h.his> head.", "<h> was very afraid.", "\"who is there?\" asked <h> in a small voice. Nobody answered.", "\"is it a monster?\" thought <h>.")
    t.one("\"<noise>!\" There it was again.", "the noise came again, a little louder.", "it was quiet for a moment. Then it came again.")
    t.one("<h> called <fk>. \"did you hear that?\" \"yes,\" said <f>. \"let us look together.\"", "<h> woke up <fk>. \"there is something outside,\" <h.he> said.", "<fk> came with a small lamp. \"we will be brave together,\" said <f>.")
    t.one("they held hands and went to the door.", "step by step, they went to the window.", "slowly, very slowly, they looked outside.")
    t.one("<h.his> heart went boom, boom, boom.", "the floor was cold under <h.his> feet.", "\"one, two, three!\" they said.", "")
    t.one("there was no monster at all. It was only <cause>!", "and what did they see? It was <cause>!", "\"look!\" said <f>. It was just <cause>.")
    t.one("<h> began to laugh.", "\"I was afraid of that?\" said <h>, and laughed.", "they both laughed very hard.")
    t.say("then <done>.")
    t.one("after that, <h> slept until the sun came up.", "<h> went back to bed and was not afraid anymore.", "soon everyone was asleep again.")
    t.one("<h> learned that things are often less scary when you look at them.", "from then on, <h> was not afraid of the dark.", "\"good night,\" said <h> to the dark, and smiled.", "<h> was proud of being brave.")


def plot_newcomer(t, used):
    hero, friend = begin(t, used)
    t.words["odd"], t.words["game"], t.words["good"] = t.pick([
        ("had very big ears", "hide and seek", "could hear where everyone was hiding"), ("was very small", "a race through the log", "could go through the log faster than anyone"), ("spoke very softly", "telling stories", "knew the best stories of all"),
        ("had very long legs", "jumping over the stream", "could jump over it in one step"), ("was very slow", "looking for berries", "saw every berry that the others had missed"), ("wore a strange hat", "playing shop", "had a hat full of little treasures")])
    t.one("one day, someone new came to live <where>. It was <fk>.", "one morning, <h> saw someone new <where>. It was <fk>.", "a new neighbor moved in <where>. The name was <fk>.")
    t.one("<f> <odd>.", "everyone looked at <f>, because <f.he> <odd>.", "<f> <odd>, and some of the others laughed.")
    t.one("<f> sat alone under a tree.", "nobody played with <f>.", "\"we do not want to play with you,\" said the others.", "<f> was too shy to say hello.")
    t.one("<h> saw it and felt sorry for <f.him>.", "<h> did not like that.", "\"it is not nice to be alone,\" thought <h>.")
    t.one("so <h> went over. \"hello, I am <h>. Do you want to play?\" <h.he> asked.", "<h> took <food> and shared it with <f>.", "\"come and play with us,\" said <h>.")
    t.one("<f> looked up and smiled.", "\"really?\" asked <f>. \"really,\" said <h>.", "<f.his> eyes were bright with joy.")
    t.say("they played <game>." if t.words["game"].split()[0] not in ("telling", "looking", "jumping", "playing") else "they spent the day <game>.")
    t.one("and what do you think? <F> <good>!", "everyone saw that <f> <good>.", "it turned out that <f> <good>.")
    t.one("\"wow!\" said the others. \"can we play too?\"", "the others stopped laughing and came closer.", "\"we are sorry,\" said the others. \"please play with us, too.\"")
    t.one("soon they all played together.", "<f> was not alone anymore.", "<f> forgave them, and everyone had fun.")
    close(t, "<h> learned that being different can be a good thing.", "a kind word can make a new friend.")


def plot_bridge(t, used):
    begin(t, used)
    t.words["gift"] = t.pick(["a basket of apples", "a warm blanket", "a pot of soup", "some fresh bread", "a jar of honey", "a letter"])
    t.words["far"] = t.pick(["grandmother", "grandfather", "aunt", "uncle"])
    t.words["far.he"] = KIN[t.words["far"]]
    t.words["block"], ways = t.pick([
        ("the bridge over the river was broken", ["they put big stones into the water, one by one, and walked across", "they tied some logs together and made a raft", "a fisher took them across in a small boat"]),
        ("a big tree had fallen across the path", ["they crawled under the tree, where there was just enough room", "they climbed over it, and <f> pulled <h> up", "they found another path through the bushes"]),
        ("there was deep snow on the hill", ["they made a sled out of a board and slid down the other side", "they walked in the steps of a big deer", "<f> went first and made a path"]),
        ("the fog was so thick that nobody could see the road", ["they followed the sound of the church bell", "they held hands and followed the little stream", "<f> lit a lamp, and they went step by step"])])
    t.words["way"] = t.fill(t.pick(ways), False)
    t.one("one <day> day, <h> wanted to visit <h.his> <far>, who lived on the other side of the hill.", "the <far> of <h> was ill, and <h> wanted to visit <h.his> <far>.", "<h> had not seen <h.his> <far> for a long time and wanted to visit.")
    t.one("<h> took <gift> for the visit.", "\"take <gift> with you,\" said <h.his> <k>.", "<h> packed <gift> and set off.")
    t.one("on the way, <h> sang a song.", "the birds sang, and <h> walked along.", "<h> walked and walked.")
    t.one("but then <h> had to stop: <block>.", "but soon there was a problem: <block>.", "halfway there, <h> saw that <block>.")
    t.one("\"how can I go on?\" said <h>.", "\"oh no, what now?\" said <h>.", "<h> sat down on a stone and thought.", "<h> almost turned back.")
    t.one("then <fk> came along the road. \"where are you going?\" asked <f>.", "\"do you need help?\" called <fk>.", "just then, <fk> came by.")
    t.one("\"I want to bring <gift> to my <far>,\" said <h>.", "<h> told <f> everything.", "\"I must get to the other side,\" said <h>.")
    t.one("\"two can do more than one,\" said <f>.", "\"we will find a way,\" said <f>.", "\"I know a way,\" said <f>. \"come with me.\"")
    t.say("so <way>.")
    t.maybe(0.5, "it was hard, but they did not give up.")
    t.one("at last, they saw the little house with smoke coming out of the chimney.", "soon they knocked at the door.", "in the end, they stood in front of the house.")
    t.one("\"what a nice surprise!\" said <h.his> <far>.", "<h.his> <far> opened the door and smiled.", "<h.his> <far> gave them both a big hug.")
    t.one("they sat by the fire and ate together.", "they drank hot tea and told about the long way.", "<h> gave <h.his> <far> <gift>, and they were all happy.")
    t.one("\"I will come again soon,\" said <h>.", "it was the best visit ever.", "<h> thanked <f> for the help.", "with a friend, even a hard way is short.")


def plot_race(t, used):
    begin(t, used, 0.6)
    t.words["help"] = t.pick(["an old turtle lay on its back", "a small bird had fallen out of its nest", "a bee was caught in a web", "a little mouse sat on a rock in the middle of the stream", "an old woman had dropped all her apples", "a lamb was stuck in the bushes"])
    t.words["prize"] = t.pick(["a golden cup", "a basket of cherries", "a big cake", "a silver bell", "a crown of flowers"])
    t.one("one day, there was a big race <where>.", "every summer, there was a race <where>.", "everyone <where> was talking about the race.")
    t.one("the prize was <prize>.", "whoever came first would win <prize>.", "")
    t.one("<h> wanted to win.", "<h> had trained every day.", "<h> was fast, but <f> was fast, too.")
    t.one("\"I am the fastest of all,\" said <fk>. \"nobody can beat me.\"", "<fk> laughed. \"you will never win,\" <f.he> said.", "<fk> wanted to win too, and was very proud.")
    t.one("\"one, two, three, go!\" And off they ran.", "the race began. <H> ran like the wind.", "they all ran as fast as they could.")
    t.one("soon <h> was in front.", "<h> was almost first.", "<h> ran past one after another.", "only <f> was ahead of <h>.")
    t.one("then <h> saw that <help>.", "but beside the path, <help>.", "suddenly, <h> heard a cry. <H.he> looked and saw that <help>.")
    t.one("<f> saw it too, but ran on.", "all the others ran past.", "nobody else stopped.")
    t.one("<h> thought of <prize>. But then <h.he> stopped to help.", "<h> stopped at once and helped.", "\"I can not run past,\" thought <h>, and went to help.")
    t.one("\"thank you,\" said a small voice. \"now run!\"", "it took a long time, but at last everything was well.", "<h> was gentle and careful.")
    t.one("when <h> came to the end, the race was over. <F> had won.", "<h> came in last.", "<f> was already there and had won the race.")
    t.one("but then everyone heard what <h> had done.", "but the story of what <h> had done went from mouth to mouth.", "\"why are you so late?\" they asked. Then they heard the story.")
    t.one("they all clapped and cheered for <h>.", "\"you have a big heart,\" they said, and lifted <h> up.", "\"<h> is the real winner,\" they said.")
    t.one("even <f> was ashamed. \"I am sorry,\" said <f>. \"you should have <prize>.\"", "<f> came over and shared <prize> with <h>.", "<f> gave <h> <f.his> hand. \"next time I will stop, too,\" <f.he> said.")
    t.one("<h> was happier than any winner.", "being kind is better than being first.", "and that was the best prize of all.", "<h> smiled all the way home.")


PLOTS = [plot_stuck, plot_lost, plot_baby, plot_skill, plot_share, plot_rain, plot_gift, plot_truth, plot_seed, plot_noise, plot_newcomer, plot_bridge, plot_race]


def story(rng):
    t = Teller(rng)
    rng.choice(PLOTS)(t, set())
    return " ".join(t.out)


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    for _ in range(count):
        print(story(rng))


if __name__ == "__main__":
    main()
